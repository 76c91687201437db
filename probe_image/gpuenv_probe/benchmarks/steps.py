"""The steps of a benchmark worker process: a warm-up, one step per benchmark figure, and the GPU's conditions.

The method follows mamf-finder, triton's do_bench and nvbandwidth. Inputs are normally distributed random numbers,
because constant inputs draw less power and run faster. A warm-up lets the clocks settle. CUDA events around each call
measure its time. The L2 cache is flushed before a call whose data could still be in it. A figure is the median rate of
the calls, such as TFLOPS, with the 20th and 80th percentile. The last step reports the clocks, power and temperature
that NVML gave during the timed calls.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Tuple

from gpuenv_probe import failures
from gpuenv_probe.benchmarks import causes, workloads
from gpuenv_probe.benchmarks.meter import Meter, OutOfTime
from gpuenv_probe.benchmarks.monitor import Monitor
from gpuenv_probe.facts import torch_facts
from gpuenv_probe.failures import Failure
from gpuenv_probe.kernels.device import Device, Skip
from gpuenv_probe.step import Context, Partial, Step

PROFILES = {"Quick": (1.0, 0.5, 10.0), "Standard": (2.5, 1.5, 30.0)}
"""The seconds of each profile: for the warm-up, for each figure's timed calls, and for all benchmarks of a GPU.

The last number covers all worker processes of one GPU, except their import of torch. No call begins if it would
probably end after that time.
"""
FIGURES = (
    ("MatMul", "FP32", "TFLOPS"),
    ("MatMul", "TF32", "TFLOPS"),
    ("MatMul", "FP16", "TFLOPS"),
    ("MatMul", "BF16", "TFLOPS"),
    ("MatMul", "FP8", "TFLOPS"),
    ("Conv", "FP16", "TFLOPS"),
    ("Train", "FP32", "1/s"),
    ("DeviceMemory", "", "GB/s"),
    ("HostToDevice", "", "GB/s"),
    ("DeviceToHost", "", "GB/s"),
)
"""All figures in the order in which they are measured: benchmark, data type ("" for copies) and unit."""
_COMPUTE = ("MatMul", "Conv", "Train")
"""The benchmarks whose samples contain the SM clock. Copies are left out: the SM clock may be low during them."""
MIN_FREE_BYTES = 4 * 1024**3
"""The benchmarks of a GPU are skipped if fewer bytes of its memory than this are free."""
Reason = Tuple[str, str]
"""Why a figure was not measured: one of the words in ``causes``, and a sentence."""
_SLACK = 10.0
"""A benchmark step counts as hung if it takes this many seconds more than the profile allows for all benchmarks.

