"""When a request may be sent: the time box of a plan, and a check at the moment before the first byte leaves.

Both are context variables, so they apply to all requests of a task and of the tasks that it creates.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Final

import aiohttp
from kubernetes.aio.client import ApiClient

from gpuenv.controller.kube.errors import (
    TIMED_OUT,
    UNANSWERED,
    UNREACHABLE,
    ApiError,
    NotNowError,
    words_of,
)


def _forever() -> float:
    return math.inf


def _pass() -> None:
    pass


_box: Final[ContextVar[Callable[[], float]]] = ContextVar("time box", default=_forever)
_check: Final[ContextVar[Callable[[], None]]] = ContextVar("check before sending", default=_pass)


@contextlib.contextmanager
def time_box(left: Callable[[], float]) -> Iterator[None]:
    """Let no request of this block and its tasks begin when ``left``, the seconds that remain, returns 0 or less.

    A request that has been sent is not ended.
    """
    token = _box.set(left)
    try:
        yield
    finally:
        _box.reset(token)


def seconds_left() -> float:
    """Return how many seconds are left of the current time box; infinity if there is none."""
    return _box.get()()


def check_time_box(where: str) -> None:
    """Raise NotNowError if the current time box is over. ``where`` names the request in the error's text."""
    if seconds_left() <= 0:
        raise NotNowError("the time of this plan is over", where=where)


@contextlib.contextmanager
def checked(check: Callable[[], None]) -> Iterator[None]:
    """Call ``check`` before each request of this block is sent. It may raise an exception to prevent that."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def api_client(configuration: Any) -> ApiClient:
    """Return a client of ``kubernetes`` that calls the check of :func:`checked` before each request.

    aiohttp reports that headers are sent when the connection is there, and before it writes them. So the check also
    covers the time for which a request has waited for its connection.
    """
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_call_check)
    configuration.trace_configs = [trace]
    return ApiClient(configuration)


def no_response(error: Exception, where: str, seconds: float) -> ApiError:
    """Return the error of a request without a response. ``seconds`` is how long the request was allowed to last."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return ApiError(0, UNREACHABLE, words_of(error), where=where)
    if isinstance(error, TimeoutError):
        return ApiError(0, TIMED_OUT, f"no response within {seconds:.0f} s", where=where)
    return ApiError(0, UNANSWERED, words_of(error), where=where)


async def _call_check(_session: object, _context: object, _headers: object) -> None:
    _check.get()()
