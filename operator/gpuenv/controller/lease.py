"""The Lease that lets only one operator write: an operator acquires it at start, and writes nothing without it.

``kubernetes.aio.leaderelection`` is not used because it never releases a Lease on exit. A Lease that another process
holds counts as expired when this process has seen no change of it for its duration, so clocks need not agree. While the
API server is unreachable, nobody can take the Lease: the operator pauses, and continues afterwards if no other process
has taken the Lease. The process ends only if another process holds the Lease.

A process that was stopped while it held the Lease must write nothing when it wakes. So for this process, the Lease ends
some time (MARGIN) before others may take it, and the client that writes asks :attr:`Lease.seconds_left` before it sends
a request. What is left bounds the time that the request may take, also in the API server
(:mod:`gpuenv.controller.kube.client`). Only a request that the network delays for longer than the margin can still
arrive later. The preconditions of writes then refuse it if another process has changed the same object.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import UNREACHABLE, ApiError, words_of
from gpuenv.plan.objects.times import show_micro_time

logger = logging.getLogger(__name__)

DURATION_SECONDS: Final = 15.0
RENEW_SECONDS: Final = 2.0
"""As in client-go. A write may then take ten seconds, which is the default time-out of admission webhooks."""
RETRY_SECONDS: Final = 2.0
MARGIN: Final = 0.15
"""The share of the duration by which the Lease ends earlier for its holder than for others.

It covers the way of a request to the API server, and clocks that run at different rates.
"""


def new_identity() -> str:
    """Return a name for this process that no other process has.

    Host name and process id are for people. Two processes can have the same: containers of one pod, or pods with
    ``hostNetwork``, all of whose processes have the id 1.
    """
    return f"{socket.gethostname()}_{os.getpid()}_{secrets.token_hex(8)}"


class LeaseLostError(Exception):
    """Another process holds the Lease now, so this operator must end."""


class Lease:
    """Acquires, renews and releases one Lease object.

    ``identity`` names this process as the holder. ``duration`` is the number of seconds after which an unrenewed Lease
    expires. ``renew`` is the pause in seconds between two renewals, and ``retry`` the pause after a failed request or
    while another process holds the Lease. ``beat`` is called regularly, as a sign of life.
    """

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
        """The last resource version of the Lease under another holder, and when this process first saw that version.

        The time is in seconds of the monotonic clock. The version is "" if no other holder was seen.
        """
        self._held = asyncio.Event()
        self._failure = "this process was not running"
        """Why the last renewal failed."""
        self.holder = ""
        """The identity of the process that held the Lease when it was last read; "" if there was none."""

    @property
    def seconds_left(self) -> float:
        """For how many seconds from now this process may write; 0 if it does not hold the Lease."""
        return max(0.0, self._valid_until - time.monotonic())

    @property
    def held(self) -> bool:
        """Whether this process holds the Lease and the Lease has not expired for it."""
        return self.seconds_left > 0

    @property
    def problem(self) -> str:
        """Why this process may not write, in words for people; "" if it holds the Lease."""
        return "" if self.held else f"not renewed in time, so nothing is written: {self._failure}"

    async def wait_held(self) -> None:
        """Wait until this process holds a Lease that has not expired.

        The Lease expires if it cannot be renewed in time, for example during an outage of the API server. The process
        may renew it afterwards.
        """
        while not self.held:
            self._held.clear()
            await self._held.wait()

    async def acquire(self) -> None:
        """Take the Lease: try again until this process holds it."""
        last = ""
        while True:
            self._beat()
            try:
                if await self.try_once():
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
        """Renew the Lease until cancelled. Raises LeaseLostError when another process holds it."""
        while True:
            self._beat()
            await asyncio.sleep(self._renew if self.held else self._retry)
            try:
                if not await self.try_once():
                    raise LeaseLostError(f"lease {self._name} is held by {self.holder}")
            except ApiError as error:
                self._failure = str(error)
                doubt = "" if self.held else "; nothing is written until it is renewed"
                logger.warning("lease %s not renewed: %s%s", self._name, error, doubt)

    async def release(self) -> None:
        """Release the Lease, so that another operator need not wait until it expires. A second call does nothing."""
        if self._valid_until == 0.0:
            return
        self._valid_until = 0.0
        try:
            raw = await self._kube.get(f"{self._collection}/{self._name}")
            if (raw.get("spec") or {}).get("holderIdentity") == self._identity:
                body = {"spec": {"holderIdentity": None, "renewTime": show_micro_time(time.time())}}
                await self._patch(raw, body)
        except Exception as error:  # this process ends anyway, and the Lease expires by itself
            logger.warning("lease %s not released: %s", self._name, words_of(error))

    async def try_once(self) -> bool:
        """Try once to take or renew the Lease. Return whether this process holds it now.

        Raises ApiError if a request fails or takes longer than the duration of the Lease.
        """
        try:
            async with asyncio.timeout(self._duration):
                try:
                    return await self._take()
                except ApiError as error:
                    if error.status != 409:
                        raise
                    # Either another process was faster, or this process: the answer to its own request was lost.
                    return await self._take()
        except TimeoutError as error:
            raise ApiError(0, UNREACHABLE, f"no answer within {self._duration:g} s") from error

    async def _take(self) -> bool:
        """Read the Lease and take or renew it. Return whether this process holds it now.

        Raises ApiError if a request fails, with status 409 if the Lease was changed between reading and writing.
        """
        started = time.monotonic()
        spec: dict[str, Any] = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._duration)),
            "renewTime": show_micro_time(time.time()),
        }
        raw = await self._get()
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
        self.holder = self._identity
        self._valid_until = started + (1 - MARGIN) * self._duration
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
