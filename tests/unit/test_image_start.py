"""Images that a node does not start, or whose programs load another libcuda: by CPU, requirement and loader path."""

from typing import Any

import pytest
from tests.support.explain import as_json

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import DriverFacts, Facts, Gpu, Source
from gpuenv.assess.image_requirements import InvalidRequirementError, Known, is_met
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.images.contents import ImageFiles, read_contents
from gpuenv.assess.sources.images.installed import FoundFile
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.knowledge import load

K = load()
TORCH = "usr/lib/python3.12/site-packages/torch/version.py"
CLAUSES = " ".join(
    f"brand={brand},driver>={branch},driver<{branch + 1}"
    for branch in (470, 535, 550)
    for brand in ("unknown", "grid", "tesla", "nvidia", "quadro", "quadrortx", "nvidiartx", "vapps", "vws")
)
"""What NVIDIA's images for CUDA 12.8 list after ``cuda>=12.8``."""


def judged(
    gpu: str | tuple[str, ...],
    driver: str | None,
    *,
    env: dict[str, str] | None = None,
    files: dict[str, FoundFile] | None = None,
    torch: tuple[str, str] = ("2.9.1+cu128", "12.8"),
    **config: Any,
) -> Assessment:
    """Return the assessment of an image with these variables and files on a node with this GPU and driver."""
    text = f"__version__ = '{torch[0]}'\ncuda = '{torch[1]}'\n"
    lines = [f"{name}={value}" for name, value in (env or {}).items()]
    document = {"architecture": "amd64", "os": "linux", "config": {"Env": lines}, **config}
    image = read_contents(ImageFiles({TORCH: FoundFile(text), **(files or {})}, document)).facts
    names = (gpu,) if isinstance(gpu, str) else gpu
    node = Facts(
        source=Source.FLAGS,
        driver=DriverFacts(version=driver),
        gpus=tuple(Gpu(index=index, product=name) for index, name in enumerate(names)),
    )
    return assess(merge([node, image]), None, (), K)


@pytest.mark.parametrize(
    ("requirement", "gpu", "driver", "expected"),
    [
        ("cuda>=12.8", "NVIDIA L4", "550.54.15", "Incompatible"),
        ("cuda>=12.8", "NVIDIA L4", "570.124.06", "Compatible"),
        (f"cuda>=12.8 {CLAUSES}", "NVIDIA L4", "550.54.15", "Compatible"),
        (f"cuda>=12.8 {CLAUSES}", "NVIDIA L4", "525.60.13", "Incompatible"),
        (f"cuda>=12.8 {CLAUSES}", "NVIDIA GeForce RTX 4090", "550.54.15", "Incompatible"),
        ("cuda>=12.8 brand=tesla,driver>=535,driver<536", "NVIDIA L4", "550.54.15", "Incompatible"),
        # The brand decides, and NVML may call an L4 "Tesla" or "NVIDIA".
        ("cuda>=12.8 brand=tesla,driver>=535,driver<536", "NVIDIA L4", "535.104.05", "Unknown"),
        ("cuda>=12.0 brand=tesla,driver>=535,driver<536", "NVIDIA L4", "535.104.05", "Compatible"),
        ("driver>=570", "NVIDIA L4", "550.54.15", "Incompatible"),
        ("driver>=550.60", "NVIDIA L4", "550", "Unknown"),
        ("arch>=9.0", "NVIDIA L4", "570.124.06", "Incompatible"),
        ("arch>=8.0", "NVIDIA L4", "570.124.06", "Compatible"),
        ("cuda=>12.8", "NVIDIA L4", "570.124.06", "Unknown"),
    ],
)
def test_the_requirement_of_an_image_is_judged_as_the_toolkit_does(
    requirement: str, gpu: str, driver: str, expected: str
) -> None:
    found = judged(gpu, driver, env={"NVIDIA_REQUIRE_CUDA": requirement})
    assert found.verdict == expected, found.message
    if expected == "Incompatible":
        assert found.reason == "DriverTooOld"
        assert "container toolkit does not start the image" in found.message
    ignored = judged(gpu, driver, env={"NVIDIA_REQUIRE_CUDA": requirement, "NVIDIA_DISABLE_REQUIRE": "1"})
    assert ignored.verdict == "Compatible"


