"""``gpuenv explain`` as people call it: what it reads, what it says, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.explain import CSV, as_json, explain
from tests.unit.published_cases import plain

from gpuenv.cli import main
from gpuenv.knowledge.files import HERE
from gpuenv_probe.codec import encode

DUMP = plain(
    {
        "torch": "2.7.0+cu126",
        "cuda": "12.6",
        "driver": "570.124.06",
        "gpus": ["NVIDIA GeForce RTX 5090"],
        "available": True,
    }
)
GOOD = ("--torch", "2.9.1+cu128", "--driver", "535.104.05", "--gpu", "Tesla V100-SXM2-16GB")
ENVIRONMENT = """
apiVersion: gpuenv.dev/v1alpha1
kind: GPUEnvironment
metadata: {name: pytorch-2-9}
spec:
  image: pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime
  expect: {pytorch: "==2.8.*"}
"""


@pytest.mark.parametrize(
    ("arguments", "code", "verdict"),
    [
        (GOOD, 0, "Compatible"),
        (("--torch", "2.11.0+cu130", "--driver", "535.104.05", "--gpu", "NVIDIA L4"), 1, "Incompatible"),
        (("--torch", "2.9.1+cu128", "--driver", "535.104.05"), 4, "Unknown"),
        (("--torch", "2.9.1+cpu"), 1, "Incompatible"),
    ],
)
def test_exit_codes_say_the_verdict(arguments: tuple[str, ...], code: int, verdict: str) -> None:
    found = explain(*arguments)
    assert (found.exit_code, found.stdout.split()[0].rstrip(":")) == (code, verdict)


def test_degraded_has_an_exit_code_of_its_own() -> None:
    text = (
        DUMP.replace("cu126", "cu128").replace("12.6", "12.8")
        + "\nRuntimeError: Failed to find C compiler.\n"
    )
    assert explain("--collect-env", "-", text=text).exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--nonsense",), "--nonsense"),
        (("--torch", "two"), "--torch: 'two' is no version"),
        (("--torch", "2"), "--torch: '2' is no version"),
        (("--cuda", "12"), "--cuda: '12' is no version"),
        (("--driver", "new"), "--driver: 'new' is no version such as 580.65.06"),
        (("--driver", "5800.1"), "is no driver version such as 580.65.06"),
        (("--driver", "535.104005"), "is no driver version such as 580.65.06"),
        (("--gpu", "", "--torch", "2.9.1+cu128"), "--gpu: needs a product name"),
        (("--driver", "12.8"), "--driver: 12.8 is no driver version such as 580.65.06"),
        (("--compute-capability", "89"), "no compute capability such as 8.0"),
        (("--compute-capability", "8.x"), "no compute capability such as 8.0"),
        (("--arch-list", "sm_foo"), "'sm_foo' is no target"),
        (("-o", "xml"), "'xml' is not one of"),
        ((), "nothing was given to judge"),
        (("--collect-env", "/nowhere"), "--collect-env: /nowhere: No such file or directory"),
        (("--error", sys.executable), "is binary"),
        (("--error", "-", "--collect-env", "-"), "only one file can be standard input"),
        (
            ("--gpu", "A100", "--gpu", "L4", "--gpu", "T4", "--driver", "535.1", "--driver", "550.1"),
            "make no pairs",
        ),
        (("--nodes", "-", "--gpu", "A100"), "--nodes names the GPUs itself"),
        (("--nodes", "-"), "neither CSV nor a YAML list"),
        (("--report", "-"), "no report of the probe"),
        (("--knowledge", "/nowhere", "--torch", "2.9.1"), "/nowhere: not a directory"),
        (("-f", "-", "--torch", "2.9.1"), "is no GPUEnvironment"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(arguments: tuple[str, ...], words: str) -> None:
    found = explain(*arguments, text="")
    assert found.exit_code == 2, found.output
    assert words in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert found.stdout == ""


def test_json_has_the_documented_shape() -> None:
    document = as_json("--torch", "2.11.0+cu130", "--driver", "535.104.05", "--gpu", "NVIDIA L4")
    assert document["verdict"] == "Incompatible"
    first = document["reasons"][0]
    assert first["code"] == "DriverTooOld"
    assert set(first) >= {"code", "status", "message", "remedies", "source"}
    order = ["Fail", "Unknown", "Warn", "Note"]
    statuses = [order.index(reason["status"]) for reason in document["reasons"]]
    assert statuses == sorted(statuses)
    assert document["facts"]["driver"] == "535.104.05"
    assert document["facts"]["gpus"] == [{"index": 0, "product": "NVIDIA L4", "computeCapability": "8.9"}]
    assert document["unknowns"] == []


def test_unknowns_are_named() -> None:
    assert as_json("--torch", "2.9.1+cu128")["unknowns"] == ["driver", "gpu"]
    assert (
        "computeCapability"
        in as_json("--torch", "2.9.1+cu128", "--driver", "580.1", "--gpu", "X1")["unknowns"]
    )


def test_nothing_usable_is_unknown_and_says_what_was_looked_for() -> None:
    found = explain("--collect-env", "-", text="hello\n")
    assert found.exit_code == 4
    assert "looked for" in found.stdout


def test_a_dump_is_read_from_a_file_and_from_standard_input(tmp_path: Path) -> None:
    path = tmp_path / "dump.txt"
    path.write_text(DUMP, encoding="utf-8")
    assert as_json("--collect-env", str(path)) == as_json("--collect-env", "-", text=DUMP)
    assert as_json("--collect-env", str(path))["reasons"][0]["code"] == "ArchNotInBuild"


def test_an_error_may_be_given_as_text() -> None:
    words = "RuntimeError: The NVIDIA driver on your system is too old (found version 12080)."
    found = as_json("--error", words, "--torch", "2.11.0", "--driver", "570.86.10")
    assert found["reasons"][0]["code"] == "DriverTooOld"
    assert explain("--error", "the log.txt").exit_code == 2, "a file that is not there"
    assert explain("--error", "no such words " * 1000).exit_code == 4, "longer than a file name may be"


def test_code_that_pytorch_has_is_missing_elsewhere() -> None:
    words = "CUDA error: no kernel image is available for execution on the device"
    found = explain("--error", words, "--torch", "2.1.2+cu118", "--gpu", "V100", "--driver", "525.60.13")
    assert "a library beside PyTorch has no code for V100 (7.0)" in found.stdout
    assert "TORCH_CUDA_ARCH_LIST=7.0" in found.stdout
    found = explain("--error", words, "--torch", "2.6.0+cu126", "--gpu", "RTX 5090", "--driver", "570.124.06")
    assert "a library beside PyTorch" not in found.stdout


def test_a_cuda_version_in_place_of_the_driver_is_no_old_driver() -> None:
    fleet = "name,gpu,driver\nold,L4,12.4\n"
    found = explain("--nodes", "-", "--torch", "2.9.1+cu128", text=fleet)
    assert found.exit_code == 4, found.stdout


def test_a_requirement_is_a_version_too() -> None:
    assert as_json("--torch", "torch==2.9.1+cu128")["facts"]["pytorch"] == "2.9.1+cu128"


def test_a_dump_in_utf_16_as_powershell_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "dump.txt"
    path.write_bytes(DUMP.encode("utf-16"))
    assert as_json("--collect-env", str(path))["facts"]["pytorch"] == "2.7.0+cu126"


def test_dump_and_error_together_name_their_contradictions(tmp_path: Path) -> None:
    dump, error = tmp_path / "dump.txt", tmp_path / "error.txt"
    dump.write_text(DUMP, encoding="utf-8")
    error.write_text(
        "RuntimeError: CUDA error: no kernel image is available for execution on the device", encoding="utf-8"
    )
    document = as_json("--collect-env", str(dump), "--error", str(error), "--driver", "580.65.06")
    assert document["verdict"] == "Incompatible"
    assert any(
        reason["code"] == "ConflictingFacts" and "570.124.06" in reason["message"]
        for reason in document["reasons"]
    )


def test_flags_replace_what_a_dump_says(tmp_path: Path) -> None:
    dump = tmp_path / "dump.txt"
    dump.write_text(DUMP, encoding="utf-8")
    assert as_json("--collect-env", str(dump), "--torch", "2.9.1+cu128")["verdict"] == "Compatible"


def test_several_causes_come_deepest_first() -> None:
    text = "CUDA error: an illegal memory access was encountered\nNVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.\n"
    codes = [reason["code"] for reason in as_json("--error", "-", text=text)["reasons"]]
    assert codes[0] == "GpuLost"


def test_several_pairs_make_a_table() -> None:
    found = explain(
        "--torch",
        "2.9.1+cu128",
        "--gpu",
        "NVIDIA L4",
        "--driver",
        "535.104.05",
        "--gpu",
        "Tesla P40",
        "--driver",
        "550.54.15",
    )
    lines = found.stdout.splitlines()
    assert found.exit_code == 1
    assert lines[0].split() == ["GPU", "DRIVER", "2.9.1+cu128"]
    assert lines[1].split() == ["Tesla", "P40", "550.54.15", "✗", "ArchNotInBuild", "(no", "driver", "helps)"]
    assert lines[2].split() == ["NVIDIA", "L4", "535.104.05", "ok"]
    assert lines[3].split() == ["compatible", "1/2"]


def test_one_driver_goes_with_many_gpus_and_many_images() -> None:
    document = as_json(
        "--torch",
        "2.9.1+cu128",
        "--torch",
        "2.11.0+cu130",
        "--gpu",
        "NVIDIA L4",
        "--gpu",
        "NVIDIA B200",
        "--driver",
        "570.124.06",
    )
    found = [(entry["name"], entry["verdict"]) for entry in document["results"]]
    assert len(found) == 4
    assert [verdict for _, verdict in found] == ["Compatible", "Incompatible", "Compatible", "Incompatible"]


def test_expectations_of_an_environment_count(tmp_path: Path) -> None:
    path = tmp_path / "environment.yaml"
    path.write_text(ENVIRONMENT, encoding="utf-8")
    assert as_json(*GOOD, "-f", str(path))["reasons"][0]["code"] == "ExpectationMismatch"


def test_edited_tables_count(tmp_path: Path) -> None:
    text = (HERE / "torch.yaml").read_text(encoding="utf-8")
    (tmp_path / "torch.yaml").write_text(text.replace("sm_70, ", ""), encoding="utf-8")
    assert as_json(*GOOD, "--knowledge", str(tmp_path))["reasons"][0]["code"] == "ArchNotInBuild"


FACTS = {
    "schema": 1,
    "stage": "facts",
    "run": "r",
    "complete": True,
    "driver": {"version": "570.124.06", "cudaVersion": 12080, "cuInit": 0, "deviceCount": 1},
    "gpus": [{"index": 0, "product": "NVIDIA L4", "computeCapability": "8.9"}],
    "torch": {"version": "2.9.1+cu128", "cuda": "12.8", "archFlags": ["sm_80"]},
}
KERNELS = {
    "schema": 1,
    "stage": "kernels",
    "run": "r",
    "complete": True,
    "torch": {"available": True},
    "steps": [{"name": "matmul", "gpu": 0, "dtype": "fp32", "status": "Pass"}],
}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"facts": FACTS, "kernels": KERNELS}),
        json.dumps([FACTS, KERNELS]),
        json.dumps({"reports": {"x": 1}, "a": KERNELS, "b": FACTS}),
        f"{encode(FACTS)}\n{encode(KERNELS)}\n",
    ],
)
def test_a_saved_report_is_judged(text: str) -> None:
    assert as_json("--report", "-", text=text)["verdict"] == "Compatible"


def test_half_a_report_is_unknown() -> None:
    assert as_json("--report", "-", text=json.dumps(FACTS))["reasons"][0]["code"] == "KernelsNotRun"


def test_markdown_can_be_pasted() -> None:
    found = explain(
        "--torch", "2.9.1+cu128", "--driver", "535.104.05", "--gpu", "Tesla P40", "-o", "markdown"
    )
    assert found.stdout.startswith("**Incompatible: ArchNotInBuild**")
    assert "| Fail | architecture |" in found.stdout
    many = explain("--nodes", "-", "--torch", "2.9.1+cu128", "-o", "markdown", text=CSV)
    assert many.stdout.splitlines()[:2] == [
        "| GPU | DRIVER | NODES | 2.9.1+cu128 |",
        "| --- | --- | --- | --- |",
    ]


def test_verbose_shows_what_passed_and_sources() -> None:
    assert "✓" not in explain(*GOOD).stdout
    found = explain(*GOOD, "-v")
    assert "✓" in found.stdout
    assert "https://" in found.stdout


def test_a_reason_points_to_its_section_beside_its_source() -> None:
    old = ("--torch", "2.9.1+cu128", "--driver", "470.57.02", "--gpu", "NVIDIA A100-PCIE-40GB")
    source = next(line for line in explain(*old).stdout.splitlines() if line.startswith("    https://"))
    assert source.endswith("  see docs/reasons.md#drivertooold")
    assert "([source](https://" in (text := explain(*old, "-o", "markdown").stdout)
    assert "), `docs/reasons.md#drivertooold`) |" in text
    # A rule of gpuenv itself has no other source.
    own = explain("--torch", "2.9.1+cu128", "-v").stdout.splitlines()
    assert "    see docs/reasons.md#notenoughfacts" in own


def test_nothing_heavy_is_imported() -> None:
    arguments = [
        "gpuenv",
        "explain",
        "--torch",
        "2.9.1+cu128",
        "--driver",
        "580.65.06",
        "--gpu",
        "NVIDIA L4",
        "-o",
        "json",
    ]
    program = (
        f"import sys; sys.argv = {arguments}\n"
        "from gpuenv.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code == 0, stop.code\n"
        "heavy = {'kopf', 'kubernetes', 'yaml', 'rich', 'packaging', 'pydantic', 'asyncio', 'aiohttp', 'prometheus_client'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def test_the_table_of_commands_needs_no_import() -> None:
    found = CliRunner().invoke(main, ["--help"])
    assert found.exit_code == 0
    assert "explain" in found.stdout
    assert CliRunner().invoke(main, ["nonsense"]).exit_code == 2


@pytest.mark.parametrize(
    ("platform", "words"),
    [
        ("gke", "/usr/local/nvidia"),
        ("wsl", "NVIDIA driver on Windows"),
        ("eks", "accelerated AMI"),
        (None, "--gpus all"),
    ],
)
def test_cures_are_those_of_the_platform_also_where_only_a_text_is_given(
    platform: str | None, words: str
) -> None:
    where = ("--platform", platform) if platform else ()
    document = as_json("--error", "RuntimeError: Found no NVIDIA driver on your system.", *where)
    assert words in document["reasons"][0]["remedies"][0]["message"]
    dump = plain({"torch": "2.9.1+cu128", "cuda": "12.8", "driver": "No CUDA", "available": False})
    assert words in as_json("--collect-env", "-", *where, text=dump)["reasons"][0]["remedies"][0]["message"]


def test_an_error_that_is_not_known_is_no_pass_beside_good_facts() -> None:
    found = explain(*GOOD, "--error", "RuntimeError: something went wrong")
    assert found.exit_code == 4
    assert "the tables do not know: RuntimeError: something went wrong" in found.stdout


def test_the_end_of_a_huge_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text(
        "INFO step 1 loss 0.5\n" * 1_100_000 + "Error 803: system has unsupported display driver\n"
    )
    assert as_json("--error", str(log))["reasons"][0]["code"] == "DriverMismatch"
