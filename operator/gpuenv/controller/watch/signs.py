"""What is known about one watch: whether its stream is open, what refused it, and whether it delivers changes.

A stream that is open but delivers nothing looks like a quiet cluster. Nothing is asked of the API server to tell them
apart. The operator learns of new versions of objects from the answers to its own writes, and a watch that delivers
none of them for a while is silent. In a quiet cluster the API server still sends a bookmark every minute; Kopf opens a
stream anew that does not even bring that (``inactivity_timeout`` in :mod:`gpuenv.controller.watch.settings`).
"""

import time
from collections.abc import Callable
from typing import Final

ECHO_SECONDS: Final = 20.0
"""How long an open stream may deliver nothing although it owes a version that the operator has learned otherwise."""
TOLERATED_SECONDS: Final = 15.0
"""How long a stream may be closed before that is worth a word. Each stream is opened anew every five minutes."""
ASLEEP_SECONDS: Final = 90.0
"""After this time without an open stream and without a request for one, Kopf has stopped to watch.

Its requests take 30 seconds at most, and the pauses between them five.
"""
ENDLESS_SECONDS: Final = 400.0
"""A stream that is open for longer has been forgotten: each ends after 330 seconds at most."""


class Signs:
    """The signs of life of one watch. ``clock`` must be monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._has_started = False
        self._open = False
        self._changed_at = clock()
        """When the stream was opened or closed the last time."""
        self._active_at = clock()
        """When a request of this watch began or ended the last time."""
        self._words = "not started yet"
        self._lists = False
        self._learned = 0
        self._delivered = 0
        self._delivered_at = clock()
        self._owed: tuple[int, float] | None = None
        """A resource version that the watch has not delivered yet, and since when it owes it."""

    # ---- what happens to the stream ------------------------------------------------------------------------

    def asked(self, *, for_list: bool) -> None:
        """Note that a request has begun, for a list or for a stream. The stream before it, if any, has ended."""
        self._active_at = self._clock()
        self._lists = self._lists or for_list
        if self._open:
            self._close("closed")

    def opened(self) -> bool:
        """Note that a stream was opened, and return whether all objects were listed just before."""
        self._open = True
        self._changed_at = self._active_at = self._clock()
        self._words = ""
        listed, self._lists = self._lists, False
        if listed:
            self._owed = None  # an object of that version may be deleted by now, so that no list shows it
        return listed

    def refused(self, words: str) -> None:
        """Note that a request failed or was refused, and why."""
        self._active_at = self._clock()
        if self._open:
            self._close(words)
        self._words = words

    def ended(self, words: str) -> None:
        """Note that Kopf has stopped to watch, and why."""
        self.refused(words)

    def started(self) -> None:
        """Note that Kopf begins to watch. Its first requests are about kinds, and not for a stream."""
        self._active_at = self._clock()
        if not self._has_started:
            self._has_started, self._changed_at = True, self._active_at

    def _close(self, words: str) -> None:
        self._open = False
        self._changed_at = self._clock()
        self._words = words

    # ---- what the stream delivers ----------------------------------------------------------------------------

    def learned(self, version: int) -> None:
        """Note that the operator knows a resource version, from whatever source. 0 is an unknown version."""
        if version > self._delivered:
            self._learned = max(version, self._learned)
            if self._owed is None:
                self._owed = (version, self._clock())

    def delivered(self, version: int) -> None:
        """Note that the watch has delivered a resource version, in a list or as a change."""
        now = self._clock()
        self._delivered_at = now
        self._delivered = max(version, self._delivered)
        if self._owed is not None and self._delivered >= self._owed[0]:
            self._owed = (self._learned, now) if self._learned > self._delivered else None

    # ---- what follows ------------------------------------------------------------------------------------------

    def is_open(self) -> bool:
        """Whether the stream is open."""
        return self._open

    @property
    def open_seconds(self) -> float:
        """For how many seconds the stream has been open; 0 if it is not."""
        return self._clock() - self._changed_at if self._open else 0.0

    @property
    def is_silent(self) -> bool:
        """Whether the stream is open and delivers nothing, although there are changes."""
        if not self._open or self._owed is None:
            return False
        return self._clock() - max(self._owed[1], self._changed_at, self._delivered_at) > ECHO_SECONDS

    @property
    def is_asleep(self) -> bool:
        """Whether Kopf no longer asks for a stream, although it should."""
        limit = ENDLESS_SECONDS if self._open else ASLEEP_SECONDS
        return self._clock() - self._active_at > limit

    @property
    def problem(self) -> str:
        """Why no changes can arrive, in words for people; "" if the stream is open or was until a moment ago.

        A watch that has not been started yet has no problem either: the operator is not ready for another reason.
        """
        if self.is_silent:
            return "delivers nothing, although there are changes"
        seconds = self._clock() - self._changed_at
        if self._open or not self._has_started or seconds < TOLERATED_SECONDS:
            return ""
        return f"not open for {seconds:.0f} s: {self._words}"
