"""A small asynchronous Kubernetes client that limits the rate of writes and repeats failed requests.

Paths are those of the API (``/api/v1/nodes``). Objects are dicts, because the typed models of ``kubernetes`` cost
1.3 ms and 86 kB a node. A request is repeated if the connection fails, if the answer is not the API server's (no JSON
object), and after the status codes 408, 429 (after the pause in ``Retry-After``), 500, 502, 503 and 504. Any other
error is final. When a request is repeated because its response was lost, a create may fail because its object exists
already (409 AlreadyExists), and a delete because its object is gone (404).

A client with a ``permit`` is fenced: it writes only while the operator holds the Lease. The permit is asked before each
try of a write, after every wait, and again when the first byte is about to leave. No write lasts longer than the
permit: this client ends it then, and so does the API server, which reads the limit from the query (``timeout``), even if
this process has been stopped meanwhile.
"""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from gpuenv import __version__
from gpuenv.api import json_text
from gpuenv.controller.kube import sending
from gpuenv.controller.kube.configuration import load_configuration
from gpuenv.controller.kube.errors import (
    UNREACHABLE,
    ApiError,
    NotNowError,
    decode,
    error_of,
    not_json,
    words_of,
)
from gpuenv.controller.kube.ratelimit import WRITES_PER_SECOND, TokenBucket
from gpuenv.controller.kube.requests import (
    AS_JSON,
    JSON,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    Credentials,
    Request,
    Types,
    is_list,
    with_query,
)
from gpuenv.controller.kube.server_clock import ServerClock

CONNECT_SECONDS: Final = 10.0
REQUEST_SECONDS: Final = 30.0
WRITE_SECONDS: Final = 1.0
"""No write is sent if the permit lasts for less time than this."""
SEND_SECONDS: Final = 1.0
"""How long a write may wait for its connection. Its limit, which the API server counts from its arrival, is set before."""
WATCH_SILENCE_SECONDS: Final = 90.0
"""A watch that delivers nothing for this long is dead, because the API server sends a bookmark every 60 s."""
DEADLINE_SECONDS: Final = 40.0
"""A failed request is not repeated later than this many seconds after its first attempt began."""
BACKOFF_SECONDS: Final = (0.25, 0.5, 1.0, 2.0)
"""Average pause before each repetition of a failed request. There are at most four repetitions."""


