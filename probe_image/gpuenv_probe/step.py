"""The steps that worker processes run, and the context that the steps of one worker share."""

from __future__ import annotations

from typing import Any, Callable, Dict

from gpuenv_probe.failures import Failure

Partial = Dict[str, Any]
"""A partial report: the part of a probe report that one step returns.

It may have the extra key ``control``, an object with values for the parent process and for later steps, which are not
part of the report.
"""


class Context:
    """State that the steps of one worker process share: its job, and objects and values from earlier steps."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.gpu = int(job.get("gpu", 0))
        self.device_kind = str(job.get("device", "cuda"))
        self.found: dict[str, Any] = {}
        """Objects that earlier steps of this process left for later ones, such as the imported torch."""
        self.known: dict[str, Any] = dict(job.get("known", {}))
        """The ``control`` values of all earlier steps, including those of workers that died."""
        self.stop = False
        """A step sets this to True if the remaining steps of this worker are pointless."""
        self.restart = False
        """A step sets this to True if the remaining steps need a new process, as after a sticky CUDA error."""


class Step:
    """One step of a worker process.

    ``run`` is called in the worker process and returns the step's part of the report. ``failed`` returns that part if
    ``run`` fails. It gets the failure and an outcome, which is ``Fail`` after an exception (in the worker), and
    ``Crashed`` or ``TimedOut`` after the death of the worker (in the parent). ``limit`` is the seconds that the step
    may take. ``setup`` marks a step that every new worker has to run first, such as importing torch.
    """

    def __init__(
        self,
        key: str,
        limit: float,
        run: Callable[[Context], Partial],
        failed: Callable[[Failure, str], Partial],
        setup: bool = False,
    ) -> None:
        self.key = key
        self.limit = limit
        self.run = run
        self.failed = failed
        self.setup = setup
