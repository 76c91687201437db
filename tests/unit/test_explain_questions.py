"""``gpuenv explain`` where something is not given: the answer is useful, and the exit code stays that of Unknown."""

import pytest
from tests.support.explain import as_json, explain
from tests.unit.published_cases import plain


def test_what_a_gpu_can_run() -> None:
    found = explain("--gpu", "GTX 1080 Ti")
    assert found.exit_code == 4
    lines = found.stdout.splitlines()
    assert "Pascal, compute capability 6.1; drivers up to R580; CUDA from 8.0 up to 12.9" in lines[2]
    assert lines[3] == (
        "newest: PyTorch 2.14 for CUDA 12.6 (driver 525.60.13 or newer, up to R580): "
        'pip install "torch==2.14.*" --index-url https://download.pytorch.org/whl/cu126'
    )
    assert "CUDA 12.6 of 2.6 to 2.14" in lines[4]
    assert lines[5].startswith("does not work: builds for CUDA 13")
    assert lines[5].endswith("12.9, 12.8; PyTorch 2.15")


def test_which_drivers_and_gpus_a_build_runs_on() -> None:
    found = explain("--torch", "2.12.0+cu130")
    assert found.exit_code == 4
    assert "driver: 580.65.06 or newer\nGPUs: Turing 7.5, Ampere 8.0/8.6" in found.stdout
    assert "Volta 7.0 (ArchNotInBuild)" in found.stdout


def test_which_driver_a_build_needs_on_a_gpu() -> None:
    found = explain("--torch", "2.12.0+cu130", "--gpu", "NVIDIA H100 PCIe")
    assert found.exit_code == 4
    assert "Compatible if the driver is 580.65.06 or newer" in found.stdout


def test_a_driver_that_helps_nothing_is_not_asked_for() -> None:
    found = explain("--torch", "2.12.0+cu130", "--gpu", "V100")
    assert found.exit_code == 1
    assert "no driver changes this: the build does not run on Volta" in found.stdout
    assert "PyTorch 2.12 for CUDA 12.6 (driver 525.60.13 or newer, up to R580) does" in found.stdout
    assert "pip install torch==2.12.0 --index-url https://download.pytorch.org/whl/cu126" in found.stdout


def test_what_a_driver_runs() -> None:
    found = explain("--driver", "535.104.05")
    assert found.exit_code == 4
    assert "the driver has CUDA 12.2\nnewest: PyTorch 2.14 for CUDA 12.6: pip install" in found.stdout
    assert "builds for CUDA 13.4, 13.2, 13.0; PyTorch 2.15" in found.stdout
    assert "Kepler 3.0/3.5/3.7 (DriverDroppedGpu)" in found.stdout


def test_on_which_gpus_a_build_works_with_a_driver() -> None:
    found = explain("--torch", "2.9.1+cu128", "--driver", "535.104.05")
    assert found.exit_code == 4
    assert "GPUs: Volta 7.0, Turing 7.5" in found.stdout
    assert "Pascal 6.0/6.1 (ArchNotInBuild)" in found.stdout


def test_json_has_the_answer_as_data() -> None:
    found = as_json("--gpu", "GTX 1080 Ti")["answer"]
    assert found["builds"][0] == {
        "pytorch": "2.14",
        "cuda": "12.6",
        "index": "cu126",
        "install": 'pip install "torch==2.14.*" --index-url https://download.pytorch.org/whl/cu126',
        "drivers": {"minVersion": "525.60.13", "maxBranch": "580"},
    }
    found = as_json("--torch", "2.12.0+cu130")["answer"]
    assert found["drivers"] == {"minVersion": "580.65.06"}
    volta = next(one for one in found["generations"] if one["name"] == "Volta")
    assert (volta["computeCapability"], volta["works"], volta["reason"]) == ("7.0", False, "ArchNotInBuild")
    found = as_json("--torch", "2.12.0+cu130", "--gpu", "V100")["answer"]
    assert found["noDriverHelps"] is True
    assert found["builds"][0]["index"] == "cu126"
    assert found["builds"][0]["install"].startswith("pip install torch==2.12.0 ")
    assert "answer" not in as_json("--torch", "2.9.1+cu128", "--gpu", "V100", "--driver", "570.86.15")


