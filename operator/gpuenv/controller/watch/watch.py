"""One watch, of one kind of objects: it is started, looked after, and started again when it fails.

The cache, the sweeps and the planner go on meanwhile. Only a watch that stays silent although it was started again
ends the process, because then something in the process may be wrong that a new one does not have.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from gpuenv.api.foreign_text import one_line
from gpuenv.controller.cache import Cache, Version
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import KindName
from gpuenv.controller.options import Options
from gpuenv.controller.watch import handlers
from gpuenv.controller.watch.kopf_task import KopfTasks
from gpuenv.controller.watch.session import Login
from gpuenv.controller.watch.signs import Signs

logger = logging.getLogger(__name__)

TICK_SECONDS: Final = 2.0
"""Time between two looks at the signs of life of a watch. A look costs no request."""
PAUSE_SECONDS: Final = 1.0
"""Pause before a watch that failed starts again. It doubles with each failure in a row."""
PAUSE_MAX_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""A stream that was open for so long was in order: the next failure is the first in a row."""
RESTARTS_TOLERATED: Final = 2
"""How many restarts in a row a silent watch gets, before the process ends."""
REFUSED: Final = "refused"
SILENT: Final = "silent"
ENDED: Final = "ended"
"""Why a watch is started again: its stream was refused, it delivered nothing, or it ended for another reason."""


class SilentWatchError(Exception):
    """A watch delivers nothing although it was started again, so this process must end."""


class Watch:
    """The watch of one kind of objects, which feeds the cache.

    ``relisted`` is called when all objects were listed anew, which may hide deletions. ``started`` is called whenever
    Kopf has been started, because Kopf takes over the process's signals then. ``restarted`` is called with the reason
    before each further start.
    """

    def __init__(
        self,
        kind: KindName,
        kube: Kube,
        cache: Cache,
        options: Options,
        identity: str,
        *,
        relisted: Callable[[KindName], None],
        started: Callable[[], None],
        restarted: Callable[[KindName, str], None],
    ) -> None:
        self.kind: Final = kind
        self.signs: Final = Signs()
        self._kube = kube
        self._cache = cache
        self._options = options
        self._identity = identity
        self._relisted = relisted
        self._started = started
        self._restarted = restarted
        self._failures = 0
        self._silences = 0
        self._missed = asyncio.Event()
        self._misses = 0

    def swept(self, *, missed: bool) -> None:
        """Take note of a sweep: whether it found changes that this watch has not delivered."""
        if not missed:
            self._misses = 0
        elif self.signs.open_seconds > STEADY_SECONDS:
            self._misses += 1
            self._missed.set()

    async def run(self) -> None:
        """Watch until cancelled. Raises SilentWatchError if the watch stays silent."""
        while True:
            reason, words = await self._once()
            silences = max(self._silences, self._misses)
            if reason == SILENT and silences > RESTARTS_TOLERATED:
                raise SilentWatchError(f"the watch of {self.kind} {words}, although it was started again")
            self.signs.ended(words)
            self._restarted(self.kind, reason)
            await self._pause(words)
            await self._until_listable()

    async def _once(self) -> tuple[str, str]:
        """Start Kopf and wait until the watch has failed. Return the reason, and the reason in words."""
        self.signs.started()
        self._missed.clear()
        path = self._options.scope.path(self.kind)
        taken = self._take if self.kind in handlers.MANY else None
        login = Login(self._kube, path, self.signs, lambda: self._relisted(self.kind), taken)
        kopf = await KopfTasks.start(
            handlers.build(self.kind, login, self._take), self._options, self._identity
        )
        self._started()
        missed = asyncio.create_task(self._missed.wait())
        try:
            while True:
                await asyncio.wait(
                    {kopf.done, missed}, timeout=TICK_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if self.signs.open_seconds > STEADY_SECONDS:
                    self._failures = 0
                if kopf.done.done():
                    error = kopf.failure()
                    return (REFUSED, f"failed: {_words(error)}") if error is not None else (ENDED, "ended")
                if self.signs.is_asleep:
                    return ENDED, "asks for nothing any more"
                if self.signs.is_silent:
                    self._silences += 1
                    return SILENT, "delivers nothing"
                if missed.done():
                    return SILENT, "has missed changes"
        finally:
            missed.cancel()
            if not await kopf.end():
                logger.warning("the watch of %s does not end; it is left alone", self.kind)
            await login.close()

    def _take(self, type_: str | None, raw: Any) -> None:
        """Put the object of an event into the cache."""
        self._cache.observe(self.kind, type_, raw)
        self.signs.delivered(Version.of(raw).number)
        if type_ is not None:
            self._silences = 0

    async def _pause(self, words: str) -> None:
        seconds = min(PAUSE_SECONDS * 2.0**self._failures, PAUSE_MAX_SECONDS)
        self._failures += 1
        logger.warning("the watch of %s %s; it starts again in %.0f s", self.kind, words, seconds)
        await asyncio.sleep(seconds)

    async def _until_listable(self) -> None:
        """Wait until the API server lists these objects.

        Kopf would never begin to watch a kind that is not there when it starts, and it would not say so.
        """
        while True:
            try:
                await self._kube.get(self._options.scope.path(self.kind), {"limit": "1"})
            except ApiError as error:
                self.signs.refused(str(error))
                await self._pause(f"would be refused: {error}")
            else:
                return


def _words(error: BaseException) -> str:
    """Return the message of an error in one line. Kopf's errors have the whole answer of the API server beside it."""
    return one_line(str(error.args[0])) if error.args else type(error).__name__
