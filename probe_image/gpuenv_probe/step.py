"""The steps that worker processes run, and the context that the steps of one worker share."""

from __future__ import annotations

from typing import Any, Callable, Dict

from gpuenv_probe.failures import Failure

Partial = Dict[str, Any]
"""A partial report: the part of a probe report that one step returns.

It may have one key that a probe report has not: ``control``. Its value is an object with values for the parent process
and for later steps, such as the number of GPUs. They do not appear in the probe report.
"""


class Context:
    """State that the steps of one worker process share: its job, and objects and values from earlier steps.

    The job is the JSON object with which the parent started the worker, such as the GPU to use and the keys of the
    steps to skip.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.gpu = int(job.get("gpu", 0))
        self.device_kind = str(job.get("device", "cuda"))
        self.found: dict[str, Any] = {}
        """Objects that earlier steps of this process left for later ones, such as the imported torch."""
        self.known: dict[str, Any] = dict(job.get("known", {}))
        """The ``control`` values of all earlier steps, including the steps of earlier workers that died."""
        self.stop = False
        """A step sets this to True to end the worker without its remaining steps: without torch, for example."""
        self.restart = False
        """A step sets this to True to end the worker and leave the remaining steps to a new worker.

        A sticky CUDA error makes this necessary: no kernel works any more in a process that has had one.
        """


class Step:
    """One step of a worker process.

    ``key`` names the step and is unique in its worker. ``limit`` is the seconds that the step may take. ``run`` is
    called in the worker process and returns the step's partial report. ``failed`` returns the partial report if ``run``
    did not succeed. It gets the failure and one of three outcomes: ``Fail`` if ``run`` raised an exception, ``Crashed``
    if the worker died, and ``TimedOut`` if the step exceeded its limit. After an exception the worker calls ``failed``,
    in the other cases the parent. ``setup`` marks a step that every new worker has to run first, such as importing
    torch.
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
