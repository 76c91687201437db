"""The loaded kernel module: how the probe and pasted texts tell it, and what follows from its version and flavour."""

from pathlib import Path

import pytest
from tests.support.world import KNOWLEDGE

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import (
    DriverFacts,
    Facts,
    Gpu,
    KernelModule,
    Libcuda,
    LibcudaOrigin,
    NodeFacts,
    Source,
)
from gpuenv.assess.model import Check
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.probe.probe_facts import facts_from_document
from gpuenv_probe.facts import kernel_module

OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder@U22-I3)\n"
    "GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n"
)
PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"
PARAMETERS = "ResmanDebugLevel: 4294967295\nEnableGpuFirmware: 18\nOpenRmEnableUnsupportedGpus: 1\n"


def proc(directory: Path, version: str = "", parameters: str = "") -> str:
    for name, text in (("version", version), ("params", parameters)):
        if text:
            (directory / name).write_text(text, encoding="utf-8")
    return str(directory)


@pytest.mark.parametrize(
    ("version", "parameters", "expected"),
    [
        (OPEN, PARAMETERS, {"version": "580.95.05", "open": True, "gpuFirmware": 18}),
        (PROPRIETARY, "", {"version": "535.104.05", "open": False}),
        ("", "EnableGpuFirmware: 0\n", {"gpuFirmware": 0}),
        ("NVRM version: something else\n", "Nonsense\n", {}),
        ("", "", {}),
        ("NVRM version: " + "Kernel Module " * 100_000, "EnableGpuFirmware: " * 10_000, {}),
    ],
)
def test_the_probe_reads_what_the_kernel_module_says_of_itself(
    tmp_path: Path, version: str, parameters: str, expected: dict[str, object]
) -> None:
    assert kernel_module.facts(proc(tmp_path, version, parameters)) == expected


def test_the_probe_document_has_the_kernel_module_and_odd_values_are_not_known() -> None:
    def read(module: object) -> KernelModule | None:
        return facts_from_document(
            {"facts": {"driver": {"kernelModule": module}}}, NodeFacts()
        ).driver.kernel_module

    assert read({"version": "580.95.05", "open": True, "gpuFirmware": 18}) == KernelModule(
        "580.95.05", True, 18
    )
    assert read({"version": 5, "open": "yes", "gpuFirmware": []}) == KernelModule()
    assert read("580") is None
    assert facts_from_document({}, NodeFacts()).driver.kernel_module is None


def checked(
    module: KernelModule,
    *,
    gpu: str = "NVIDIA L4",
    path: str | None = None,
    origin: LibcudaOrigin | None = None,
    cu_init: int | None = None,
) -> Check | None:
    """Return the worst check about the kernel module, or None if there is none."""
    facts = Facts(
        source=Source.PROBE,
        driver=DriverFacts(
            version=module.version,
            kernel_module=module,
            libcuda=Libcuda(path=path, origin=origin),
            cu_init=cu_init,
        ),
        gpus=(Gpu(product=gpu),),
    )
    found = assess(facts, None, (), KNOWLEDGE).checks
    return next((check for check in found if check.name == "driver-module"), None)


LIB = "/usr/lib/x86_64-linux-gnu/libcuda.so."


@pytest.mark.parametrize(
    ("path", "origin", "cu_init", "reason"),
    [
        (f"{LIB}575.64.03", LibcudaOrigin.HOST, None, "DriverMismatch"),
        (f"{LIB}575.64.03", LibcudaOrigin.GKE, 803, "DriverMismatch"),
        (f"{LIB}580.95.05", LibcudaOrigin.HOST, None, ""),
        (f"{LIB}575.64.03", LibcudaOrigin.HOST, 0, None),
        (f"{LIB}575.64.03", LibcudaOrigin.COMPAT, None, None),
        ("/usr/local/cuda/compat/libcuda.so.590.44.01", None, None, None),
        ("/usr/lib/wsl/lib/libcuda.so.1.1", LibcudaOrigin.WSL, None, None),
        (None, None, None, None),
    ],
)
def test_a_module_of_another_version_than_libcuda_is_a_mismatch(
    path: str | None, origin: LibcudaOrigin | None, cu_init: int | None, reason: str | None
) -> None:
    found = checked(KernelModule("580.95.05", True), path=path, origin=origin, cu_init=cu_init)
    assert (found.reason if found else None) == reason


