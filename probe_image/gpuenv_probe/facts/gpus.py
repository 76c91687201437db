"""NVML's facts about each GPU, read in two steps per GPU: identity, then health.

A crash or hang inside NVML therefore loses only the facts of one step. The probe report has one row for each GPU that
CUDA found, or that NVML found if CUDA does not start. The rows are reported before these steps, so that no crash can
lose a row.
"""

from __future__ import annotations

from typing import Any, Callable

from gpuenv_probe import statuses
from gpuenv_probe.facts import nvml
from gpuenv_probe.failures import Failure
from gpuenv_probe.step import Context, Partial, Step

_MOST = 64
"""The largest number of GPUs that are examined. The operator reads no more GPUs than that from a probe report."""
_LIMIT = 15.0
"""Seconds that each step of this module may take."""
_MAX_HANGS = 2
"""After this many steps that hung, the remaining GPUs are skipped.

NVML has one lock for all GPUs, so the steps of the remaining GPUs would hang too.
"""


def steps() -> list[Step]:
    """Return a step for the rows of all GPUs, and two steps, identity and health, for each of ``_MOST`` GPUs.

    The number of GPUs is not yet known when the list is made. The last step of the last GPU that exists ends the worker
    process, so the steps after it do not run.
    """
    return [
        Step("GPU rows", _LIMIT, _rows, nvml.failed),
        *(
            Step(f"NVML {what} of GPU {index}", _LIMIT, _reader(index, read), _failure_reporter(index, what))
            for index in range(_MOST)
            for what, read in (("identity", _identity), ("health", _health))
        ),
    ]


def _count(context: Context) -> int:
    """Return the number of GPUs: those that CUDA found, or if there are none, those that NVML found.

    The number is 0 if NVML does not work.
    """
    seen = context.known.get("cudaGpus") or ()
    works = bool(context.known.get("nvmlWorks"))
    return (len(seen) or int(context.known.get("nvmlCount", 0))) if works else 0


def _hangs(context: Context) -> int:
    """Return the number of NVML steps that have hung so far."""
    return sum(name.startswith("hung ") for name in context.known)


def _rows(context: Context) -> Partial:
    """Return a partial report with a row for each GPU that NVML found, if CUDA found none.

    Such a row has only an index. If CUDA found GPUs, the step ``cuInit`` has already reported their rows, and the
    partial report is empty.
    """
    context.stop = _count(context) == 0
    if context.stop or context.known.get("cudaGpus"):
        return {}
    return {"gpus": [{"index": index} for index in range(_count(context))]}


def _reader(index: int, read: Callable[[Any, Any], dict[str, Any]]) -> Callable[[Context], Partial]:
    """Return the ``run`` function of a step, which reports the facts that ``read`` returns about one GPU.

    ``read`` gets the NVML bindings and NVML's handle of the GPU. A fact that CUDA has already given is left out, except
    the UUID, for which NVML's value is preferred.
    """

    def run(context: Context) -> Partial:
        library = nvml.opened(context)
        if library is None or index >= _count(context) or _hangs(context) >= _MAX_HANGS:
            context.stop = True
            return {}
        context.stop = read is _health and index + 1 == _count(context)
        seen: list[dict[str, Any]] = context.known.get("cudaGpus") or []
        gpu = seen[index] if seen else {}
        try:
            handle = nvml.handle_of(library, gpu) if gpu else library.nvmlDeviceGetHandleByIndex(index)
        except nvml.refusals(library) as error:
            return {"gpus": [{"index": index, "health": _not_opened(library, error)}]}
        row = {
            name: value for name, value in read(library, handle).items() if name not in gpu or name == "uuid"
        }
        return {"gpus": [{"index": index, **row}]}

    return run


def _not_opened(library: Any, error: Any) -> dict[str, Any]:
    """Return the ``health`` of a GPU for which NVML gives no handle but the exception ``error``.

    An unknown UUID makes the handle an unavailable fact. Any other error is the GPU's own: NVML's error 15, for
    example, means that the GPU has fallen off the bus.
    """
    number = nvml.code_of(error)
    if number in nvml.UNKNOWN_DEVICE:
        return {"unavailable": {str(number): ["handle"]}}
    return {"error": nvml.of_error(library, error)}


def _identity(library: Any, handle: Any) -> dict[str, Any]:
    return nvml.identity(library, handle)


def _health(library: Any, handle: Any) -> dict[str, Any]:
    return {"health": nvml.health(library, handle)}


def _failure_reporter(index: int, what: str) -> Callable[[Failure, str], Partial]:
    """Return the ``failed`` function of a step of one GPU (see ``Step``).

    The function reports the failure as one of NVML. If the step took too long, it also records the hang, so that later
    steps can count it. ``what`` is the kind of the step: identity or health.
    """

    def failed(failure: Failure, outcome: str) -> Partial:
        found = nvml.failed(failure, f"{what} of GPU {index} {outcome}")
        return (
            {**found, "control": {f"hung {what} {index}": True}} if outcome == statuses.TIMED_OUT else found
        )

    return failed
