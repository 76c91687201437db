"""Storages for Kopf that store nothing and copy nothing.

Kopf remembers the last state of each object, and how far its handlers are, in annotations of the object. gpuenv has only
``on.event`` handlers, which need neither. But Kopf asks its storages at each event all the same, and its own ones answer
with three deep copies of the whole object, which cost most of what Kopf's handling of an event costs.
"""

from typing import Any, Final

import kopf

_NOTHING: Final[Any] = {}
"""What gpuenv wants Kopf to compare of an object: nothing, so an object never differs from its last state."""


class NoDiffBase(kopf.DiffBaseStorage):
    """A storage of last states that knows no last state, and for which all states are the same."""

    def build(self, **_: Any) -> Any:
        """Return the part of an object whose changes matter to handlers: none of it."""
        return _NOTHING

    def fetch(self, **_: Any) -> None:
        """Return the last state of an object, which is never stored."""

    def store(self, **_: Any) -> None:
        """Store nothing."""


class NoProgress(kopf.ProgressStorage):
    """A storage of the progress of handlers that knows no progress."""

    def fetch(self, **_: Any) -> None:
        """Return the progress of a handler, which is never stored."""

    def store(self, **_: Any) -> None:
        """Store nothing."""

    def purge(self, **_: Any) -> None:
        """Remove nothing."""

    def touch(self, **_: Any) -> None:
        """Change nothing. Kopf's own storages make a change here, to get another event later."""

    def clear(self, *, essence: Any) -> Any:
        """Return a state without the storage's own annotations, which no state has."""
        return essence
