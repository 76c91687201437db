"""Tells rejections of a probe pod from other errors of the API server, by the HTTP status and the message."""

import time
from collections.abc import Callable
from typing import Final

from gpuenv.controller.kube.errors import TIMED_OUT, ApiError

DENIED_SECONDS: Final = 60.0
"""How long an authorizer must have denied a kind of write before a missing permission is believed."""
FORGET_SECONDS: Final = 90.0
"""After a pause of this length between two denials, the second one may have another cause than the first.

Once a missing permission is believed, this counts no more: only a write that succeeds shows that it was granted.
"""


def is_rejection(error: ApiError) -> bool:
    """Return whether the API server rejected the pod itself.

    Conflicts, bad credentials, missing permissions and overload do not count: they are not about this pod.
    """
    if error.transient or error.denied:
        return False
    return 400 <= error.status < 500 and error.status not in {401, 409}


def blames_pod(error: ApiError) -> bool:
    """Return whether an error counts as a rejection of the pod if it occurs twice in a row.

    A status of 5xx, or a request that takes too long, may pass, but may also come from a webhook that is down for long.
    If two in a row did not count, the planner would choose the same node forever, and no node report would say why.
    """
    return error.status >= 500 or error.reason == TIMED_OUT or error.by_webhook


class Denials:
    """Remembers which kinds of writes an authorizer denies, to tell a missing permission from a restarted API server.

    An API server that has just started denies everything until it knows the roles, for a second or two. ``clock`` must
    be monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, float]] = {}
        """The first and the last denial in a row of each kind of write."""

    def may_pass(self, write: str, error: ApiError) -> bool:
        """Note a denial of a kind of write, and return whether it may be over soon. False for any other error."""
        if not error.denied:
            return False
        now = self._clock()
        first, last = self._seen.get(write, (now, now))
        if now - last > FORGET_SECONDS and last - first < DENIED_SECONDS:
            first = now
        self._seen[write] = (first, now)
        return now - first < DENIED_SECONDS

    def over(self, write: str) -> None:
        """Note that a write of this kind has been done."""
        self._seen.pop(write, None)
