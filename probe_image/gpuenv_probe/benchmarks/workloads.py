"""The workload of each benchmark figure: the call that is timed, and its work, the TFLOP or GB of one call."""

from __future__ import annotations

import time
from typing import Any, Callable

from gpuenv_probe.benchmarks.meter import Meter, Sample
from gpuenv_probe.facts import container
from gpuenv_probe.kernels.device import Device
from gpuenv_probe.kernels.matmul import scaled_mm

_MIB = 1024**2
_LARGE_GPU_BYTES = 16 * 1000**3
_PINNED_BYTES = 256 * _MIB
_MIN_PINNED_BYTES = 8 * _MIB


def matrix_size(device: Device) -> int:
    """Return the number of rows and columns of the matrices to multiply: 8192, or 4096 on small or old GPUs.

    8192 saturates every GPU. A GPU is small if it has less than 16 GB of memory, and old if it has no tensor cores
    (compute capability below 7.0).
    """
    total = int(device.torch.cuda.get_device_properties(device.index).total_memory)
    small = total < _LARGE_GPU_BYTES or (device.capability or (0, 0)) < (7, 0)
    return 4096 if small else 8192


def warm_up(device: Device, seconds: float) -> float:
    """Multiply matrices for at least ``seconds``, so that the clocks settle; return the seconds that this took."""
    capability = device.capability or (0, 0)
    dtype = "bf16" if capability >= (8, 0) else "fp16" if capability >= (7, 0) else "fp32"
    call, _ = _matmul_call(device, dtype, 4096)
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        call()
        device.synchronize()  # after each call, because a faulty GPU may need seconds for a single one
    return time.monotonic() - begun


def _matmul_call(device: Device, dtype: str, size: int) -> tuple[Callable[[], Any], float]:
    """Return a function that multiplies two square matrices, and the work of one call in TFLOP."""
    torch = device.torch
    kind = device.dtype(dtype)
    made = torch.float16 if dtype == "fp8" else kind
    left, right = (torch.randn(size, size, device=device.name).to(made).to(kind) for _ in range(2))
    if dtype == "fp8":
        right, one = right.t().contiguous().t(), torch.ones((), device=device.name)
        return lambda: scaled_mm(device, left, right, one), 2.0 * size**3 / 1e12
    out = torch.empty(size, size, device=device.name, dtype=kind)
    return lambda: torch.mm(left, right, out=out), 2.0 * size**3 / 1e12


def _matmul(device: Device, dtype: str, meter: Meter) -> Sample:
    """Measure the TFLOPS of the product of two square matrices.

    At size 8192 the matrices together exceed every L2 cache, so no flush is needed.
    """
    call, work = _matmul_call(device, dtype, matrix_size(device))
    with device.tf32(dtype == "tf32"):
        return meter.measure(call, work)


def _conv(device: Device, dtype: str, meter: Meter) -> Sample:
    """Measure the TFLOPS of a 3x3 convolution as in the middle of a ResNet.

    Its input has 64 images of 28 x 28 with 256 channels, in the memory format "channels last".
    """
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
        return meter.measure(lambda: torch.nn.functional.conv2d(images, weights, padding=1), work, True)
    finally:
        torch.backends.cudnn.benchmark = before


def _train(device: Device, dtype: str, meter: Meter) -> Sample:
    """Measure the training steps per second of a small network: widths 1024-4096-4096-1024, batch 512, SGD.

    The network computes in fp32 without TF32. The time of a step includes the launches of its kernels.
    """
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
        return meter.measure(step, 1.0, True)


def _memory(device: Device, dtype: str, meter: Meter) -> Sample:
    """Measure the GB/s of a copy within the GPU's memory; bytes read and bytes written are both counted.

    The copy has 1 GiB, or a quarter of the free GPU memory if that is less.
    """
    torch = device.torch
    free, _ = torch.cuda.mem_get_info(device.index)
    count = min(1024**3, free // 4) // 4
    source = torch.randn(count, device=device.name)
    target = torch.empty_like(source)
    return meter.measure(lambda: target.copy_(source), 8.0 * count / 1e9)


def _pinned(device: Device) -> tuple[Any, Any, float]:
    """Return a tensor in pinned host memory, a tensor of the same size on the GPU, and the size of each in GB.

    The tensors are smaller if the container's memory limit leaves little memory free. Raises MemoryError if it leaves
    too little.
    """
    spare = container.spare_memory()
    size = _PINNED_BYTES if spare is None else min(_PINNED_BYTES, spare // 4)
    if size < _MIN_PINNED_BYTES:
        raise MemoryError(
            f"the container has only {(spare or 0) // _MIB} MiB of memory left for pinned buffers"
        )
    torch = device.torch
    # The values are drawn on the GPU, because drawing them on the host takes half a second.
    there = torch.randn(size // 4, device=device.name)
    host = torch.empty(size // 4, pin_memory=True)
    host.copy_(there)
    return host, there, 4.0 * (size // 4) / 1e9


def _h2d(device: Device, dtype: str, meter: Meter) -> Sample:
    """Measure the GB/s of copies from pinned host memory to the GPU."""
    host, there, work = _pinned(device)
    return meter.measure(lambda: there.copy_(host, non_blocking=True), work)


def _d2h(device: Device, dtype: str, meter: Meter) -> Sample:
    """Measure the GB/s of copies from the GPU to pinned host memory."""
    host, there, work = _pinned(device)
    return meter.measure(lambda: host.copy_(there, non_blocking=True), work)


MEASURES: dict[str, Callable[[Device, str, Meter], Sample]] = {
    "MatMul": _matmul,
    "Conv": _conv,
    "Train": _train,
    "DeviceMemory": _memory,
    "HostToDevice": _h2d,
    "DeviceToHost": _d2h,
}
"""Maps each benchmark to the function that measures it. The function's ``dtype`` is a format of ``Device.dtype``."""