def test_a_requirement_is_judged_for_each_gpu_and_of_each_variable() -> None:
    gpus = ("NVIDIA L4", "NVIDIA H100 80GB HBM3")
    assert judged(gpus, "570.124.06", env={"NVIDIA_REQUIRE_ARCH": "arch>=9.0"}).verdict == "Incompatible"
    jetpack = {"NVIDIA_REQUIRE_JETPACK": "csv-mounts=all"}
    assert judged(gpus, "570.124.06", env=jetpack).verdict == "Compatible"
    # The toolkit takes CUDA_VERSION of an image without a requirement for one.
    assert judged(gpus, "550.54.15", env={"CUDA_VERSION": "12.8.1"}).reason == "DriverTooOld"
    both = {"CUDA_VERSION": "12.8.1", "NVIDIA_REQUIRE_CUDA": "cuda>=9.0"}
    assert judged(gpus, "550.54.15", env=both).verdict == "Compatible"


def test_the_reason_of_a_requirement_is_that_of_the_pasted_refusal() -> None:
    said = "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please update your driver"
    pasted = as_json("--error", said)["reasons"][0]
    (found,) = (
        one
        for one in judged("NVIDIA L4", "550.54.15", env={"NVIDIA_REQUIRE_CUDA": "cuda>=12.8"}).checks
        if one.status == "Fail"
    )
    assert (found.reason, found.remedies[0].message) == (pasted["code"], pasted["remedies"][0]["message"])


KNOWN = Known((12, 4), True, (550, 54, 15), (8, 9), frozenset({"tesla"}))


@pytest.mark.parametrize(
    ("requirement", "met"),
    [
        ("", True),
        ("  , ", True),
        ("cuda=12.4", True),
        ("cuda=12.4.0", True),
        ("cuda!=12.4", False),
        ("cuda>12.4", False),
        ("cuda<=12.4", True),
        ("cuda<12.4.1", True),
        ("CUDA>=12.4,driver>=550,driver<551", True),
        ("cuda>=13 driver>=560 arch=8.9", True),
        ("cuda>=13,arch=8.9 brand=TESLA", True),
        ("brand!=tesla", False),
        ("brand!=geforce", True),
    ],
)
def test_conditions_are_compared_as_versions(requirement: str, met: bool) -> None:
    assert is_met(requirement, KNOWN) is met


@pytest.mark.parametrize(
    "requirement", ["x>=1", "cuda", "cuda>=", "cuda>=12.x", "cuda==12", "brand>tesla", ">=12"]
)
def test_conditions_that_the_toolkit_does_not_understand_are_invalid(requirement: str) -> None:
    with pytest.raises(InvalidRequirementError):
        is_met(requirement, KNOWN)
    assert is_met(f"cuda>=12 {requirement}", KNOWN) is True  # it stops at the first alternative that holds


@pytest.mark.parametrize(
    ("requirement", "met"),
    [
        ("cuda>=12.8", None),
        ("cuda>=12.4", True),
        ("cuda<12.4", None),
        ("cuda>=12.8 driver>=580", None),
        ("cuda>=12.8 driver>=550", True),
        ("cuda>=12.8,driver<550", False),
    ],
)
def test_a_driver_newer_than_the_tables_has_at_least_their_newest_cuda(
    requirement: str, met: bool | None
) -> None:
    assert is_met(requirement, Known((12, 4), False, (550, 54, 15), None, None)) is met


@pytest.mark.parametrize(
    "text", ["cuda>=99 " * 200_000, "brand=a," * 200_000, "<" * 1_000_000, "cuda>=1." + "1" * 1_000_000]
)
def test_a_megabyte_of_hostile_requirements_takes_no_time(text: str) -> None:
    for known in (KNOWN, Known(None, True, None, None, None)):
        try:
            is_met(text, known)
        except InvalidRequirementError:
            continue


COMPAT = {
    "usr/local/cuda": FoundFile(link="cuda-12.8"),
    "usr/local/cuda-12.8/compat/libcuda.so.1": FoundFile(link="libcuda.so.570.124.06"),
    "usr/local/cuda-12.8/compat/libcuda.so.570.124.06": FoundFile(),
}
ON_PATH = {"LD_LIBRARY_PATH": "/opt/lib:/usr/local/cuda/compat:/usr/local/cuda/lib64"}


