"""How each figure is measured: a call, what it computes or moves, CUDA events around every run."""

from __future__ import annotations

import time
from typing import Any, Callable

from gpuenv_probe import container
from gpuenv_probe.kernels.device import Device, Skip
from gpuenv_probe.kernels.matmul import scaled_mm

_MIB = 1024**2
_FLUSH_BYTES = 256 * _MIB
"""Twice the largest L2 cache there is (126 MiB on Blackwell)."""
_WARM_CALLS = 3
_MIN_SAMPLES, _MAX_SAMPLES = 5, 200
_LARGE_GPU_BYTES = 16 * 1000**3
_PINNED_BYTES = 256 * _MIB
_MIN_PINNED_BYTES = 8 * _MIB


class Sample:
    """Times of single calls in seconds, and what one call does in the figure's unit times seconds."""

    def __init__(self, work: float, times: list[float], gpu_seconds: float) -> None:
        self.work = work
        self.times = times
        self.gpu_seconds = gpu_seconds

    def summary(self) -> dict[str, Any]:
        """Median, 20th and 80th percentile of the rate with four significant digits, and the sample count."""
        rates = sorted(self.work / seconds for seconds in self.times)
        return {
            "median": _digits(percentile(rates, 0.5)),
            "p20": _digits(percentile(rates, 0.2)),
            "p80": _digits(percentile(rates, 0.8)),
            "samples": len(rates),
        }


