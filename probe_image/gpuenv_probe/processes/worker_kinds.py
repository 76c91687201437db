"""Which kinds of workers there are, and their steps.

Both sides read this: the worker does, the parent blames.
"""

from __future__ import annotations

import importlib
from typing import Any

from gpuenv_probe import failures
from gpuenv_probe.failures import Failure
from gpuenv_probe.step import Context, Partial, Step

IMPORT_LIMIT = 180.0
"""Seconds one module of ``expect.imports`` may take: vLLM needs 20 on a good day."""

_MODULES = {
    "driver": "facts.driver_facts",
    "torch": "facts.torch_facts",
    "kernels": "kernels.steps",
    "benchmarks": "benchmarks.steps",
}
"""Imported when asked for: nothing in a zip application is compiled beforehand, so every module costs time."""


def steps_of(kind: str, job: dict[str, Any]) -> list[Step]:
    """The steps of a worker; raises KeyError for a kind there is not."""
    if kind == "imports":
        return [_import_step(name) for name in job.get("imports", ())]
    module = importlib.import_module(f"gpuenv_probe.{_MODULES[kind]}")
    steps: list[Step] = module.steps(job)
    return steps


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
