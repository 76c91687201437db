"""Reads single objects before and after writes of them, and keeps the cache up to date."""

import time
from collections.abc import Callable
from typing import Any, Final

from gpuenv.controller.cache import Cache
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import KindName, Scope

CONFLICTS: Final = frozenset({404, 409, 422})
"""Status codes of a failed write that may mean that its object is gone, or was replaced by another of that name.

A policy that refuses the write may answer with the same codes, so another request has to find out the cause.
"""


class StaleError(Exception):
    """An action was planned from an outdated state. It was not carried out, and the cache was updated."""


class Access:
    """Access to single objects: client, cache, and the paths of what the operator is concerned with.

    ``clock`` returns the time in seconds since the epoch.
    """

    def __init__(
        self, kube: Kube, cache: Cache, scope: Scope, clock: Callable[[], float] = time.time
    ) -> None:
        self.kube = kube
        self.cache = cache
        self.scope = scope
        self.clock = clock

    async def live(self, kind: KindName, name: str) -> dict[str, Any] | None:
        """Read an object from the API server, update the cache, and return the object, or None if it is gone."""
        try:
            raw: dict[str, Any] = await self.kube.get(self.scope.item(kind, name))
        except ApiError as error:
            if error.status != 404:
                raise
            self.cache.gone(kind, name)
            return None
        self.cache.put(kind, raw)
        return raw

    async def present(self, kind: KindName, name: str, uid: str = "") -> dict[str, Any] | None:
        """Read the object with this name and this uid from the API server, and return it, or None if it is gone.

        Without ``uid``, any object of this name is returned.
        The cache is updated, but only if it had the object: it lacks those that the selector of the watch does not match.
        """
        if self.cache.version(kind, name) is not None:
            raw = await self.live(kind, name)
        else:
            try:
                raw = await self.kube.get(self.scope.item(kind, name))
            except ApiError as error:
                if error.status != 404:
                    raise
                raw = None
        return raw if raw is not None and uid in {"", raw["metadata"]["uid"]} else None

    async def found_after(
        self, error: ApiError, kind: KindName, name: str, uid: str = ""
    ) -> dict[str, Any] | None:
        """Return the object as it is after a write of it has failed, or None if it is gone or was replaced.

        Raises ``error`` if that does not call for another look, or if the object cannot be read now.
        """
        if error.status not in CONFLICTS and not error.is_ambiguous:
            raise error
        try:
            return await self.present(kind, name, uid)
        except ApiError:
            raise error from None