def test_a_libcuda_of_the_image_is_removed_and_one_of_the_node_is_loaded_anew() -> None:
    own = checked(KernelModule("580.95.05"), path=f"{LIB}535.104.05", origin=LibcudaOrigin.OTHER)
    node = checked(KernelModule("580.95.05"), path=f"{LIB}535.104.05", origin=LibcudaOrigin.HOST)
    assert own is not None and node is not None
    assert "remove what the image brings" in own.remedies[0].message
    assert node.remedies[0].action == "ReloadDriver"


@pytest.mark.parametrize(
    ("module", "gpu", "cu_init", "words"),
    [
        (KernelModule(is_open=True), "Tesla V100-SXM2-16GB", None, "open kernel modules are loaded"),
        (KernelModule(is_open=True), "NVIDIA GeForce GTX 1080 Ti", 100, "open kernel modules are loaded"),
        (KernelModule(is_open=True), "Tesla T4", None, None),
        (KernelModule(is_open=True), "Tesla V100-SXM2-16GB", 0, None),
        (KernelModule(is_open=False), "NVIDIA B200", None, "needs the open kernel modules"),
        (KernelModule(is_open=False), "NVIDIA GeForce RTX 5090", 100, "needs the open kernel modules"),
        (KernelModule(is_open=False), "NVIDIA GH200 480GB", None, "needs the open kernel modules"),
        (KernelModule(is_open=False), "NVIDIA H100 80GB HBM3", None, None),
        (KernelModule(is_open=True, gpu_firmware=0), "NVIDIA L4", 100, "EnableGpuFirmware=0"),
        (KernelModule(is_open=False, gpu_firmware=0), "NVIDIA L4", 100, None),
        (KernelModule(is_open=None), "NVIDIA B200", None, None),
    ],
)  # fmt: skip
def test_the_flavour_of_the_module_has_to_suit_the_gpu(
    module: KernelModule, gpu: str, cu_init: int | None, words: str | None
) -> None:
    found = checked(module, gpu=gpu, cu_init=cu_init)
    assert (found is None) is (words is None)
    if found is not None and words is not None:
        assert (found.status, found.reason, found.remedies[0].action) == ("Fail", "NoDevice", "ChangeDriver")
        assert words in found.message


@pytest.mark.parametrize(
    ("text", "module", "path"),
    [
        (OPEN, KernelModule("580.95.05", True), None),
        (PROPRIETARY + PARAMETERS, KernelModule("535.104.05", False, 18), None),
        ("NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31", KernelModule("550.90.07", False), None),
        (f"{OPEN}{LIB}575.64.03", KernelModule("580.95.05", True), f"{LIB}575.64.03"),
        (f"{OPEN}/usr/local/cuda/compat/libcuda.so.590.44.01 {LIB}580.95.05", KernelModule("580.95.05", True), f"{LIB}580.95.05"),
        (f"{OPEN}/opt/libcuda.so.535.86.10 {LIB}580.95.05", KernelModule("580.95.05", True), f"{LIB}580.95.05"),
        (f"no module, only {LIB}575.64.03", None, None),
    ],
)  # fmt: skip
def test_a_pasted_text_names_the_module(text: str, module: KernelModule | None, path: str | None) -> None:
    driver = read_error_text(text, KNOWLEDGE).driver
    assert driver.kernel_module == module
    assert (driver.libcuda.path if driver.libcuda else None) == path


def test_a_pasted_mismatch_is_found_without_any_error() -> None:
    found = assess(read_error_text(f"{OPEN}$ ls\n{LIB}575.64.03", KNOWLEDGE), None, (), KNOWLEDGE)
    assert (found.verdict, found.reason) == ("Incompatible", "DriverMismatch")
