"""The rows of ``steps`` in a probe document: one row for each outcome, with the numbers of all GPUs that had it.

Usually, all GPUs of a node have the same outcomes. A probe report has one row per step and GPU; the document of a node
with eight GPUs would otherwise repeat each row eight times.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from gpuenv.api.tolerant import integer
from gpuenv.assess.sources.probe.cleaned_values import clean_text

GPU: Final = "gpu"
"""Key with the number of the GPU, in a row about one GPU."""
GPUS: Final = "gpus"
"""Key with the list of the numbers of all GPUs, in a row about several."""
_TEXTS: Final = ("name", "dtype", "status", "detail")
_FAILURE_TEXTS: Final = ("layer", "name", "message")


def joined_steps(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a probe report as rows of a document, in the order of their first GPUs."""
    joined: dict[tuple[object, ...], tuple[dict[str, Any], dict[int, None]]] = {}
    for raw in rows:
        row: dict[str, Any] = {
            key: clean_text(value) for key in _TEXTS if isinstance(value := raw.get(key), str)
        }
        failure = _failure(raw.get("error"))
        gpu = integer(raw.get(GPU))
        key = (*map(row.get, _TEXTS), *failure.items(), gpu is None)
        known = joined.get(key)
        if known is None:
            known = joined[key] = (row | {"error": failure} if failure else row, {})
        if gpu is not None:
            known[1][gpu] = None
    return [_with_gpus(row, list(numbers)) for row, numbers in joined.values()]


def _with_gpus(row: dict[str, Any], numbers: list[int]) -> dict[str, Any]:
    if len(numbers) > 1:
        return row | {GPUS: numbers}
    return row | {GPU: numbers[0]} if numbers else row


def step_gpus(row: Mapping[str, Any]) -> Iterator[int | None]:
    """Yield the number of each GPU that a row is about; None if it is about no certain GPU."""
    several = row.get(GPUS)
    if isinstance(several, list):
        yield from (number for number in map(integer, several) if number is not None)
    else:
        yield integer(row.get(GPU))


def _failure(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {}
    failure: dict[str, Any] = {
        key: clean_text(item) for key in _FAILURE_TEXTS if isinstance(item := value.get(key), str)
    }
    code = integer(value.get("code"))
    return failure if code is None else failure | {"code": code}
