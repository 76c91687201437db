"""The kinds of worker processes and the steps of each kind.

The parent and a worker build the same list of steps: the worker runs them, and the parent needs them to report what a
crash or hang in one of them means.
"""

from __future__ import annotations

import importlib
from typing import Any

from gpuenv_probe import failures, statuses
from gpuenv_probe.failures import Failure
from gpuenv_probe.step import Context, Partial, Step

IMPORT_LIMIT = 180.0
"""Seconds that the import of one module of ``checks.imports`` may take. vLLM needs 20 s with warm caches."""

_MODULES = {
    "driver": "facts.driver_facts",
    "torch": "facts.torch_facts",
    "kernels": "kernels.steps",
    "benchmarks": "benchmarks.steps",
}
"""The kinds of worker, except ``imports``, each with the module whose function ``steps`` returns its steps.

The modules are imported on demand: Python compiles the modules of a zip application at every start, which takes time.
"""


def steps_of(kind: str, job: dict[str, Any]) -> list[Step]:
    """Return the steps of a worker of the given kind. Raises KeyError for an unknown kind.

    ``job`` is the JSON object with the parameters of the steps, such as the GPU to use.
    """
    if kind == "imports":
        return [_import_step(name) for name in job.get("imports", ())]
    module = importlib.import_module(f"gpuenv_probe.{_MODULES[kind]}")
    steps: list[Step] = module.steps(job)
    return steps


def _import_step(module: str) -> Step:
    """Return the step that imports one of the modules in ``checks.imports`` and reports whether that works."""
    name = f"import:{module}"

    def run(context: Context) -> Partial:
        try:
            importlib.import_module(module)
        except BaseException as error:
            return {
                "steps": [
                    {"name": name, "gpu": 0, "status": statuses.FAIL, "error": failures.of_exception(error)}
                ]
            }
        return {"steps": [{"name": name, "gpu": 0, "status": statuses.PASS}]}

    def failed(failure: Failure, outcome: str) -> Partial:
        return {"steps": [{"name": name, "gpu": 0, "status": outcome, "error": failure}]}

    return Step(name, IMPORT_LIMIT, run, failed)
