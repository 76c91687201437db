"""A row for each GPU: CUDA's where CUDA starts, NVML's where it does not, with NVML's facts in two steps a GPU.

A crash or a hang inside NVML costs one GPU one step. Rows come first, so that none is lost with them.
"""

from __future__ import annotations

from typing import Any, Callable

from gpuenv_probe.facts import nvml
from gpuenv_probe.failures import Failure
from gpuenv_probe.step import Context, Partial, Step

_MOST = 64
"""GPUs of one container that are looked at, as many as the operator reads."""
_LIMIT = 15.0
_HANGS = 2
"""NVML holds one lock over all GPUs: once it has hung so often, the rest is not tried."""


def steps() -> list[Step]:
    """The rows, then identity and health of each; a worker stops behind its last GPU."""
    return [
        Step("GPU rows", _LIMIT, _rows, nvml.blame),
        *(
            Step(f"NVML {what} of GPU {index}", _LIMIT, _about(index, read), _blame(index, what))
            for index in range(_MOST)
            for what, read in (("identity", _identity), ("health", _health))
        ),
    ]


def _count(context: Context) -> int:
    seen = context.known.get("cudaGpus") or ()
    works = bool(context.known.get("nvmlWorks"))
    return (len(seen) or int(context.known.get("nvmlCount", 0))) if works else 0


def _hangs(context: Context) -> int:
    return sum(name.startswith("hung ") for name in context.known)


def _rows(context: Context) -> Partial:
    """Bare rows of what only NVML sees; CUDA's came with cuInit."""
    context.stop = _count(context) == 0
    if context.stop or context.known.get("cudaGpus"):
        return {}
    return {"gpus": [{"index": index} for index in range(_count(context))]}


def _about(index: int, read: Callable[[Any, Any], dict[str, Any]]) -> Callable[[Context], Partial]:
    def run(context: Context) -> Partial:
        library = nvml.opened(context)
        if library is None or index >= _count(context) or _hangs(context) >= _HANGS:
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
    """A GPU that fell off the bus (15) is counted but cannot be opened; its neighbours can."""
    number = nvml.code_of(error)
    if number in nvml.UNKNOWN_DEVICE:
        return {"unavailable": {str(number): ["handle"]}}
    return {"error": nvml.of_error(library, error)}


def _identity(library: Any, handle: Any) -> dict[str, Any]:
    return nvml.identity(library, handle)


def _health(library: Any, handle: Any) -> dict[str, Any]:
    return {"health": nvml.health(library, handle)}


def _blame(index: int, what: str) -> Callable[[Failure, str], Partial]:
    def blame(failure: Failure, outcome: str) -> Partial:
        found = nvml.blame(failure, f"{what} of GPU {index} {outcome}")
        return {**found, "control": {f"hung {what} {index}": True}} if outcome == "TimedOut" else found

    return blame