@pytest.mark.parametrize(
    ("gpu", "driver", "expected"),
    [
        ("NVIDIA GeForce RTX 4090", "535.104.05", ("Incompatible", "ForwardCompatUnsupported")),
        ("NVIDIA GeForce RTX 3090", "550.54.15", ("Incompatible", "ForwardCompatUnsupported")),
        ("NVIDIA RTX A6000", "535.104.05", ("Unknown", "ForwardCompatUnsupported")),
        ("NVIDIA L4", "535.104.05", ("Compatible", "")),
        ("NVIDIA L4", "580.65.06", ("Incompatible", "DriverMismatch")),
        ("NVIDIA GeForce RTX 4090", "580.65.06", ("Incompatible", "DriverMismatch")),
        ("NVIDIA GeForce RTX 4090", "570.124.06", ("Compatible", "")),
    ],
)
def test_a_cuda_compat_that_programs_load_has_to_suit_driver_and_gpu(
    gpu: str, driver: str, expected: tuple[str, str]
) -> None:
    found = judged(gpu, driver, env=ON_PATH, files=COMPAT)
    assert (found.verdict, found.reason) == expected
    if found.reason:
        (first, *_) = found.checks
        assert dict(first.remedies[0].parameters) == {"remove": "cuda-compat"}
        # The cure works: without it on the loader path, the image is fine.
        assert judged(gpu, driver, files=COMPAT).verdict == "Compatible"


@pytest.mark.parametrize(
    "path",
    ["", "/usr/local/nvidia/lib64:/usr/local/cuda/compat", "/usr/local/cuda/compat/lib", "/usr/local/cuda"],
)
def test_a_cuda_compat_that_no_program_loads_is_no_problem(path: str) -> None:
    found = judged("NVIDIA GeForce RTX 4090", "535.104.05", env={"LD_LIBRARY_PATH": path}, files=COMPAT)
    assert found.verdict == "Compatible"


def test_a_cuda_compat_that_the_loader_finds_is_no_libcuda_of_another_cuda() -> None:
    """It may carry a newer CUDA only on the drivers that NVIDIA lists, so that the driver has to suffice alone."""
    found = judged("NVIDIA L4", "535.104.05", env=ON_PATH, files=COMPAT, torch=("2.9.1+cu130", "13.0"))
    assert (found.verdict, found.reason) == ("Incompatible", "DriverTooOld")


@pytest.mark.parametrize("gpu", ["NVIDIA GH200 480GB", "NVIDIA GB200", "NVIDIA GB10", "Orin"])
def test_gpus_with_an_arm_cpu_need_an_image_for_arm(gpu: str) -> None:
    found = judged(gpu, "580.65.06", torch=("2.9.1+cu130", "13.0"))
    assert (found.verdict, found.reason) == ("Incompatible", "ImageArchMismatch")
    arm = judged(gpu, "580.65.06", torch=("2.9.1+cu130", "13.0"), architecture="arm64")
    assert arm.reason != "ImageArchMismatch"


def test_images_for_other_platforms_are_told() -> None:
    windows = judged("NVIDIA GeForce RTX 4090", "580.65.06", os="windows")
    assert (windows.verdict, windows.reason) == ("Incompatible", "ImageArchMismatch")
    arm = judged("NVIDIA GeForce RTX 4090", "580.65.06", architecture="arm64")
    assert "the image exists for linux/arm64 only" in " ".join(one.message for one in arm.checks)


def test_the_platforms_of_an_image_are_shown() -> None:
    named = ("--image", "pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime", "--driver", "580.65.06")
    found = as_json(*named, "--gpu", "NVIDIA GH200 480GB")
    assert found["image"]["platforms"] == ["linux/amd64"]
    assert (found["verdict"], found["reasons"][0]["code"]) == ("Incompatible", "ImageArchMismatch")
    assert as_json(*named, "--gpu", "NVIDIA L4")["verdict"] == "Compatible"
    # The configuration says what was read, whatever the index says.
    read = ImageFiles(
        {}, {"os": "windows", "architecture": "amd64"}, ("linux/amd64", "linux/arm64"), "linux/amd64"
    )
    assert read_contents(read).facts.container.image_platforms == ("windows/amd64", "linux/arm64")
