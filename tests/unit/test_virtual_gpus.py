"""Virtual GPUs (NVIDIA vGPU software): their names, their licence, and errors that mean something else on them."""

from dataclasses import replace

import pytest
from tests.support.assessed import A100, HEALTHY, judge, told

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import DriverFacts, Facts, Gpu, Source, TorchFacts
from gpuenv.assess.gpu_health import Health
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.assess.sources.probe.probe_facts import read_health
from gpuenv.assess.vgpu import is_vgpu, vgpu_profile
from gpuenv.knowledge import load

K = load()

VIRTUAL = {
    "GRID A100D-20C": ("20C", (8, 0)),
    "GRID A100DX-80C": ("80C", (8, 0)),
    "GRID A100-1-5C": ("5C", (8, 0)),
    "NVIDIA A100-1-5CME": ("5C", (8, 0)),
    "NVIDIA A800D-10C": ("10C", (8, 0)),
    "NVIDIA A10-12Q": ("12Q", (8, 6)),
    "NVIDIA-A10-24Q-SHARED": ("24Q", (8, 6)),
    "NVIDIA A16-2B": ("2B", (8, 6)),
    "NVIDIA A40-48C": ("48C", (8, 6)),
    "NVIDIA RTXA6000-48Q": ("48Q", (8, 6)),
    "NVIDIA L4-3Q": ("3Q", (8, 9)),
    "NVIDIA L40S-48Q": ("48Q", (8, 9)),
    "NVIDIA L40S-8A": ("8A", (8, 9)),
    "NVIDIA RTX6000-Ada-48Q": ("48Q", (8, 9)),
    "NVIDIA H100-80C": ("80C", (9, 0)),
    "NVIDIA H100L-94C": ("94C", (9, 0)),
    "NVIDIA H100XM-40C": ("40C", (9, 0)),
    "NVIDIA H200X-141C": ("141C", (9, 0)),
    "NVIDIA H800L-94C": ("94C", (9, 0)),
    "GRID T4-16Q": ("16Q", (7, 5)),
    "GRID RTX6000P-24Q": ("24Q", (7, 5)),
    "GRID V100DX-32Q": ("32Q", (7, 0)),
    "GRID P40-1B4": ("1B", (6, 1)),
    "GRID P100X-16Q": ("16Q", (6, 0)),
    "GRID M60-8Q": ("8Q", (5, 2)),
}
"""Product names of virtual GPUs, with the profile and the compute capability of the physical GPU."""


@pytest.mark.parametrize("product", VIRTUAL)
def test_a_virtual_gpu_is_known_by_its_name(product: str) -> None:
    profile, capability = VIRTUAL[product]
    found = vgpu_profile(product)
    assert found is not None
    assert found.name == profile
    assert found.runs_cuda == (profile[-1] in "CQ")
    model = K.model(product)
    assert model is not None
    assert model.cc == capability, "the architecture is that of the physical GPU"


@pytest.mark.parametrize(
    "product",
    [
        "NVIDIA A100-SXM4-80GB",
        "NVIDIA RTX A6000",
        "NVIDIA GeForce RTX 2080 with Max-Q Design",
        "Tesla M2070-Q",
        "NVIDIA PG506-232",
        "NVIDIA A100-SXM4-80GB MIG 1g.10gb",
        "NVIDIA H100 80GB HBM3",
        "Quadro GV100",
        "GRID K520",
        "x" * 200 + "-8Q",
        "",
        None,
    ],
)
def test_a_physical_gpu_is_no_virtual_one(product: str | None) -> None:
    assert vgpu_profile(product) is None
    assert not is_vgpu(Gpu(product=product))


def judge_error(error: str, product: str = "NVIDIA A10-12Q", health: Health | None = None) -> Assessment:
    flags = Facts(
        source=Source.FLAGS,
        torch=TorchFacts(version="2.9.1+cu128"),
        driver=DriverFacts(version="580.95.05"),
        gpus=(Gpu(product=product, health=health or Health()),),
    )
    return assess(merge([flags, read_error_text(error, K)]), None, (), K)


BUSY = "RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable"


@pytest.mark.parametrize(
    "error",
    [
        BUSY,
        f"Failed to initialize NVML: Unknown Error\n{BUSY}",
        "CUDA runtime implicit initialization on GPU:0 failed. Status: all CUDA-capable devices are busy or unavailable",
        "CUDA_ERROR_DEVICE_UNAVAILABLE",
        "CUDA error 46",
    ],
)
def test_a_busy_virtual_gpu_has_no_licence(error: str) -> None:
    found = judge_error(error)
    assert (found.verdict, found.reason) == ("Unknown", "VgpuUnlicensed"), told(found)
    assert found.checks[0].remedies[0].action == "LicenseGPU"
    assert "License Status" in found.checks[0].remedies[0].message
    assert "recreate the pod" not in found.checks[0].remedies[0].message.lower()
    assert judge_error(BUSY, "NVIDIA A10").reason == "GpuBusy", "a physical GPU can be busy"


def test_error_801_on_a_virtual_gpu_is_about_unified_memory() -> None:
    found = judge_error("RuntimeError: CUDA error: operation not supported", "NVIDIA A40-24C")
    assert found.reason == "FeatureOutOfReach"
    assert "unified memory" in found.checks[0].message
    assert [one.action for one in found.checks[0].remedies] == ["ChangeProgram", "InspectNode"]
    assert "unified memory" not in judge_error("CUDA error: operation not supported", "NVIDIA A40").message


def test_a_series_without_cuda_is_never_compatible() -> None:
    found = judge_error("", "NVIDIA L40S-8A")
    assert (found.verdict, found.reason) == ("Unknown", "NoDevice"), told(found)
    assert "series A" in found.message
    assert judge_error("", "NVIDIA L40S-8Q").verdict == "Compatible"


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        ({"virtualizationMode": 2, "vgpuLicensed": False}, "VgpuUnlicensed"),
        ({"virtualizationMode": 2, "vgpuLicensed": True}, ""),
        ({"virtualizationMode": 2}, ""),
        ({"virtualizationMode": 1, "vgpuLicensed": False}, ""),
        ({"virtualizationMode": "2", "vgpuLicensed": "no"}, ""),
    ],
)
def test_the_licence_that_nvml_reports_decides(health: dict[str, object], reason: str) -> None:
    found = judge(replace(HEALTHY, gpus=(replace(A100, health=read_health(health)),)))
    assert found.reason == reason, told(found)
    assert found.verdict == ("Degraded" if reason else "Compatible")