class Kube:
    """An asynchronous client of one API server. It belongs to one event loop, and has to be closed.

    ``reload`` is an asynchronous function that loads the credentials anew and returns a configuration. ``agent`` is the
    user agent, from which the API server derives the field manager. A ``writes_per_second`` of 0 sets no limit.
    At most ``max_in_flight`` requests run at the same time. ``observe(method, status)`` is called after each request
    (status 0: no response, or one that is not the API server's), for metrics. The attribute ``permit`` may be set to a
    function that returns for how many seconds from now a write may last; None means that nobody has to permit writes.
    ``server_clock`` reads the API server's clock from all answers; clients may share one.
    """

    def __init__(
        self,
        configuration: Any,
        reload: Callable[[], Any],
        *,
        agent: str = "gpuenv",
        writes_per_second: float = WRITES_PER_SECOND,
        max_in_flight: int = 16,
        observe: Callable[[str, int], None] | None = None,
    ) -> None:
        self._api = sending.api_client(configuration)
        self._reload = reload
        self._agent = f"{agent}/{__version__}"
        self._bucket = TokenBucket(writes_per_second)
        self._slots = asyncio.Semaphore(max_in_flight)
        self._observe = observe
        self.permit: Callable[[], float] | None = None
        self.server_clock = ServerClock()

    @classmethod
    async def from_environment(
        cls,
        kubeconfig: str | None = None,
        context: str | None = None,
        *,
        pod_first: bool = False,
        agent: str = "gpuenv",
        writes_per_second: float = WRITES_PER_SECOND,
        max_in_flight: int = 16,
        observe: Callable[[str, int], None] | None = None,
    ) -> Self:
        """Return a client for the API server of the context ``context`` in the kubeconfig file at ``kubeconfig``.

        :func:`~gpuenv.controller.kube.configuration.load_configuration` explains these two arguments and ``pod_first``,
        and where credentials are searched for. Raises KubeconfigError if there are no usable credentials.
        """

        async def load() -> Any:
            return await load_configuration(kubeconfig, context, pod_first=pod_first)

        return cls(
            await load(),
            load,
            agent=agent,
            writes_per_second=writes_per_second,
            max_in_flight=max_in_flight,
            observe=observe,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def credentials(self) -> Credentials:
        """Load the credentials again from files and exec plug-ins, and return them.

        Raises KubeconfigError if they cannot be loaded.
        """
        await self._authenticate()
        configuration = self._api.configuration
        header = await configuration.get_api_key_with_prefix("BearerToken") or ""
        scheme, _, token = header.partition(" ")
        return Credentials(
            server=configuration.host,
            scheme=scheme.capitalize() or None,
            token=token or None,
            ca_path=configuration.ssl_ca_cert,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            insecure=not configuration.verify_ssl,
            proxy=configuration.proxy,
        )

    # ---- reading -------------------------------------------------------------------------------------------

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, accept: str = JSON) -> Any:
        """Send a GET request, and return the JSON object that the API server answers."""
        return await self._call("GET", with_query(path, params), types=Types(accepted=accept))

    async def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST an access review and return the response. A review only asks a question, so no write limit applies."""
        answer = await self._call("POST", path, body)
        if not isinstance(answer.get("status"), dict):
            raise not_json(answer, f"POST {path}")
        return answer

    async def pages(
        self, path: str, params: Mapping[str, str] | None = None, limit: int = 500, *, accept: str = JSON
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield a list page by page, with at most ``limit`` objects in each page.

        ``accept`` is the media type of a page, such as METADATA_LIST.
        Raises ApiError with status 410 if the list expires between two pages. The pages that were already yielded must
        then be discarded.
        """
        query = dict(params or {}) | {"limit": str(limit)}
        while True:
            page = await self.get(path, query, accept=accept)
            if page.get("items", ()) is None:
                page["items"] = []  # as in an empty PartialObjectMetadataList
            if not is_list(page):
                raise not_json(page, f"GET {path}")
            yield page
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            query["continue"] = token

    async def watch(
        self, path: str, params: Mapping[str, str] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of one watch, including bookmarks, until the API server ends the watch.

        An event is a dict with ``type`` and ``object``. ``params`` should contain the ``resourceVersion`` of a list.
        Raises ApiError if the watch fails. Status 410 means that this version is too old: the caller must list again.
        """
        query = {"watch": "true", "allowWatchBookmarks": "true"} | dict(params or {})
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=WATCH_SILENCE_SECONDS
        )
        where = f"watch {path}"
        try:
            response = await self._request("GET", with_query(path, query), None, AS_JSON, limits)
            try:
                if response.status >= 400:
                    raise error_of(response.status, await response.read(), response.headers, where)
                async for line in _lines(response.response.content):
                    event = json_text.decode(line)
                    if event.get("type") == "ERROR":
                        status = event.get("object") or {}
                        code, reason = int(status.get("code") or 500), str(status.get("reason") or "")
                        raise ApiError(code, reason, str(status.get("message") or ""), where=where)
                    yield event
            finally:
                response.response.close()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ApiError(0, UNREACHABLE, words_of(error), where=where) from error

    # ---- writing -------------------------------------------------------------------------------------------

    async def create(self, path: str, body: Mapping[str, Any]) -> Any:
        """Create an object and return it as stored. ``path`` is the path of its collection."""
        return await self._call("POST", path, body, write=True)

    async def merge_patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Apply a merge patch (RFC 7386): None deletes a key, and a list replaces the whole list."""
        return await self._call("PATCH", path, body, Types(MERGE_PATCH), write=True)

    async def strategic_patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Apply a strategic merge patch, which merges lists by key. Only built-in kinds support it."""
        return await self._call("PATCH", path, body, Types(STRATEGIC_PATCH), write=True)

    async def json_patch(self, path: str, operations: list[dict[str, Any]]) -> Any:
        """Apply a JSON patch (RFC 6902). If a ``test`` operation fails, ApiError with status 422 is raised."""
        return await self._call("PATCH", path, operations, Types(JSON_PATCH), write=True)

    async def delete(self, path: str, *, uid: str | None = None, grace: int | None = None) -> Any:
        """Delete an object. ``grace`` is the grace period in seconds; None means the one in the pod's spec.

        If ``uid`` is given, an object that has another uid is not deleted, and ApiError with status 409 is raised.
        """
        options: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        return await self._call("DELETE", path, options, write=True)

    async def delete_if_there(self, path: str, uid: str | None = None) -> bool:
        """Delete an object if it exists, and return whether it was deleted.

        If ``uid`` is given, an object at this path that has another uid is not deleted.
        """
        try:
            await self.delete(path, uid=uid)
        except ApiError as error:
            replaced = uid is not None and error.status == 409
            if error.status != 404 and not replaced:
                raise
            return False
        return True

    async def delete_collection(self, path: str, selector: str, *, limit: int) -> Any:
        """Delete at most ``limit`` of the objects that match a label selector, which must not be empty."""
        if not selector:
            raise ValueError("delete_collection without a selector would delete everything")
        query = {"labelSelector": selector, "limit": str(limit)}
        return await self._call("DELETE", with_query(path, query), write=True)

    # ---- internals -----------------------------------------------------------------------------------------

    async def _call(
        self, method: str, path: str, body: Any = None, types: Types = AS_JSON, *, write: bool = False
    ) -> dict[str, Any]:
        deadline = time.monotonic() + min(DEADLINE_SECONDS, sending.seconds_left())
        for pause in (*BACKOFF_SECONDS, None):
            try:
                return await self._try(Request(method, path, body, types, write))
            except ApiError as error:
                if pause is None or not error.transient or isinstance(error, NotNowError):
                    raise
                # A random pause, so that calls that failed at the same time are not repeated at the same time.
                delay = max(error.retry_after or 0.0, pause * random.uniform(0.5, 1.5))  # noqa: S311 - not a secret
                if time.monotonic() + delay > deadline:
                    raise
                await asyncio.sleep(delay)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _try(self, request: Request) -> dict[str, Any]:
        """Send a request once it may be sent, and once more with new credentials if the present ones are refused.

        Raises NotNowError if it may not be sent.
        """
        if request.write and not await self._bucket.take(sending.seconds_left()):
            raise NotNowError("there is no time for more writes in this plan", where=request.where)
        async with self._slots:
            try:
                answer = await self._once(request)
            except ApiError as error:
                if error.status != 401:
                    raise
                await self._authenticate()
                answer = await self._once(request)
        if request.write and not isinstance(answer.get("metadata"), dict):
            raise not_json(answer, request.where)
        return answer

    async def _once(self, request: Request) -> dict[str, Any]:
        seconds, path = REQUEST_SECONDS, request.path
        if request.write and self.permit is not None:
            seconds = min(seconds, self._permitted(request, WRITE_SECONDS))
            path += f"{'&' if '?' in path else '?'}timeout={seconds:.3f}s"
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)

        def check() -> None:
            sending.check_time_box(request.where)
            if request.write and self.permit is not None:
                self._permitted(request, seconds - SEND_SECONDS)

        check()
        try:
            with sending.checked(check):
                response = await self._request(request.method, path, request.body, request.types, limits)
            data = await response.read()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._count(request.method, 0)
            raise sending.no_response(error, request.where, seconds) from error
        try:
            if response.status >= 400:
                raise error_of(response.status, data, response.headers, request.where)
            answer = decode(data, request.where)
        except ApiError as error:
            self._count(request.method, error.status)
            raise
        self._count(request.method, response.status)
        return answer

    def _permitted(self, request: Request, least: float) -> float:
        """Return for how many seconds a write is permitted. Raises NotNowError if that is less than ``least``."""
        seconds = self.permit() if self.permit is not None else math.inf
        if seconds < least:
            raise NotNowError("the Lease is not held, or ends too soon", where=request.where)
        return seconds

    async def _request(
        self, method: str, path: str, body: Any, types: Types, limits: aiohttp.ClientTimeout
    ) -> Any:
        headers = {"Accept": types.accepted, "Content-Type": types.sent, "User-Agent": self._agent}
        await self._api.update_params_for_auth(headers, None, ["BearerToken"], path, method, body)
        url = self._api.configuration.host + path
        sent = time.monotonic()
        response = await self._api.call_api(
            method, url, header_params=headers, body=body, _request_timeout=limits
        )
        self.server_clock.answered(response.headers.get("Date"), sent)
        return response

    async def _authenticate(self) -> None:
        """Load the credentials again and use them from now on, because tokens expire and certificates are rotated."""
        configuration = await self._reload()
        current = self._api.configuration
        certificates = ("ssl_ca_cert", "cert_file", "key_file")
        if any(getattr(current, name) != getattr(configuration, name) for name in certificates):
            old, self._api = self._api, sending.api_client(configuration)
            await old.close()
        else:
            current.api_key = configuration.api_key

    def _count(self, method: str, status: int) -> None:
        if self._observe is not None:
            self._observe(method, status)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield the lines of a response, however long they are.

    aiohttp's own iteration over lines fails if a line is longer than its buffer, as the JSON of a large Node can be.
    """
    rest = b""
    async for data in content.iter_any():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
