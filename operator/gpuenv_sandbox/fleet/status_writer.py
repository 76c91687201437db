"""Writes the statuses of simulated nodes and pods with little CPU time: the API server's answers are not decoded.

A pod's life takes several writes, so their cost decides how many nodes this machine can simulate.
"""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import UNREACHABLE, ApiError, error_of, words_of
from gpuenv.controller.kube.requests import JSON, MERGE_PATCH, STRATEGIC_PATCH

IN_FLIGHT: Final = 64
REQUEST_SECONDS: Final = 60.0
METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""The form of an answer that leaves out everything except the object's metadata."""


class StatusWriter:
    """Sends writes whose answers nobody needs. Used as an asynchronous context manager.

    A request that fails for a passing reason is repeated by ``kube``, whose credentials the writer uses. Other failures
    raise ApiError.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    async def __aenter__(self) -> Self:
        rights = await self._kube.credentials()
        context = ssl.create_default_context(cafile=rights.ca_path)
        headers = {"Accept": METADATA_ONLY, "User-Agent": "gpuenv-sandbox"}
        if rights.certificate_path:
            context.load_cert_chain(rights.certificate_path, rights.private_key_path)
        if rights.token:
            headers["Authorization"] = f"{rights.scheme} {rights.token}"
        self._session = aiohttp.ClientSession(
            rights.server,
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
            headers=headers,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def merge_patch(self, path: str, body: dict[str, Any]) -> None:
        """Apply a merge patch (RFC 7386)."""
        await self._send("PATCH", path, body, MERGE_PATCH, lambda: self._kube.merge_patch(path, body))

    async def strategic_patch(self, path: str, body: dict[str, Any]) -> None:
        """Apply a strategic merge patch, which merges lists by key."""
        await self._send("PATCH", path, body, STRATEGIC_PATCH, lambda: self._kube.strategic_patch(path, body))

    async def remove_pod(self, path: str, uid: str) -> None:
        """Remove a pod whose containers have ended. An object that has another uid is not removed."""
        body = {"preconditions": {"uid": uid}, "gracePeriodSeconds": 0}
        await self._send("DELETE", path, body, JSON, lambda: self._kube.delete(path, uid=uid, grace=0))

    async def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any],
        media_type: str,
        again: Callable[[], Awaitable[object]],
    ) -> None:
        """Send a request. If it fails for a passing reason, make it ``again`` in the patient way."""
        try:
            await self._once(method, path, body, media_type)
        except ApiError as error:
            if not error.transient:
                raise
            await again()

    async def _once(self, method: str, path: str, body: dict[str, Any], media_type: str) -> None:
        where = f"{method} {path}"
        try:
            async with (
                self._slots,
                self._session.request(
                    method, path, data=json.dumps(body).encode(), headers={"Content-Type": media_type}
                ) as answer,
            ):
                data = await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            raise ApiError(0, UNREACHABLE, words_of(error), where=where) from error
        if answer.status >= 400:
            raise error_of(answer.status, data, answer.headers, where)
