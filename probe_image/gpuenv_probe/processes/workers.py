"""Which kinds of workers there are, and their steps.

Both sides read this: the worker does, the parent blames.
"""

from __future__ import annotations

import importlib
from typing import Any

from gpuenv_probe import failures
from gpuenv_probe.failures import Failure
from gpuenv_probe.processes.worker import Context, Partial, Step

IMPORT_LIMIT = 180.0
"""Seconds one module of ``expect.imports`` may take: vLLM needs 20 on a good day."""

_MODULES = {"raw": "raw", "torch": "torchfacts", "kernels": "kernels", "bench": "bench"}
"""Imported when asked for: nothing in a zip application is compiled beforehand, so every module costs time."""


def steps_of(kind: str, job: dict[str, Any]) -> list[Step]:
    """The steps of a worker; raises KeyError for a kind there is not."""
    if kind == "imports":
        return [_import_step(name) for name in job.get("imports", ())]
    module = importlib.import_module(f"gpuenv_probe.{_MODULES[kind]}")
    steps: list[Step] = module.steps(job)
    return steps


def step_key(row: dict[str, Any]) -> str:
    """The key of the step that a row of ``steps`` came from."""
    return f"{row['name']} {row.get('dtype', '')}".strip()


def unconfirmed(first: dict[str, Any], why: str) -> dict[str, Any]:
    """The row of a wrong result that no second run has confirmed: what could not run is never a fail."""
    words = f"{first.get('detail', '')}; seen once, {why}"
    return {**first, "status": "Unconfirmed", "detail": failures.shorten(words)}


def confirmed(first: dict[str, Any], second: list[dict[str, Any]]) -> dict[str, Any]:
    """The row to report once a fresh worker was to repeat a wrong result: it did, it did not, or it could not."""
    again = second[0] if second else {}
    if again.get("status") == "Wrong":
        return {**first, "detail": failures.shorten(f"{first.get('detail', '')}; again in a fresh process")}
    if again.get("status") == "Pass":
        words = f"wrong once ({first.get('detail', '')}), right in a fresh process"
        return {**again, "detail": failures.shorten(words)}
    if again.get("status") in ("Fail", "Crashed", "TimedOut"):
        return {**first, **again}
    return unconfirmed(first, "and a fresh process did not come to it")


def _import_step(module: str) -> Step:
    name = f"import:{module}"

    def run(context: Context) -> Partial:
        try:
            importlib.import_module(module)
        except BaseException as error:
            return {
                "steps": [{"name": name, "gpu": 0, "status": "Fail", "error": failures.of_exception(error)}]
            }
        return {"steps": [{"name": name, "gpu": 0, "status": "Pass"}]}

    def blame(failure: Failure, outcome: str) -> Partial:
        return {"steps": [{"name": name, "gpu": 0, "status": outcome, "error": failure}]}

    return Step(name, IMPORT_LIMIT, run, blame)