The first call of a step loads kernels and chooses algorithms, so it may end after the profile's time.
"""


def steps(job: dict[str, Any]) -> list[Step]:
    """Return the steps of the benchmark worker process for one GPU.

    In the worker's job, ``gpu`` is the CUDA index of the GPU, and ``profile`` is the name of a profile in ``PROFILES``.
    """
    gpu = int(job.get("gpu", 0))
    limit = PROFILES[job["profile"]][2] + _SLACK

    def all_failed(failure: Failure, outcome: str) -> Partial:
        return skipped(gpu, (causes.FAILED, f"{outcome}: {failure.get('message') or failure.get('name')}"))

    return [
        Step("import torch", torch_facts.IMPORT_LIMIT, _import_torch, all_failed, setup=True),
        Step("warm-up", 90.0, _warm_up, all_failed, setup=True),
        *(
            Step(
                f"benchmark {row[0]} {row[1]}".strip(),
                limit,
                _runner(row, FIGURES[number:]),
                _failure_reporter(gpu, row),
            )
            for number, row in enumerate(FIGURES)
        ),
        Step("benchmark conditions", 20.0, _conditions, lambda failure, outcome: {}),
    ]


def skipped(gpu: int, why: Reason) -> Partial:
    """Return a partial report that says for every benchmark figure of a GPU that it was not measured, and why."""
    return {"benchmarks": [_not_measured(gpu, row, why)["benchmarks"][0] for row in FIGURES]}


def reason_to_skip(device: Device, job: dict[str, Any]) -> Reason | None:
    """Return why benchmark figures of this device would mean nothing, or None if it can be benchmarked.

    ``job["sharing"]`` is how the GPU is shared between pods, such as ``time-slicing``, or "" if it is not shared.
    """
    if device.kind == "cpu":
        return causes.UNSUPPORTED, "there is no GPU"
    shared = job.get("sharing") or ("mps" if os.environ.get("CUDA_MPS_PIPE_DIRECTORY") else "")
    if shared:
        return causes.SHARED, f"the GPU is shared ({shared})"
    if "MIG " in str(device.torch.cuda.get_device_name(device.index)):
        return causes.SHARED, "the device is a MIG slice"
    free, total = device.torch.cuda.mem_get_info(device.index)
    needed = f"{MIN_FREE_BYTES // 1024**2} are needed"
    if total < MIN_FREE_BYTES:
        return causes.UNSUPPORTED, f"the GPU has only {total // 1024**2} MiB of memory, {needed}"
    if free < MIN_FREE_BYTES:
        return causes.MEMORY_IN_USE, f"only {free // 1024**2} MiB of GPU memory are free, {needed}"
    return None


def _row(gpu: int, row: tuple[str, str, str], **more: Any) -> dict[str, Any]:
    benchmark, dtype, unit = row
    return {"benchmark": benchmark, "gpu": gpu, **({"dtype": dtype} if dtype else {}), "unit": unit, **more}


def _failure_reporter(gpu: int, row: tuple[str, str, str]) -> Callable[[Failure, str], Partial]:
    """Return the ``failed`` function of a benchmark step (see ``Step``).

    The function puts the failure into the probe report's row for the benchmark figure. ``row`` is an entry of
    ``FIGURES``.
    """

    def failed(failure: Failure, outcome: str) -> Partial:
        words = f"{outcome}: {failure.get('name', '')} {failure.get('message', '')}"
        return _not_measured(gpu, row, (causes.FAILED, words))

    return failed


def _import_torch(context: Context) -> Partial:
    torch_facts.import_torch(context)
    return {}


def _warm_up(context: Context) -> Partial:
    """Decide whether this GPU is benchmarked; if it is, multiply matrices until its clocks have settled.

    If the GPU is not benchmarked, the remaining steps run nevertheless, and each reports the reason in the row of its
    figure. The warm-up could not report the reason for all figures at once: it also runs in a worker process that
    replaces a dead one, when some figures have already been measured.
    """
    device = Device(context.found["torch"], context.device_kind, context.gpu)
    context.found["skip"] = reason_to_skip(device, context.job)
    if context.found["skip"]:
        return {}
    context.found["device"] = device
    context.found["monitor"] = Monitor(context.gpu)
    seconds = min(PROFILES[context.job["profile"]][0], _left(context) / 4)
    return _add_spent(context, workloads.warm_up(device, seconds))


def _left(context: Context) -> float:
    """Return how many seconds of the profile's time are left for the benchmarks of this GPU.

    The time of a step in which a worker process died is spent, like the time of a step that ended normally.
    """
    lost = context.known.get("lostSeconds", 0.0) + context.known.get("spent", 0.0)
    return max(0.0, PROFILES[context.job["profile"]][2] - float(lost))


def _add_spent(context: Context, seconds: float) -> Partial:
    """Add ``seconds`` to the time spent on benchmarks of this GPU, and return the sum as a partial report.

    The sum is a ``control`` value (see ``Partial``): later worker processes of the same GPU get it.
    """
    context.known["spent"] = context.known.get("spent", 0.0) + seconds
    return {"control": {"spent": context.known["spent"]}}


def _runner(
    row: tuple[str, str, str], rest: tuple[tuple[str, str, str], ...]
) -> Callable[[Context], Partial]:
    """Return the ``run`` function of a benchmark step, which measures the figure ``row``, an entry of ``FIGURES``.

    ``rest`` consists of ``row`` and the entries after it. Their figures have yet to be measured, and share the time
    that is left of the profile's time.
    """

    def run(context: Context) -> Partial:
        if context.found["skip"]:
            return _not_measured(context.gpu, row, context.found["skip"])
        seconds = PROFILES[context.job["profile"]][1]
        left = _left(context)
        if left < seconds:
            return _not_measured(context.gpu, row, _out_of_time(context, "is used up"))
        begun = time.monotonic()
        # Twice the fair share, because most figures need less than their share.
        until = begun + 2 * left / (len(rest) + 1)
        found = _measure(context, row, Meter(context.found["device"], seconds, until, _watch(context, row)))
        return {**found, **_add_spent(context, time.monotonic() - begun)}

    return run


def _watch(context: Context, row: tuple[str, str, str]) -> Callable[[], Any]:
    monitor: Monitor = context.found["monitor"]
    return lambda: monitor.watching(row[0] in _COMPUTE)


def _out_of_time(context: Context, words: str) -> Reason:
    """Return as a reason that the time of the profile ``words``, and which profile has more time."""
    profile = context.job["profile"]
    total = PROFILES[profile][2]
    longer = "".join(
        f"; write profile: {name} ({seconds[2]:.0f} s)"
        for name, seconds in PROFILES.items()
        if seconds[2] > total
    )
    return causes.PROFILE_TIME, f"the time of profile {profile} ({total:.0f} s) {words}{longer}"


def _not_measured(gpu: int, row: tuple[str, str, str], why: Reason) -> Partial:
    """Return a partial report that says that the figure ``row``, an entry of ``FIGURES``, was not measured, and why."""
    cause, words = why
    return {"benchmarks": [_row(gpu, row, notMeasured=cause, detail=failures.shorten(words, 160))]}


def _measure(context: Context, row: tuple[str, str, str], meter: Meter) -> Partial:
    """Measure the figure ``row``, an entry of ``FIGURES``, and return a partial report with the figure.

    If the figure cannot be measured, the partial report gives the reason instead. If the GPU no longer works after an
    error, a new worker process is requested for the remaining figures.
    """
    device = context.found["device"]
    try:
        sample = workloads.MEASURES[row[0]](
            device, row[1].lower(), meter
        )  # Device names formats in lower case
        return {"benchmarks": [_row(context.gpu, row, **sample.summary())]}
    except Skip as skip:
        return _not_measured(context.gpu, row, (causes.UNSUPPORTED, str(skip)))
    except OutOfTime as late:
        return _not_measured(context.gpu, row, _out_of_time(context, f"does not suffice: {late}"))
    except Exception as error:
        found = failures.of_exception(error)
        context.restart = not device.is_alive()
        words = f"{found.get('name', '')}: {found.get('message', '')}"
        return _not_measured(context.gpu, row, (causes.FAILED, words))
    finally:
        device.free_cache()


def _conditions(context: Context) -> Partial:
    """Return a partial report with the clocks, power and temperature that NVML gave during the timed calls.

    They are part of the GPU's ``health``. The partial report is empty if NVML gave nothing.
    """
    monitor = context.found.get("monitor")
    health = monitor.summary() if monitor else {}
    return {"gpus": [{"index": context.gpu, "health": health}]} if health else {}