def percentile(ordered: list[float], share: float) -> float:
    """Linear interpolation between the two nearest of the sorted values."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def measure(
    device: Device, call: Callable[[], Any], work: float, seconds: float, flush: bool = False
) -> Sample:
    """Runs ``call`` for about ``seconds``, each between two events; ``flush`` empties the L2 cache first."""
    torch = device.torch
    begun = time.monotonic()
    buffer = torch.empty(_FLUSH_BYTES, dtype=torch.int8, device=device.name) if flush else None
    for _ in range(_WARM_CALLS):
        call()
    device.synchronize()
    first = _timed(torch, call, buffer, 1)[0]
    count = max(_MIN_SAMPLES, min(_MAX_SAMPLES, int(seconds / max(first, 1e-6))))
    times = _timed(torch, call, buffer, count)
    return Sample(work, times, time.monotonic() - begun)


def _timed(torch: Any, call: Callable[[], Any], buffer: Any, count: int) -> list[float]:
    begins = [torch.cuda.Event(enable_timing=True) for _ in range(count)]
    ends = [torch.cuda.Event(enable_timing=True) for _ in range(count)]
    for begin, end in zip(begins, ends):
        if buffer is not None:
            buffer.zero_()
        begin.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) / 1000.0 for begin, end in zip(begins, ends)]


def matrix_size(device: Device) -> int:
    """8192, which saturates every GPU; 4096 below 16 GB, and on GPUs without tensor cores."""
    total = int(device.torch.cuda.get_device_properties(device.index).total_memory)
    small = total < _LARGE_GPU_BYTES or (device.capability or (0, 0)) < (7, 0)
    return 4096 if small else 8192


def warm_up(device: Device, seconds: float) -> float:
    """Multiplies matrices until the clocks had time to settle; returns the seconds it took."""
    capability = device.capability or (0, 0)
    dtype = "bf16" if capability >= (8, 0) else "fp16" if capability >= (7, 0) else "fp32"
    call, _ = _matmul_call(device, dtype, 4096)
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        for _ in range(5):
            call()
        device.synchronize()
    return time.monotonic() - begun


def _matmul_call(device: Device, dtype: str, size: int) -> tuple[Callable[[], Any], float]:
    torch = device.torch
    kind = device.dtype(dtype)
    made = torch.float16 if dtype == "fp8" else kind
    left, right = (torch.randn(size, size, device=device.name).to(made).to(kind) for _ in range(2))
    if dtype == "fp8":
        right, one = right.t().contiguous().t(), torch.ones((), device=device.name)
        return lambda: scaled_mm(device, left, right, one), 2.0 * size**3 / 1e12
    out = torch.empty(size, size, device=device.name, dtype=kind)
    return lambda: torch.mm(left, right, out=out), 2.0 * size**3 / 1e12


def _matmul(device: Device, dtype: str, seconds: float) -> Sample:
    """Square matrices; the products of 8192 do not fit any cache, so nothing is flushed."""
    call, work = _matmul_call(device, dtype, matrix_size(device))
    with device.tf32(dtype == "tf32"):
        return measure(device, call, work, seconds)


def _conv(device: Device, dtype: str, seconds: float) -> Sample:
    """A 3x3 convolution from the middle of a ResNet: 64 images of 28 x 28, 256 channels, channels last."""
    torch = device.torch
    kind = device.dtype(dtype)
    batch, channels, side, kernel = 64, 256, 28, 3
    images = torch.randn(batch, channels, side, side, device=device.name).to(kind)
    weights = torch.randn(channels, channels, kernel, kernel, device=device.name).to(kind)
    images = images.contiguous(memory_format=torch.channels_last)
    weights = weights.contiguous(memory_format=torch.channels_last)
    work = 2.0 * batch * side * side * channels * channels * kernel * kernel / 1e12
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        return measure(
            device, lambda: torch.nn.functional.conv2d(images, weights, padding=1), work, seconds, True
        )
    finally:
        torch.backends.cudnn.benchmark = before


def _train(device: Device, dtype: str, seconds: float) -> Sample:
    """Steps a second of a network 1024-4096-4096-1024: plain fp32, batch 512, SGD; kernels and launches."""
    torch = device.torch
    nn = torch.nn
    widths = (1024, 4096, 4096, 1024)
    layers = [layer for pair in zip(widths, widths[1:]) for layer in (nn.Linear(*pair), nn.ReLU())]
    network = nn.Sequential(*layers).to(device.name)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    inputs, wanted = (torch.randn(512, 1024, device=device.name) for _ in range(2))

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(network(inputs), wanted).backward()
        optimizer.step()

    with device.tf32(False):
        return measure(device, step, 1.0, seconds, True)


def _memory(device: Device, dtype: str, seconds: float) -> Sample:
    """A copy within the GPU of 1 GiB, or a quarter of what is free; read and written bytes both count."""
    torch = device.torch
    free, _ = torch.cuda.mem_get_info(device.index)
    count = min(1024**3, free // 4) // 4
    source = torch.randn(count, device=device.name)
    target = torch.empty_like(source)
    return measure(device, lambda: target.copy_(source), 8.0 * count / 1e9, seconds)


def _pinned(device: Device) -> tuple[Any, Any, float]:
    """Pinned host memory and its twin on the GPU, small enough for the container's limit."""
    spare = container.spare_memory()
    size = _PINNED_BYTES if spare is None else min(_PINNED_BYTES, spare // 4)
    if size < _MIN_PINNED_BYTES:
        raise Skip(f"the container has only {(spare or 0) // _MIB} MiB of memory left for pinned buffers")
    torch = device.torch
    host = torch.randn(size // 4).pin_memory()
    return host, torch.empty(size // 4, device=device.name), 4.0 * (size // 4) / 1e9


def _h2d(device: Device, dtype: str, seconds: float) -> Sample:
    """Copies from pinned host memory to the GPU."""
    host, there, work = _pinned(device)
    return measure(device, lambda: there.copy_(host, non_blocking=True), work, seconds)


def _d2h(device: Device, dtype: str, seconds: float) -> Sample:
    """Copies from the GPU to pinned host memory."""
    host, there, work = _pinned(device)
    there.copy_(host)
    return measure(device, lambda: host.copy_(there, non_blocking=True), work, seconds)


MEASURES: dict[str, Callable[[Device, str, float], Sample]] = {
    "matmul": _matmul,
    "conv": _conv,
    "train": _train,
    "memory": _memory,
    "h2d": _h2d,
    "d2h": _d2h,
}
