"""What is no error is called none, one error is not called both known and unknown, and contained errors keep the node."""

import time

import pytest
from tests.support.world import KNOWLEDGE

from gpuenv.assess.engine import assess
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.text.advice_words import without_conditions

XID = "NVRM: Xid (PCI:0000:0f:00): "


def judge(text: str) -> Assessment:
    return assess(read_error_text(text, KNOWLEDGE), None, (), KNOWLEDGE)


@pytest.mark.parametrize(
    "text",
    [
        "INFO:     Uvicorn running on http://0.0.0.0:8000 (Press CTRL+C to quit)",
        "INFO 11-28 10:11:12 [api_server.py:12] Starting vLLM API server\nDEBUG 11-28 10:11:13 [x.py:1] ready",
        "2026-11-28 10:11:12,123 - vllm.engine - INFO - ready\n(APIServer pid=1) INFO:     Application startup complete.",
        "    ECC Errors\n        Volatile\n            SRAM Correctable                  : 0\n"
        "            DRAM Uncorrectable                : 0\n        Aggregate\n            SRAM Correctable : N/A",
        'If you see "CUDA error: no kernel image is available", upgrade your torch.',
        "When you get CUDA error: out of memory, use a smaller batch",
    ],
)
def test_a_text_without_an_error_reports_none(text: str) -> None:
    facts = read_error_text(text, KNOWLEDGE)
    assert facts.errors == ()
    assert facts.unrecognised == ()
    assert judge(text).verdict == "Unknown"


@pytest.mark.parametrize(
    "text",
    [
        "INFO:     Uvicorn running\nthe GPU hung up",
        "INFO 11-28 10:11:12 [x.py:1] cannot start",
        "        DRAM Uncorrectable : Unknown Error",
        "the GPU hung up",
    ],
)
def test_a_text_that_may_contain_an_error_still_counts_as_one(text: str) -> None:
    facts = read_error_text(text, KNOWLEDGE)
    assert facts.errors or facts.unrecognised


def test_an_error_after_a_condition_still_counts() -> None:
    text = "If you see a warning, ignore it. RuntimeError: CUDA error: no kernel image is available for execution on the device"
    assert [error.name for error in read_error_text(text, KNOWLEDGE).errors] == ["no-kernel-image"]


@pytest.mark.parametrize(
    "text",
    [
        "Error 3: initialization error",
        "RuntimeError: CUDA error: Error 3: initialization error",
        "RuntimeError: Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling "
        "NumCudaDevices() that might have already set an error? Error 3: initialization error",
        "Cuda failure 999 unknown thing",
        "CUDA error 209 [x.cu, 126]: odd words",
    ],
)
def test_a_number_that_is_known_is_not_also_called_unknown(text: str) -> None:
    found = [check for check in judge(text).checks if check.name == "error"]
    assert len(found) == 1
    assert "do not know" not in found[0].message


def test_an_unhandled_error_of_cuda_in_nccl_is_one_of_nccl() -> None:
    (found,) = (
        check
        for check in judge("ncclUnhandledCudaError: Call to CUDA function failed.").checks
        if check.name == "error"
    )
    assert "NCCL" in found.message


@pytest.mark.parametrize("code", range(144, 151))
def test_an_nvlink_error_that_is_not_fatal_keeps_the_node(code: int) -> None:
    nonfatal = f"{XID}{code}, RLW_REMAP Nonfatal XC0 i0 Link 07 (0x00000004 0x00000000)"
    fatal = nonfatal.replace("Nonfatal", "Fatal")
    found = judge(nonfatal)
    assert (found.verdict, found.checks[0].reason) == ("Degraded", "NvlinkFault")
    assert "uncorrectable" not in found.checks[0].message
    for text in (fatal, f"{nonfatal}\n{fatal}"):
        assert judge(text).verdict == "Incompatible"


def test_a_contained_memory_error_ends_one_program_and_an_uncontained_one_needs_a_reset() -> None:
    contained, uncontained = (
        judge(f"{XID}94, pid=123, Contained: SM (0x1)."),
        judge(f"{XID}95, Uncontained: FBHUB."),
    )
    assert (contained.verdict, contained.checks[0].reason) == ("Degraded", "EccUncorrectable")
    assert "Start the program" in contained.checks[0].remedies[0].message
    assert (uncontained.verdict, uncontained.checks[0].reason) == ("Incompatible", "EccUncorrectable")


@pytest.mark.parametrize(
    "error",
    [
        "RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",
        "cudaErrorDevicesUnavailable",
    ],
)
def test_a_missing_licence_of_a_virtual_gpu_explains_why_it_is_busy(error: str) -> None:
    text = f"nvidia-gridd: Failed to acquire license from server\n{error}"
    for pasted in (text, "\n".join(reversed(text.splitlines()))):
        found = [check for check in judge(pasted).checks if check.name == "error"]
        assert [check.reason for check in found] == ["VgpuUnlicensed"]


def test_conditions_of_a_hostile_text_take_little_time() -> None:
    began = time.monotonic()
    for words in ("if you see ", "when you get . A", "if you ", "if you see x."):
        without_conditions(words * (1_000_000 // len(words)))
    assert time.monotonic() - began < 3
