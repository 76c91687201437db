"""The Lease that lets one operator act at a time: acquired before Kopf starts, and held while anything is written.

``kubernetes.aio.leaderelection`` is not used because it never releases a lease on exit. Another holder's lease counts
as expired when its record has not changed for its duration as measured here, so clocks need not agree. While the API
server is away, nobody can take the lease: the operator pauses, and goes on if the lease is still its own. The process
ends only when another one holds the lease. Two operators at the same time would do no harm: the names of probe pods
contain run ids, so neither can create a pod of the other a second time.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from gpuenv.controller.kube.client import UNREACHABLE, ApiError, Kube

logger = logging.getLogger(__name__)

DURATION_SECONDS: Final = 15.0
RENEW_SECONDS: Final = 4.0
RETRY_SECONDS: Final = 2.0


class LeaseLostError(Exception):
    """Another operator holds the lease now."""


class Lease:
    """One Lease object. ``identity`` is the holder's name; ``beat`` is called regularly while this works."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        identity: str,
        *,
        duration: float = DURATION_SECONDS,
        renew: float = RENEW_SECONDS,
        retry: float = RETRY_SECONDS,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._kube = kube
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name
        self._identity = identity
        self._duration = duration
        self._renew = renew
        self._retry = retry
        self._beat = beat
        self._valid_until = 0.0
        self._seen: tuple[str, float] = ("", 0.0)
        """The resource version of another holder's lease, and when it was first seen (by the monotonic clock)."""
        self._held = asyncio.Event()
        self.holder = ""
        """The identity of the holder, as last seen."""

    @property
    def held(self) -> bool:
        """Whether this process holds the lease, and it has not expired."""
        return time.monotonic() < self._valid_until

    async def wait_held(self) -> None:
        """Return as soon as the lease is held. It may have expired while the API server was away."""
        while not self.held:
            self._held.clear()
            await self._held.wait()

    async def acquire(self) -> None:
        """Wait until this process holds the lease."""
        last = ""
        while True:
            self._beat()
            try:
                if await self._try():
                    logger.info("holding lease %s as %s", self._name, self._identity)
                    return
                words = f"lease {self._name} is held by {self.holder}; waiting for it"
            except ApiError as error:
                words = f"lease {self._name} cannot be had: {error}"
            if words != last:
                logger.info("%s", words)
                last = words
            await asyncio.sleep(self._retry)

    async def keep(self) -> None:
        """Renew the lease until cancelled. Raises LeaseLostError when another process holds it."""
        while True:
            self._beat()
            await asyncio.sleep(self._renew if self.held else self._retry)
            try:
                if not await self._try():
                    raise LeaseLostError(f"lease {self._name} is held by {self.holder}")
            except ApiError as error:
                doubt = "" if self.held else "; nothing is written until it is renewed"
                logger.warning("lease %s not renewed: %s%s", self._name, error, doubt)

    async def release(self) -> None:
        """Give the lease back, so that the next operator need not wait until it expires. May be repeated."""
        if self._valid_until == 0.0:
            return
        self._valid_until = 0.0
        try:
            raw = await self._kube.get(f"{self._collection}/{self._name}")
            if (raw.get("spec") or {}).get("holderIdentity") == self._identity:
                body = {"spec": {"holderIdentity": None, "renewTime": _micro_time(time.time())}}
                await self._patch(raw, body)
        except ApiError as error:
            logger.warning("lease %s not released: %s", self._name, error)

    async def _try(self) -> bool:
        """Try once to take or renew the lease. Return whether this process holds it now. Raises ApiError."""
        try:
            async with asyncio.timeout(self._duration):
                return await self._take()
        except TimeoutError as error:
            raise ApiError(0, UNREACHABLE, f"no answer within {self._duration:g} s") from error

    async def _take(self) -> bool:
        started = time.monotonic()
        spec: dict[str, Any] = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._duration)),
            "renewTime": _micro_time(time.time()),
        }
        raw = await self._get()
        try:
            if raw is None:
                acquired = {"acquireTime": spec["renewTime"], "leaseTransitions": 0}
                body = {
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": {"name": self._name},
                    "spec": spec | acquired,
                }
                await self._kube.create(self._collection, body)
            else:
                current = raw.get("spec") or {}
                self.holder = current.get("holderIdentity") or ""
                if self.holder != self._identity:
                    if self.holder and not self._expired(raw):
                        return False
                    transitions = int(current.get("leaseTransitions") or 0) + 1
                    spec |= {"acquireTime": spec["renewTime"], "leaseTransitions": transitions}
                await self._patch(raw, {"spec": spec})
        except ApiError as error:
            if error.status != 409:
                raise
            return self.held  # another process was faster; the next attempt sees which one
        self.holder = self._identity
        self._valid_until = started + self._duration
        self._held.set()
        return True

    async def _get(self) -> dict[str, Any] | None:
        try:
            raw: dict[str, Any] = await self._kube.get(f"{self._collection}/{self._name}")
        except ApiError as error:
            if error.status != 404:
                raise
            return None
        return raw

    async def _patch(self, raw: dict[str, Any], body: dict[str, Any]) -> None:
        metadata = {"resourceVersion": raw["metadata"]["resourceVersion"]}
        await self._kube.merge_patch(f"{self._collection}/{self._name}", {"metadata": metadata} | body)

    def _expired(self, raw: dict[str, Any]) -> bool:
        version, now = raw["metadata"]["resourceVersion"], time.monotonic()
        if self._seen[0] != version:
            self._seen = (version, now)
        seconds = float((raw.get("spec") or {}).get("leaseDurationSeconds") or self._duration)
        return now - self._seen[1] > seconds


def _micro_time(seconds: float) -> str:
    """Return a time in the form of Kubernetes' ``metav1.MicroTime``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
