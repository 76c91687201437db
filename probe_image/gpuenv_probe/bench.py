"""Benchmarks: a few honest figures per GPU within seconds, and what NVML said while they ran.

Method (the practice of mamf-finder, triton's do_bench and nvbandwidth): random-normal inputs, for constants
draw less power and run faster; a warm-up that lets clocks settle; CUDA events around each call; the L2 cache
flushed where the working set could stay in it; the median with its 20th and 80th percentile, never the best.
"""

from __future__ import annotations

import os
from typing import Any, Callable

from gpuenv_probe import failures, figures, torchfacts
from gpuenv_probe.failures import Failure
from gpuenv_probe.kernels.device import Device, Skip
from gpuenv_probe.monitor import Monitor
from gpuenv_probe.worker import Context, Partial, Step

PROFILES = {"Quick": (1.0, 0.5, 10.0), "Standard": (2.5, 1.5, 30.0)}
"""Seconds of warm-up, of each figure, and in all; the import of torch is not counted."""
TABLE = (
    ("matmul", "fp32", "TFLOPS"),
    ("matmul", "tf32", "TFLOPS"),
    ("matmul", "fp16", "TFLOPS"),
    ("matmul", "bf16", "TFLOPS"),
    ("matmul", "fp8", "TFLOPS"),
    ("conv", "fp16", "TFLOPS"),
    ("train", "fp32", "1/s"),
    ("memory", "", "GB/s"),
    ("h2d", "", "GB/s"),
    ("d2h", "", "GB/s"),
)
MIN_FREE_BYTES = 4 * 1024**3
_FIGURE_LIMIT = 60.0


def steps(job: dict[str, Any]) -> list[Step]:
    """Steps of one GPU's benchmark worker."""
    gpu = int(job.get("gpu", 0))

    def blame_all(failure: Failure, outcome: str) -> Partial:
        return skipped(gpu, f"{outcome}: {failure.get('message') or failure.get('name')}")

    return [
        Step("import torch", torchfacts.IMPORT_LIMIT, _import_torch, blame_all, setup=True),
        Step("warm-up", 90.0, _warm_up, blame_all, setup=True),
        *(
            Step(f"benchmark {kernel} {dtype}".strip(), _FIGURE_LIMIT, _runner(row), _blame(gpu, row))
            for row in TABLE
            for kernel, dtype, _ in [row]
        ),
        Step("benchmark conditions", 20.0, _conditions, lambda failure, outcome: {}),
    ]


def skipped(gpu: int, why: str) -> Partial:
    """Rows without figures: not measured is an answer too."""
    detail = failures.shorten(f"not measured: {why}", 160)
    return {"benchmarks": [_row(gpu, row, detail=detail) for row in TABLE]}


def why_not(device: Device, job: dict[str, Any]) -> str | None:
    """Why no figure of this device would mean anything, or None."""
    if device.kind == "cpu":
        return "there is no GPU"
    shared = job.get("sharing") or ("mps" if os.environ.get("CUDA_MPS_PIPE_DIRECTORY") else "")
    if shared:
        return f"the GPU is shared ({shared})"
    if "MIG " in str(device.torch.cuda.get_device_name(device.index)):
        return "the device is a MIG slice"
    free, _ = device.torch.cuda.mem_get_info(device.index)
    if free < MIN_FREE_BYTES:
        return f"only {free // 1024**2} MiB of GPU memory are free, {MIN_FREE_BYTES // 1024**2} are needed"
    return None


def _row(gpu: int, row: tuple[str, str, str], **more: Any) -> dict[str, Any]:
    kernel, dtype, unit = row
    return {"kernel": kernel, "gpu": gpu, **({"dtype": dtype} if dtype else {}), "unit": unit, **more}


def _blame(gpu: int, row: tuple[str, str, str]) -> Callable[[Failure, str], Partial]:
    def blame(failure: Failure, outcome: str) -> Partial:
        words = f"{outcome}: {failure.get('name', '')} {failure.get('message', '')}"
        return {"benchmarks": [_row(gpu, row, detail=failures.shorten(words, 160))]}

    return blame


def _import_torch(context: Context) -> Partial:
    torchfacts.import_torch(context)
    return {}


def _warm_up(context: Context) -> Partial:
    """Decides whether to measure at all, then lets the clocks settle."""
    device = Device(context.found["torch"], context.device_kind, context.gpu)
    reason = why_not(device, context.job)
    if reason:
        context.stop = True
        return skipped(context.gpu, reason)
    context.found["device"] = device
    context.found["monitor"] = Monitor(context.gpu)
    context.found["spent"] = figures.warm_up(device, PROFILES[context.job["profile"]][0])
    return {}


def _runner(row: tuple[str, str, str]) -> Callable[[Context], Partial]:
    kernel, dtype, _ = row

    def run(context: Context) -> Partial:
        device, gpu = context.found["device"], context.gpu
        _, seconds, total = PROFILES[context.job["profile"]]
        if context.found["spent"] + seconds > total:
            words = f"not measured: the profile's {total:.0f} s are used up"
            return {"benchmarks": [_row(gpu, row, detail=words)]}
        try:
            with context.found["monitor"]:
                sample = figures.MEASURES[kernel](device, dtype, seconds)
        except Skip as skip:
            return {"benchmarks": [_row(gpu, row, detail=f"not measured: {skip}")]}
        except Exception as error:
            found = failures.of_exception(error)
            context.restart = not device.is_alive()
            words = failures.shorten(f"{found.get('name', '')}: {found.get('message', '')}", 160)
            return {"benchmarks": [_row(gpu, row, detail=words)]}
        finally:
            device.free_cache()
        context.found["spent"] += sample.gpu_seconds
        return {"benchmarks": [_row(gpu, row, **sample.summary())]}

    return run


def _conditions(context: Context) -> Partial:
    health = context.found["monitor"].summary()
    return {"gpus": [{"index": context.gpu, "health": health}]} if health else {}
