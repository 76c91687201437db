"""The benchmark figures of simulated GPUs: typical of the product, with small differences between cards."""

import hashlib
from typing import Any, Final

from gpuenv_sandbox.scenario.hardware import Hardware
from gpuenv_sandbox.scenario.model import Fault, SimulatedNode

Rows = list[dict[str, Any]]

FORMAT_SINCE: Final = {"fp16": (5, 3), "tf32": (8, 0), "bf16": (8, 0), "fp8": (8, 9)}
"""Each number format that some GPUs lack, with the lowest compute capability that has it in hardware.

A format that is missing here is supported by every GPU.
"""
HW_SLOWDOWN: Final = 0x08 | 0x40
"""NVML's clock event reasons (a bit mask) of a GPU slowed by heat: HwSlowdown and HwThermalSlowdown."""

_SLOWED: Final = 0.35
"""The performance of a GPU in thermal slowdown, as a fraction of its usual performance."""
_SPREAD: Final = 0.04
_SAMPLES: Final = 21
_PINNED_GBPS: Final = {"h2d": 24.5, "d2h": 25.1}
"""The usual GB/s of copies from host to device (h2d) and back (d2h), for pinned memory and PCIe 4.0 x16."""


def measure(node: SimulatedNode, devices: int, sharing: str) -> Rows:
    """Return the benchmark rows of ``devices`` GPUs of a node, as a probe would report them.

    The row of a figure that cannot be measured contains the reason instead. ``sharing`` is how pods share the GPUs,
    such as ``time-slicing``, or "" if they do not share them. Shared GPUs are not measured.
    """
    return [row for gpu in range(devices) for row in _of_gpu(node, gpu, sharing)]


def conditions(node: SimulatedNode, devices: int) -> Rows:
    """Return the temperature and throttle reasons of each GPU during the benchmarks, as NVML would report them."""
    slow = node.fault is Fault.SLOW
    health = {"busyTemperatureC": 92 if slow else 61, "busyThrottleReasons": HW_SLOWDOWN if slow else 0}
    return [{"index": gpu, "health": health} for gpu in range(devices)]


def _of_gpu(node: SimulatedNode, gpu: int, sharing: str) -> Rows:
    rows = []
    for kernel, dtype, unit, typical in _typical(node.hardware):
        row: dict[str, Any] = {"kernel": kernel, "gpu": gpu, "dtype": dtype, "unit": unit}
        capability = node.hardware.compute_capability
        if sharing:
            row["detail"] = f"not measured: the GPU is shared ({sharing})"
        elif capability < FORMAT_SINCE.get(dtype, (0, 0)):
            major, minor = capability
            row["detail"] = f"not measured: compute capability {major}.{minor} has no {dtype} in hardware"
        else:
            row |= _sample(node, f"{gpu}/{kernel}/{dtype}", typical)
        rows.append(row)
    return rows


def _typical(hardware: Hardware) -> list[tuple[str, str, str, float]]:
    return [
        ("matmul", "fp32", "TFLOPS", hardware.fp32_tflops),
        ("matmul", "tf32", "TFLOPS", hardware.half_tflops / 2),
        ("matmul", "fp16", "TFLOPS", hardware.half_tflops),
        ("matmul", "bf16", "TFLOPS", hardware.half_tflops),
        ("matmul", "fp8", "TFLOPS", hardware.half_tflops * 1.7),
        ("conv", "fp16", "TFLOPS", hardware.half_tflops * 0.6),
        ("train", "fp32", "1/s", 2500.0),
        ("memory", "", "GB/s", hardware.memory_gbps),
        *((kernel, "", "GB/s", figure) for kernel, figure in _PINNED_GBPS.items()),
    ]


def _sample(node: SimulatedNode, what: str, typical: float) -> dict[str, Any]:
    """Return the median, percentiles and sample count of one benchmark on one GPU.

    The median differs by at most 2 % from ``typical``, the usual value of the GPU product. It is always the same for
    the same node and ``what``, which consists of the GPU's index, the kernel and the number format. The fault ``slow``
    reduces it, except for copies from and to the host.
    """
    place = hashlib.sha256(f"{node.name}/{what}".encode()).digest()[0] / 255
    slowed = node.fault is Fault.SLOW and not what.endswith(("h2d/", "d2h/"))
    median = typical * (1 + _SPREAD * (place - 0.5)) * (_SLOWED if slowed else 1.0)
    return {
        "median": round(median, 2),
        "p20": round(median * 0.995, 2),
        "p80": round(median * 1.005, 2),
        "samples": _SAMPLES,
    }
