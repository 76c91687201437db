"""Errors that mean something else beside other facts: error 2 at start, 801 with an old driver, 802 without a fabric."""

from typing import Any

import pytest
from tests.support.world import KNOWLEDGE

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import DriverFacts, Facts, Gpu, Source, TorchFacts
from gpuenv.assess.model import Check
from gpuenv.assess.sources.collect_env import read_collect_env
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.merged_facts import merge

NOT_SUPPORTED = "RuntimeError: CUDA error: operation not supported"
NOT_READY = "Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized"
AT_START = (
    "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions? Error 2: out of memory"
)


def leading(
    error: str, *, torch: str = "2.8.0+cu128", driver: str = "570.133.20", gpu: str = "NVIDIA A100-SXM4-80GB"
) -> Check:
    given = Facts(
        source=Source.FLAGS,
        torch=TorchFacts(version=torch),
        driver=DriverFacts(version=driver),
        gpus=(Gpu(product=gpu),),
    )
    facts = merge([given, read_error_text(error, KNOWLEDGE)])
    return assess(facts, None, (), KNOWLEDGE).checks[0]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"torch": "2.4.0+cu124", "driver": "525.125.06"}, "DriverFeatureMissing"),
        ({"torch": "2.4.0+cu121", "driver": "528.49"}, "DriverFeatureMissing"),
        ({"torch": "2.4.0+cu124", "driver": "530.30.02"}, "FeatureOutOfReach"),
        ({"torch": "2.4.0+cu118", "driver": "525.125.06"}, "FeatureOutOfReach"),
    ],
)
def test_error_801_with_a_driver_before_r530_wants_a_newer_driver(facts: dict[str, Any], reason: str) -> None:
    found = leading(NOT_SUPPORTED, **facts)
    assert found.reason == reason
    if reason == "DriverFeatureMissing":
        assert dict(found.remedies[0].parameters)["minVersion"] == "530.30.02"
        assert "530.30.02 or newer" in found.remedies[0].message


@pytest.mark.parametrize(
    ("gpu", "ready"),
    [
        ("NVIDIA H100 PCIe", True),
        ("NVIDIA H100 NVL", True),
        ("NVIDIA H200 NVL", True),
        ("NVIDIA H100 80GB HBM3", False),
        ("NVIDIA A100-PCIE-40GB", False),
    ],
)
def test_error_802_without_a_fabric_is_about_confidential_computing(gpu: str, ready: bool) -> None:
    found = leading(NOT_READY, gpu=gpu)
    assert found.reason == "FabricNotReady"
    assert ("conf-compute -srs 1" in found.remedies[0].message) is ready
    assert ("nvidia-fabricmanager" in found.remedies[0].message) is not ready


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (AT_START, "virtual machine or WSL more memory"),
        (f"Hypervisor vendor: KVM\n{AT_START}", "64-bit MMIO"),
        (f"Linux-6.6.87.2-microsoft-standard-WSL2\n{AT_START}", ".wslconfig"),
        ("failed call to cuInit: CUDA_ERROR_OUT_OF_MEMORY: out of memory", "more memory"),
    ],
)
def test_no_memory_while_cuda_starts_is_not_about_the_model(text: str, says: str) -> None:
    found = leading(text)
    assert found.reason == "OutOfMemory"
    assert says in found.remedies[0].message
    assert "batch" not in found.remedies[0].message


def test_no_memory_later_is_about_the_model() -> None:
    found = leading("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB")
    assert "smaller batch" in found.remedies[0].message


def test_cu_init_of_a_probe_that_finds_no_memory_is_not_about_the_model() -> None:
    facts = Facts(source=Source.PROBE, driver=DriverFacts(version="570.133.20", cu_init=2))
    found = assess(facts, None, (), KNOWLEDGE).checks[0]
    assert (found.reason, found.status) == ("OutOfMemory", "Unknown")
    assert "batch" not in found.remedies[0].message


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        ("cudaGetDeviceCount returned 30\n-> unknown error\nResult = FAIL", "CudaInitUnknown", "uvm"),
        ("cudaGetDeviceCount returned 38", "NoDevice", "CUDA_VISIBLE_DEVICES"),
        ("cuda driver library init failure: 999", "CudaInitUnknown", "uvm"),
        ("Failed to initialize NVML: GPU access blocked by the operating system", "OsCallFailed", "wsl --update"),
        ("failed to verify GPU driver installation: exit status 255", "DriverNotVisible", "gpu-driver-version"),
        ("Resetting GPU 00000000:00:04.0 is not supported.", "GpuResetRequired", "virtual machine"),
        ("ValueError: invalid literal for int() with base 10: 'GPU-52a3a85d'", "EnvironmentVariable", "CUDA_VISIBLE_DEVICES"),
        ("modprobe: ERROR: could not insert 'nvidia': Key was rejected by service", "DriverNotVisible", "mokutil"),
        ("Error! Bad return status for module build on kernel: 6.14.4-arch1-2 (x86_64)", "DriverNotVisible", "headers"),
        ("Building DKMS module 'nvidia-580.126.18' for kernel-7.0.1_1... FAILED!", "DriverNotVisible", "headers"),
        ("slurmd: fatal: MIG mode is enabled, but no MIG devices were found", "NoDevice", "mig -cgi"),
        ("pynvml.NVMLError_NotSupported: Not Supported", "NvmlUnavailable", "unified memory"),
        ("INFO: Starting Singularity container\nINFO: Could not find any nv files on this host!", "DriverNotVisible", "--nv"),
        ("Hypervisor vendor: KVM\nUnable to determine the device handle for GPU 0000:02:01.0: Unknown Error", "GpuLost", "vfio"),
    ],
)  # fmt: skip
def test_errors_of_single_platforms_and_tools(text: str, reason: str, says: str) -> None:
    found = assess(read_error_text(text, KNOWLEDGE), None, (), KNOWLEDGE).checks[0]
    assert found.reason == reason
    assert says in found.remedies[0].message


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("$ docker exec gpu nvidia-smi\nFailed to initialize NVML: Unknown Error", "Incompatible"),
        ("$ kubectl logs pod/gpu-test\nFailed to initialize NVML: Unknown Error", "Incompatible"),
        ("$ nvidia-smi\nFailed to initialize NVML: Unknown Error", "Unknown"),
        (
            "docker exec: Failed to initialize NVML: Unknown Error\n>>> torch.cuda.is_available()\nTrue",
            "Unknown",
        ),
    ],
)
def test_an_unknown_error_of_nvml_is_certain_in_a_container_where_cuda_was_not_seen_to_work(
    text: str, verdict: str
) -> None:
    found = assess(merge([read_error_text(text, KNOWLEDGE), read_collect_env(text)]), None, (), KNOWLEDGE)
    assert found.verdict == verdict
    assert "ContainerLostGpu" in {check.reason for check in found.checks}
