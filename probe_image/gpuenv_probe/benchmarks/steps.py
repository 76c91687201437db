"""Benchmarks: a few honest figures per GPU within seconds, and what NVML said while they ran.

Method (the practice of mamf-finder, triton's do_bench and nvbandwidth): random-normal inputs, for constants
draw less power and run faster; a warm-up that lets clocks settle; CUDA events around each call; the L2 cache
flushed where the working set could stay in it; the median with its 20th and 80th percentile, never the best.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable

from gpuenv_probe import failures
from gpuenv_probe.benchmarks import workloads
from gpuenv_probe.benchmarks.meter import Meter
from gpuenv_probe.benchmarks.monitor import Monitor
from gpuenv_probe.facts import torch_facts
from gpuenv_probe.failures import Failure
from gpuenv_probe.kernels.device import Device, Skip
from gpuenv_probe.step import Context, Partial, Step

PROFILES = {"Quick": (1.0, 0.5, 10.0), "Standard": (2.5, 1.5, 30.0)}
"""Seconds of warm-up, of each figure's timed calls, and in all, which is never exceeded by a new call.

Counted is everything but the import of torch, over all workers of a GPU.
"""
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
_COMPUTE = ("matmul", "conv", "train")
"""Figures whose clock is the SM clock; copies leave it as low as they please."""
MIN_FREE_BYTES = 4 * 1024**3
_SLACK = 10.0
"""Seconds over the profile's own after which a step counts as hung: kernels are loaded, algorithms chosen."""


def steps(job: dict[str, Any]) -> list[Step]:
    """Steps of one GPU's benchmark worker."""
    gpu = int(job.get("gpu", 0))
    limit = PROFILES[job["profile"]][2] + _SLACK

    def blame_all(failure: Failure, outcome: str) -> Partial:
        return skipped(gpu, f"{outcome}: {failure.get('message') or failure.get('name')}")

    return [
        Step("import torch", torch_facts.IMPORT_LIMIT, _import_torch, blame_all, setup=True),
        Step("warm-up", 90.0, _warm_up, blame_all, setup=True),
        *(
            Step(
                f"benchmark {row[0]} {row[1]}".strip(), limit, _runner(row, TABLE[number:]), _blame(gpu, row)
            )
            for number, row in enumerate(TABLE)
        ),
        Step("benchmark conditions", 20.0, _conditions, lambda failure, outcome: {}),
    ]


def skipped(gpu: int, why: str) -> Partial:
    """Rows without figures: not measured is an answer too."""
    return {"benchmarks": [_not_measured(gpu, row, why)["benchmarks"][0] for row in TABLE]}


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
    torch_facts.import_torch(context)
    return {}


def _warm_up(context: Context) -> Partial:
    """Decides whether to measure at all, then lets the clocks settle.

    It never ends the worker: one that follows a dead one has only some of the figures left, and each says for
    itself why it is not measured.
    """
    device = Device(context.found["torch"], context.device_kind, context.gpu)
    context.found["why not"] = why_not(device, context.job)
    if context.found["why not"]:
        return {}
    context.found["device"] = device
    context.found["monitor"] = Monitor(context.gpu)
    seconds = min(PROFILES[context.job["profile"]][0], _left(context) / 4)
    return _spent(context, workloads.warm_up(device, seconds))


def _left(context: Context) -> float:
    """Seconds left of the profile's, those that steps of dead workers took included."""
    lost = context.known.get("lostSeconds", 0.0) + context.known.get("spent", 0.0)
    return max(0.0, PROFILES[context.job["profile"]][2] - float(lost))


def _spent(context: Context, seconds: float) -> Partial:
    """The piece of a report that hands on what has been spent, also to a worker that follows this one."""
    context.known["spent"] = context.known.get("spent", 0.0) + seconds
    return {"control": {"spent": context.known["spent"]}}


def _runner(
    row: tuple[str, str, str], rest: tuple[tuple[str, str, str], ...]
) -> Callable[[Context], Partial]:
    """Measures ``row``, the first of the ``rest`` of the table, which share the time that is left."""

    def run(context: Context) -> Partial:
        if context.found["why not"]:
            return _not_measured(context.gpu, row, context.found["why not"])
        _, seconds, total = PROFILES[context.job["profile"]]
        left = _left(context)
        if left < seconds:
            return _not_measured(context.gpu, row, f"the profile's {total:.0f} s are used up")
        begun = time.monotonic()
        # Twice the fair share, less as the end comes near: most figures need less than theirs.
        until = begun + 2 * left / (len(rest) + 1)
        found = _measured(context, row, Meter(context.found["device"], seconds, until, _watch(context, row)))
        return {**found, **_spent(context, time.monotonic() - begun)}

    return run


def _watch(context: Context, row: tuple[str, str, str]) -> Callable[[], Any]:
    monitor: Monitor = context.found["monitor"]
    return lambda: monitor.watching(row[0] in _COMPUTE)


def _not_measured(gpu: int, row: tuple[str, str, str], why: str) -> Partial:
    return {"benchmarks": [_row(gpu, row, detail=failures.shorten(f"not measured: {why}", 160))]}


def _measured(context: Context, row: tuple[str, str, str], meter: Meter) -> Partial:
    device = context.found["device"]
    try:
        return {
            "benchmarks": [
                _row(context.gpu, row, **workloads.MEASURES[row[0]](device, row[1], meter).summary())
            ]
        }
    except Skip as skip:
        return _not_measured(context.gpu, row, str(skip))
    except Exception as error:
        found = failures.of_exception(error)
        context.restart = not device.is_alive()
        words = failures.shorten(f"{found.get('name', '')}: {found.get('message', '')}", 160)
        return {"benchmarks": [_row(context.gpu, row, detail=words)]}
    finally:
        device.free_cache()


def _conditions(context: Context) -> Partial:
    monitor = context.found.get("monitor")
    health = monitor.summary() if monitor else {}
    return {"gpus": [{"index": context.gpu, "health": health}]} if health else {}
