"""Allocation, copies, streams and events, which all other kernels depend on."""

from __future__ import annotations

from gpuenv_probe.kernels.device import Device, Skip
from gpuenv_probe.kernels.tolerances import WrongResult

_ELEMENTS = 1024 * 1024


def alloc(device: Device, dtype: str) -> str | None:
    """Copy 4 MiB to the device, within the device and back, and compare every bit with the original.

    Raises WrongResult if a bit differs.
    """
    torch = device.torch
    source = torch.arange(_ELEMENTS, dtype=torch.int32)
    there = source.to(device.name)
    copied = torch.empty_like(there)
    copied.copy_(there)
    back = copied.cpu()
    if not torch.equal(source, back):
        wrong = int((source != back).sum())
        raise WrongResult(f"{wrong} of {_ELEMENTS} values changed on the way to the device and back")
    return None


def stream(device: Device, dtype: str) -> str | None:
    """Double a tensor on a second CUDA stream, sum it up on the first one, and check the sum.

    The first stream waits for the second before it computes the sum. The second records an event before and after the
    doubling. Raises WrongResult if the sum is wrong, or if the time between the two events is negative or NaN.
    """
    if device.kind == "cpu":
        raise Skip("a CPU has no streams")
    torch = device.torch
    side = torch.cuda.Stream()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    source = torch.ones(_ELEMENTS, device=device.name)
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        begin.record(side)
        result = source * 2.0
        end.record(side)
    torch.cuda.current_stream().wait_stream(side)
    total = float(result.sum(dtype=torch.float64).cpu())
    end.synchronize()
    elapsed = begin.elapsed_time(end)
    if total != 2.0 * _ELEMENTS or not elapsed >= 0.0:  # 0.0 ms is valid: the clock is too coarse
        raise WrongResult(f"sum {total} instead of {2.0 * _ELEMENTS}, {elapsed} ms between the events")
    return None
