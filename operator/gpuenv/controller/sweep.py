"""Sweeps: lists of all objects at intervals, which find changes that the watch did not deliver.

After a response ``410 Gone`` Kopf lists all objects again. That list shows the objects that exist, but not those that
were deleted meanwhile. Watches have also died silently (https://github.com/nolar/kopf/issues/1276). When a list differs
from the cache, the watch gets a grace period to deliver the change. If the difference remains, the watch has missed it.
An object that is not in the list counts as deleted only after another request has confirmed that it is not found.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Final

from gpuenv.controller.cache import Cache
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import KINDS, KindName, Scope
from gpuenv.controller.kube.requests import JSON, METADATA_LIST
from gpuenv.controller.monitoring.metrics import Metrics
from gpuenv.controller.options import Options

logger = logging.getLogger(__name__)

Raw = dict[str, Any]

GRACE_SECONDS: Final = 10.0
"""How long the watch may take to deliver a change that a list shows."""
JITTER: Final = 0.1
SOON_SECONDS: Final = 2.0
"""Pause before a requested sweep: the watch whose restart led to the request first delivers all objects itself."""
RETRY_SECONDS: Final = 5.0
FEW: Final = 100
"""Up to this many objects that the watch missed are read one by one. For more, all objects are listed again."""


class Sweeper:
    """Runs sweeps: once at the start, then every ``seconds``, and on request.

    ``grace`` is the time in seconds that the watch gets to deliver a change. ``beat`` is called regularly, as a sign of
    life. ``swept`` is called after each regular sweep of a kind, with whether the watch had missed changes.
    """

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        scope: Scope,
        metrics: Metrics,
        *,
        seconds: float = Options().sweep_seconds,
        grace: float = GRACE_SECONDS,
        beat: Callable[[], None] = lambda: None,
        swept: Callable[[KindName, bool], None] = lambda _, __: None,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._scope = scope
        self._metrics = metrics
        self._seconds = seconds
        self._grace = grace
        self._beat = beat
        self._swept = swept
        self._requested: set[KindName] = set()
        self._wake = asyncio.Event()
        self._unswept: set[KindName] = set()
        """The kinds of which the last regular sweep is not complete yet."""
        self._next_at = 0.0

    def request(self, kind: KindName) -> None:
        """Request a sweep of a kind, because its watch was started anew and may have missed deletions."""
        self._requested.add(kind)
        self._wake.set()

    async def sync(self) -> None:
        """List all objects of all kinds, and repeat that until it succeeds. No plan is made before it has succeeded."""
        while True:
            self._beat()
            try:
                for kind in KINDS:
                    await self.sweep(kind, grace=0)
            except ApiError as error:
                logger.warning("the first lists failed: %s; next try in %.0f s", error, RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._metrics.swept()
            self._cache.synced = True
            self._cache.changed()
            return

    async def run(self) -> None:
        """Run each sweep when it is due, until cancelled."""
        self._plan_next()
        while True:
            self._beat()
            kinds, regular = await self._due()
            if regular:
                self._unswept = set(KINDS)
            incomplete = bool(self._unswept)
            await asyncio.gather(*(self._try(kind, regular=regular) for kind in kinds))
            if incomplete and not self._unswept:
                self._metrics.swept()

    async def _due(self) -> tuple[Sequence[KindName], bool]:
        """Wait until sweeps are due or requested. Return their kinds, and whether they are the regular ones."""
        try:
            async with asyncio.timeout_at(self._next_at):
                await self._wake.wait()
        except TimeoutError:
            self._plan_next()
            return KINDS, True
        await asyncio.sleep(SOON_SECONDS)
        kinds = sorted(self._requested)
        self._requested.clear()
        self._wake.clear()
        return kinds, False

    async def _try(self, kind: KindName, *, regular: bool) -> None:
        """Sweep one kind. If that fails, request another sweep of the kind after a pause."""
        try:
            missed = await self.sweep(kind, grace=self._grace)
        except ApiError as error:
            logger.warning("sweep of %s failed: %s; next try in %.0f s", kind, error, RETRY_SECONDS)
        except Exception:
            logger.exception("sweep of %s failed by a fault of our own", kind)
        else:
            # A watch that has just listed all objects may have missed deletions, and a sweep because of it is requested.
            if regular and kind not in self._requested:
                self._swept(kind, missed > 0)
            self._unswept.discard(kind)
            return
        self._metrics.error("sweep")
        await asyncio.sleep(RETRY_SECONDS)
        self.request(kind)

    def _plan_next(self) -> None:
        """Set the time of the next regular sweep, with some jitter. Requested sweeps do not change it."""
        jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - not a secret
        self._next_at = asyncio.get_running_loop().time() + self._seconds * jitter

    async def sweep(self, kind: KindName, *, grace: float) -> int:
        """List all objects of one kind, correct the cache, and return how many changes and deletions were missed.

        ``grace`` is the time in seconds that the watch gets to deliver a change; with 0, the cache is corrected at once.
        Raises ApiError if a request fails.
        """
        absent = set(self._cache.names(kind))
        late: list[Raw] = []
        missed = 0
        # To compare versions, metadata are enough. Whole node reports of a large fleet are 400 MB of JSON.
        async for raw in self._all(kind, accept=METADATA_LIST if grace else JSON):
            absent.discard(raw["metadata"]["name"])
            if not self._cache.outdated(kind, raw):
                continue
            if grace:
                late.append(_version_only(raw))
            else:
                self._cache.observe(kind, None, raw)
                missed += 1
        if late or absent:
            await asyncio.sleep(grace)
        missed += await self._fetch(kind, late)
        gone = sum([await self._is_gone(kind, name) for name in sorted(absent)])
        if not self._cache.synced or not (missed or gone):
            return 0
        self._metrics.missed(kind, missed + gone)
        logger.warning("the watch of %s had missed %d changes and %d deletions; repaired", kind, missed, gone)
        return missed + gone

    async def _fetch(self, kind: KindName, late: Iterable[Raw]) -> int:
        """Put the newest version of each outdated object into the cache. Return how many were outdated.

        ``late`` are versions of objects that the cache did not have before the watch's grace period. Those that it has
        now are skipped.
        """
        missed = {raw["metadata"]["name"] for raw in late if self._cache.outdated(kind, raw)}
        if len(missed) > FEW:
            async for raw in self._all(kind):
                if raw["metadata"]["name"] in missed:
                    self._cache.observe(kind, None, raw)
        else:
            for name in sorted(missed):
                await self._look(kind, name)
        return len(missed)

    async def _all(self, kind: KindName, *, accept: str = JSON) -> AsyncIterator[Raw]:
        """Yield all objects of a kind, in the form that ``accept`` names.

        Only one page is in memory at a time, because the node reports of a large fleet take a gigabyte.
        """
        async for page in self._kube.pages(self._scope.path(kind), self._query(kind), accept=accept):
            for raw in page["items"]:
                yield raw
            self._beat()
            await asyncio.sleep(0)

    async def _is_gone(self, kind: KindName, name: str) -> bool:
        """Remove an object from the cache if it no longer exists. Return whether it was removed.

        An object that does not exist but is still in the cache was deleted without a DELETED event.
        """
        if self._cache.version(kind, name) is None or await self._look(kind, name):
            return False
        self._cache.gone(kind, name)
        return True

    async def _look(self, kind: KindName, name: str) -> bool:
        """Read an object from the API server and put it into the cache. Return whether it exists.

        An object that does not match the watch's label selector counts as one that does not exist.
        """
        self._beat()
        query = self._query(kind) | {"fieldSelector": f"metadata.name={name}"}
        async for page in self._kube.pages(self._scope.path(kind), query):
            for raw in page["items"]:
                self._cache.observe(kind, None, raw)
                return True
        return False

    def _query(self, kind: KindName) -> dict[str, str]:
        selector = self._scope.selector(kind)
        return {"labelSelector": selector} if selector else {}


def _version_only(raw: Raw) -> Raw:
    """Return a copy of an object with only its name, uid and resource version.

    Thousands of whole objects would take much memory.
    """
    metadata = raw["metadata"]
    return {"metadata": {key: metadata.get(key) for key in ("name", "uid", "resourceVersion")}}