def test_markdown_has_the_answer_with_commands_to_copy() -> None:
    found = explain("--gpu", "GTX 1080 Ti", "-o", "markdown").stdout
    assert '`pip install "torch==2.14.*" --index-url https://download.pytorch.org/whl/cu126`' in found


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--torch", "2.9.1"), "(CUDA 12.8 assumed: PyPI's default; say +cu126, "),
        (("--torch", "2.9.1+cu128"), "(CUDA 12.8)"),
        (("--torch", "2.9.1", "--cuda", "12.6"), "(CUDA 12.6)"),
    ],
)
def test_what_was_assumed_stands_in_the_header(arguments: tuple[str, ...], words: str) -> None:
    found = explain(*arguments, "--gpu", "NVIDIA L4", "--driver", "580.65.06")
    assert words in found.stdout.splitlines()[1]
    assert ("cudaAssumed" in as_json(*arguments)["facts"]) == ("assumed" in words)


def test_a_build_that_was_never_released_is_no_success() -> None:
    arguments = ("--torch", "2.12.0+cu131", "--gpu", "H100", "--driver", "580.95.05")
    found = explain(*arguments)
    assert (found.exit_code, found.stdout.splitlines()[0]) == (4, "Unknown: NoSuchBuild")


def test_a_pasted_error_is_no_open_question() -> None:
    assert "answer" not in as_json("--error", "CUDA error: out of memory", "--gpu", "NVIDIA L4")
    found = explain("--error", "torch.cuda.is_available() returns False").stdout.splitlines()
    assert found[1] == "torch.cuda.is_available() is False"
    assert "driver is there" not in found[2]


DUMP = plain({"torch": "2.9.1+cu128", "cuda": "12.8", "driver": "580.65.06", "gpus": ["NVIDIA L4"]})


def test_a_typed_build_is_doubted_beside_a_dump_too() -> None:
    """The dump is of another build, so that only the person says that this one exists."""
    found = as_json("--collect-env", "-", "--torch", "2.12.0+cu131", text=DUMP)
    assert (found["verdict"], found["reasons"][0]["code"]) == ("Unknown", "NoSuchBuild")
    seen = DUMP.replace("2.9.1+cu128", "2.12.0+cu131").replace("12.8", "13.1")
    assert as_json("--collect-env", "-", "--torch", "2.12.0+cu131", text=seen)["verdict"] == "Compatible"


def test_a_typed_wheel_needs_a_python_that_has_it() -> None:
    """Wheels are for certain Pythons. A Python that was seen may have another build of the same version."""
    node = ("--gpu", "NVIDIA L4", "--driver", "580.65.06")
    found = as_json("--torch", "2.9.1+cu128", "--python", "3.7", *node)
    assert (found["verdict"], found["reasons"][0]["code"]) == ("Unknown", "NoSuchBuild")
    assert found["reasons"][0]["message"].startswith("PyTorch 2.9 has wheels for Python 3.10 to 3.14")
    assert "PyTorch 1.8 to 1.13" in found["reasons"][0]["remedies"][0]["message"]
    assert as_json("--torch", "2.9.1+cu128", "--python", "3.10", *node)["verdict"] == "Compatible"
    given = as_json("--torch", "2.9.1+cu128", "--python", "3.7", "--arch-list", "sm_89", *node)
    assert given["verdict"] == "Compatible"


def test_no_cuda_is_invented_for_a_driver_that_the_tables_lack() -> None:
    newer = explain("--driver", "700.10").stdout
    assert "the driver is newer than the tables; it has at least CUDA 13.4" in newer
    impossible = explain("--driver", "999.99")
    assert impossible.exit_code == 4
    assert "13.4" not in impossible.stdout
    assert "driverCuda" not in as_json("--driver", "999.99")["facts"]


def test_no_command_installs_a_release_that_does_not_exist() -> None:
    node = ("--gpu", "NVIDIA L4", "--driver", "550.54.15")
    assert 'pip install "torch==2.9.*" --index-url' in explain("--torch", "2.9.7+cu130", *node).stdout
    assert "pip install torch==2.9.1 --index-url" in explain("--torch", "2.9.1+cu130", *node).stdout


def test_builds_side_by_side_have_the_drivers_that_they_need() -> None:
    found = explain("--torch", "2.9.1+cu128", "--torch", "2.12.0+cu130", "--gpu", "NVIDIA L4").stdout
    assert "with driver 525.60.13 or newer; not known: the driver" in found
    assert "with driver 580.65.06 or newer; not known: the driver" in found
