"""The HTTP session of Kopf's client for one watch: with gpuenv's own credentials, and with an ear on its requests.

gpuenv's Kubernetes client alone handles the rotation of tokens and the exec plug-ins of a kubeconfig file. Kopf never
uses credentials again that were refused once (``Vault`` in kopf/_cogs/structs/credentials.py), but an API server may
refuse a valid token for a while. Sessions, unlike credentials, are never equal, so Kopf takes each new one.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import kopf

from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import words_of
from gpuenv.controller.watch.signs import Signs
from gpuenv.controller.watch.stream import READ_BYTES, Take, taking_responses

RELOGIN_SECONDS: Final = 5.0
"""Shortest time between two logins: so long Kopf waits after a response 401, and after a failed login."""


class Login:
    """Provides the sessions of one watch, and tells its ``signs`` how the requests for its stream fare.

    ``path`` is the API path under which the objects are listed and watched. ``relisted`` is called when all objects have
    been listed and the stream is open again. ``take`` is called with all objects, which Kopf then does not see; None
    leaves them to Kopf.
    """

    def __init__(
        self, kube: Kube, path: str, signs: Signs, relisted: Callable[[], None], take: Take | None = None
    ) -> None:
        self._kube = kube
        self._path = path
        self._signs = signs
        self._relisted = relisted
        self._response_class = taking_responses(path, take) if take is not None else aiohttp.ClientResponse
        self._sessions: list[aiohttp.ClientSession] = []
        self._next_at = 0.0

    async def __call__(self) -> kopf.AiohttpSession:
        """Return a new session. Kopf asks for one at its start, and again after a response 401.

        Raises KubeconfigError if there are no usable credentials.
        """
        await asyncio.sleep(max(0.0, self._next_at - time.monotonic()))
        self._next_at = time.monotonic() + RELOGIN_SECONDS
        credentials = await self._kube.credentials()
        info = kopf.ConnectionInfo(
            server=credentials.server,
            scheme=credentials.scheme,
            token=credentials.token,
            ca_path=credentials.ca_path,
            certificate_path=credentials.certificate_path,
            private_key_path=credentials.private_key_path,
            insecure=credentials.insecure,
        )
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            proxy=credentials.proxy,
            trace_configs=[self._trace()],
            response_class=self._response_class,
            read_bufsize=READ_BYTES,
        )
        self._sessions = [one for one in self._sessions if not one.closed] + [session]
        return kopf.AiohttpSession(server=info.server, aiohttp_session=session)

    async def close(self) -> None:
        """Close all sessions. Kopf does so itself, but not if one of its tasks fails."""
        for session in self._sessions:
            await session.close()

    def _trace(self) -> aiohttp.TraceConfig:
        trace = aiohttp.TraceConfig()

        async def begun(_: Any, __: Any, request: aiohttp.TraceRequestStartParams) -> None:
            if self._is_ours(request.url):
                self._signs.asked(for_list="watch" not in request.url.query)

        async def answered(_: Any, __: Any, request: aiohttp.TraceRequestEndParams) -> None:
            if not self._is_ours(request.url):
                return
            status = request.response.status
            if status >= 400:
                self._signs.refused(f"the API server answered {status} {request.response.reason}")
            elif "watch" in request.url.query and self._signs.opened():
                self._relisted()

        async def failed(_: Any, __: Any, request: aiohttp.TraceRequestExceptionParams) -> None:
            if self._is_ours(request.url):
                self._signs.refused(words_of(request.exception))

        trace.on_request_start.append(begun)
        trace.on_request_end.append(answered)
        trace.on_request_exception.append(failed)
        return trace

    def _is_ours(self, url: Any) -> bool:
        # The server's own address may have a path, too.
        return bool(url.path.endswith(self._path))
