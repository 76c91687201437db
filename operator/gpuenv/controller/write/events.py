"""Posts Kubernetes Events about environments and node reports, with limits on repetition and number.

Both kinds of objects are cluster-scoped. The API server accepts their Events only in the namespace ``default``, and
``kubectl describe`` finds them only with an empty ``involvedObject.namespace``.
"""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gpuenv.api import names
from gpuenv.api.foreign_text import one_line
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import EVENTS
from gpuenv.controller.kube.ratelimit import TokenBucket
from gpuenv.plan.actions import PostEvent
from gpuenv.plan.objects.times import show_time

logger = logging.getLogger(__name__)

COMPONENT: Final = names.OPERATOR
REPEAT_SECONDS: Final = 600.0
"""If an Event is posted again within this time, only the count of the existing Event is raised."""
OBJECT_BURST: Final = 25
"""How many Events about one object may be posted at once, as in client-go's spam filter."""
OBJECT_PER_SECOND: Final = 1 / 60
"""How many Events per second about one object may be posted after OBJECT_BURST Events, as in client-go."""
QUEUE: Final = 1000
"""How many Events can wait to be posted. The rate of Events is remembered for as many objects."""
RETRY_SECONDS: Final = 5.0
MESSAGE_CHARACTERS: Final = 1000
"""Longest message of an Event, in characters. The API server's limit for Events of ``events.k8s.io`` is 1024."""


@dataclass(slots=True)
class _Posted:
    """An Event that was posted ``count`` times. ``at`` is when it was created, in monotonic seconds."""

    name: str
    count: int
    at: float


class EventPoster:
    """Queues Events and posts them in the background. ``dropped`` is called for each Event that is not posted.

    ``clock`` returns the time that Events show, in seconds since the epoch. ``monotonic`` measures what has passed: a
    clock that is set back must not silence an object.
    """

    def __init__(
        self,
        kube: Kube,
        instance: str,
        *,
        dropped: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._instance = instance
        self._dropped = dropped
        self._clock = clock
        self._monotonic = monotonic
        self._queue: deque[tuple[PostEvent, float]] = deque()
        """Events with the time that they show. It is part of the name, so that a second try makes no second Event."""
        self._filled = asyncio.Event()
        self._posted: OrderedDict[tuple[str, str, str], _Posted] = OrderedDict()
        self._limits: OrderedDict[str, TokenBucket] = OrderedDict()

    def post(self, event: PostEvent) -> None:
        """Queue an Event, or drop it if there were too many Events about the same object or the queue is full."""
        limit = self._limits.setdefault(
            event.uid, TokenBucket(OBJECT_PER_SECOND, OBJECT_BURST, self._monotonic)
        )
        self._limits.move_to_end(event.uid)
        while len(self._limits) > QUEUE:
            self._limits.popitem(last=False)
        if not limit.try_take() or len(self._queue) >= QUEUE:
            self._dropped()
            return
        self._queue.append((event, self._clock()))
        self._filled.set()

    async def run(self) -> None:
        """Post the queued Events until cancelled. Events stay in the queue while the API server is unreachable."""
        while True:
            await self._filled.wait()
            while self._queue:
                if await self._try(*self._queue[0]):
                    self._queue.popleft()
                else:
                    await asyncio.sleep(RETRY_SECONDS)
            self._filled.clear()

    async def _try(self, event: PostEvent, now: float) -> bool:
        """Try to post an Event of the time ``now``. Return False if the caller should try again later."""
        try:
            await self._write(event, now)
        except ApiError as error:
            if error.transient:
                return False
            self._dropped()
            logger.warning(
                "Event %s about %s %s was refused: %s", event.reason, event.kind, event.name, error
            )
        return True

    async def _write(self, event: PostEvent, now: float) -> None:
        passed = self._monotonic()
        key = (event.uid, event.reason, event.message)
        while self._posted and passed - next(iter(self._posted.values())).at > REPEAT_SECONDS:
            self._posted.popitem(last=False)
        known = self._posted.get(key)
        if known is not None:
            patch = {"count": known.count + 1, "lastTimestamp": show_time(now)}
            try:
                await self._kube.merge_patch(f"{EVENTS}/{known.name}", patch)
            except ApiError as error:
                if error.status != 404:
                    raise
            else:
                known.count += 1
                return
        body = event_body(event, now, self._instance)
        try:
            await self._kube.create(EVENTS, body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        self._posted[key] = _Posted(body["metadata"]["name"], 1, passed)


def event_body(event: PostEvent, now: float, instance: str) -> dict[str, Any]:
    """Return the manifest of an Event (core/v1) that occurred at ``now``, in seconds since the epoch.

    ``instance`` identifies the operator's process. The Event's name is derived from content and time, so that a
    repeated create request makes no second Event.
    """
    message = one_line(event.message, MESSAGE_CHARACTERS)
    digest = hashlib.sha256(f"{event.uid}{event.reason}{message}{now}".encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{names.shorten(event.name, 200)}.{digest}", "namespace": "default"},
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": event.kind,
            "name": event.name,
            "uid": event.uid,
        },
        "type": event.type,
        "reason": event.reason,
        "message": message,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": instance,
        "firstTimestamp": show_time(now),
        "lastTimestamp": show_time(now),
        "count": 1,
    }
