"""The benchmark figures of simulated GPUs: typical of the product, with small differences between cards."""

import hashlib
from typing import Any, Final

from gpuenv_probe.benchmarks import causes
from gpuenv_sandbox.scenario.hardware import Hardware
from gpuenv_sandbox.scenario.model import Fault, SimulatedNode

Rows = list[dict[str, Any]]

FORMAT_SINCE: Final = {"fp16": (5, 3), "tf32": (8, 0), "bf16": (8, 0), "fp8": (8, 9)}
"""Each number format that some GPUs lack, with the lowest compute capability that has it in hardware.

A format that is missing here is supported by every GPU. Benchmarks name the formats in upper case.
"""
HW_SLOWDOWN: Final = 0x08 | 0x40
"""NVML's clock event reasons (a bit mask) of a GPU slowed by heat: HwSlowdown and HwThermalSlowdown."""

_SLOWED: Final = 0.35
"""The performance of a GPU in thermal slowdown, as a fraction of its usual performance."""
_SPREAD: Final = 0.04
_SAMPLES: Final = 21
_PINNED_GBPS: Final = {"HostToDevice": 24.5, "DeviceToHost": 25.1}
"""The usual GB/s of copies from host to device and back, for pinned memory and PCIe 4.0 x16."""


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
    for benchmark, dtype, unit, typical in _typical(node.hardware):
        row: dict[str, Any] = {"benchmark": benchmark, "gpu": gpu, "unit": unit}
        if dtype:
            row["dtype"] = dtype
        capability = node.hardware.compute_capability
        if sharing:
            row |= {"notMeasured": causes.SHARED, "detail": f"the GPU is shared ({sharing})"}
        elif capability < FORMAT_SINCE.get(dtype.lower(), (0, 0)):
            words = f"compute capability {capability[0]}.{capability[1]} has no {dtype.lower()} in hardware"
            row |= {"notMeasured": causes.UNSUPPORTED, "detail": words}
        else:
            row |= _sample(node, f"{gpu}/{benchmark}/{dtype}", typical)
        rows.append(row)
    return rows


def _typical(hardware: Hardware) -> list[tuple[str, str, str, float]]:
    return [
        ("MatMul", "FP32", "TFLOPS", hardware.fp32_tflops),
        ("MatMul", "TF32", "TFLOPS", hardware.half_tflops / 2),
        ("MatMul", "FP16", "TFLOPS", hardware.half_tflops),
        ("MatMul", "BF16", "TFLOPS", hardware.half_tflops),
        ("MatMul", "FP8", "TFLOPS", hardware.half_tflops * 1.7),
        ("Conv", "FP16", "TFLOPS", hardware.half_tflops * 0.6),
        ("Train", "FP32", "1/s", 2500.0),
        ("DeviceMemory", "", "GB/s", hardware.memory_gbps),
        *((benchmark, "", "GB/s", figure) for benchmark, figure in _PINNED_GBPS.items()),
    ]


def _sample(node: SimulatedNode, what: str, typical: float) -> dict[str, Any]:
    """Return the median, percentiles and sample count of one benchmark on one GPU.

    The median differs by at most 2 % from ``typical``, the usual value of the GPU product. It is always the same for
    the same node and ``what``, which consists of the GPU's index, the benchmark and the number format. The fault ``slow``
    reduces it, except for copies from and to the host.
    """
    place = hashlib.sha256(f"{node.name}/{what}".encode()).digest()[0] / 255
    slowed = node.fault is Fault.SLOW and not what.endswith(tuple(f"{copy}/" for copy in _PINNED_GBPS))
    median = typical * (1 + _SPREAD * (place - 0.5)) * (_SLOWED if slowed else 1.0)
    return {
        "median": round(median, 2),
        "p20": round(median * 0.995, 2),
        "p80": round(median * 1.005, 2),
        "samples": _SAMPLES,
    }
