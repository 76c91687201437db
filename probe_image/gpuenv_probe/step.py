"""One step of a worker: code that runs in the worker, and the report if the worker dies in it."""

from __future__ import annotations

from typing import Any, Callable, Dict

from gpuenv_probe.failures import Failure

Partial = Dict[str, Any]
"""A piece of a report; ``control`` beside the report's own fields is for the parent and for later steps."""


class Context:
    """What the steps of one worker share: the job they were given, and what earlier steps found."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.gpu = int(job.get("gpu", 0))
        self.device_kind = str(job.get("device", "cuda"))
        self.found: dict[str, Any] = {}
        self.known: dict[str, Any] = dict(job.get("known", {}))
        """What steps put under ``control``, those of earlier workers that died included."""
        self.stop = False
        """Set by a step after which nothing else makes sense in this worker."""
        self.restart = False
        """Set by a step that leaves the process unusable (a sticky CUDA error): the rest needs a fresh one.
        """


class Step:
    """One step: ``run`` does it inside the worker, ``blame`` says in the parent what its death means.

    ``limit``: seconds it may take. ``blame`` gets the failure and ``Crashed`` or ``TimedOut``. ``setup``
    marks what every new worker has to do first, such as importing torch.
    """

    def __init__(
        self,
        key: str,
        limit: float,
        run: Callable[[Context], Partial],
        blame: Callable[[Failure, str], Partial],
        setup: bool = False,
    ) -> None:
        self.key = key
        self.limit = limit
        self.run = run
        self.blame = blame
        self.setup = setup
