"""NVML's facts about each GPU, read in two steps per GPU: identity, then health.

A crash or hang inside NVML therefore loses one step of one GPU. The rows of the report are those that CUDA found, or
those that NVML found if CUDA does not start. They are reported first, so that no crash can lose a row.
"""

from __future__ import annotations

from typing import Any, Callable

from gpuenv_probe import statuses
from gpuenv_probe.facts import nvml
from gpuenv_probe.failures import Failure
from gpuenv_probe.step import Context, Partial, Step

_MOST = 64
"""The largest number of GPUs that are examined; the operator reads as many."""
_LIMIT = 15.0
"""Seconds that each step may take."""
_MAX_HANGS = 2
"""Hung steps after which the remaining GPUs are skipped, because NVML has one lock for all GPUs."""


def steps() -> list[Step]:
    """Return the steps: first the rows, then identity and health of each GPU. The last GPU's step ends the worker."""
    return [
        Step("GPU rows", _LIMIT, _rows, nvml.failed),
        *(
            Step(f"NVML {what} of GPU {index}", _LIMIT, _reader(index, read), _failure_reporter(index, what))
            for index in range(_MOST)
            for what, read in (("identity", _identity), ("health", _health))
        ),
    ]


def _count(context: Context) -> int:
    """Return the number of GPUs that NVML can be asked about; 0 if NVML does not work."""
    seen = context.known.get("cudaGpus") or ()
    works = bool(context.known.get("nvmlWorks"))
    return (len(seen) or int(context.known.get("nvmlCount", 0))) if works else 0


def _hangs(context: Context) -> int:
    """Return the number of NVML steps that have hung so far."""
    return sum(name.startswith("hung ") for name in context.known)


def _rows(context: Context) -> Partial:
    """Return an empty row for each GPU if only NVML sees them. CUDA's rows were reported after cuInit."""
    context.stop = _count(context) == 0
    if context.stop or context.known.get("cudaGpus"):
        return {}
    return {"gpus": [{"index": index} for index in range(_count(context))]}


def _reader(index: int, read: Callable[[Any, Any], dict[str, Any]]) -> Callable[[Context], Partial]:
    """Return the function of a step that adds the facts of ``read`` to the row of one GPU.

    Facts that CUDA already gave are left out, except the UUID, for which NVML's value wins.
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
    """Return the ``health`` of a GPU for which NVML gives no handle, such as one that fell off the bus (error 15)."""
    number = nvml.code_of(error)
    if number in nvml.UNKNOWN_DEVICE:
        return {"unavailable": {str(number): ["handle"]}}
    return {"error": nvml.of_error(library, error)}


def _identity(library: Any, handle: Any) -> dict[str, Any]:
    return nvml.identity(library, handle)


def _health(library: Any, handle: Any) -> dict[str, Any]:
    return {"health": nvml.health(library, handle)}


def _failure_reporter(index: int, what: str) -> Callable[[Failure, str], Partial]:
    """Return the function that reports a step of one GPU as failed, and counts it if it hung."""

    def failed(failure: Failure, outcome: str) -> Partial:
        found = nvml.failed(failure, f"{what} of GPU {index} {outcome}")
        return (
            {**found, "control": {f"hung {what} {index}": True}} if outcome == statuses.TIMED_OUT else found
        )

    return failed
