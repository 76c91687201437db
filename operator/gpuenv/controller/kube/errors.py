"""The errors of requests to the API server, and how they are read from its responses."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from gpuenv.api import json_text
from gpuenv.api.foreign_text import one_line

UNREACHABLE: Final = "Unreachable"
"""The ``reason`` of an ApiError with status 0: there was no connection, so the request was not sent."""
UNANSWERED: Final = "Unanswered"
"""The ``reason`` of an ApiError with status 0: the request was sent, but the connection ended before the response."""
TIMED_OUT: Final = "Timeout"
"""The ``reason`` of a request that took too long: that of the API server (status 504), and that of this client (0)."""
NOT_JSON: Final = "NotJSON"
"""The ``reason`` of an ApiError with status 0 for an answer that the API server cannot have given.

It is no JSON, or not the JSON of an API object. Load balancers and proxies answer like this, with a page of their own.
"""
TRANSIENT: Final = frozenset({0, 408, 429, 500, 502, 503, 504})
"""Status codes after which the same request may succeed later. 0 means that the API server did not respond."""

MESSAGE_CHARACTERS: Final = 4000
"""How many characters of an API server's message are read. Webhooks and policies write it, too."""
SHOWN_CHARACTERS: Final = 120
"""How many characters of an answer that is not the API server's are quoted."""

_DENIED: Final = re.compile(
    r'(\S+ )?("[^"]*" is |is )?forbidden: User "[^"]*" cannot [a-z]+ (resource|path) "'
)
"""How the message of an authorizer begins, such as RBAC's. Policies, quotas and webhooks begin with other words.

https://github.com/kubernetes/kubernetes/blob/v1.36.0/staging/src/k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go
"""
_NO_SUCH_KIND: Final = "404 page not found"
"""What an API server says, in plain text, about a path under which it serves no kind of object."""
_PLAIN_TEXT_STATUSES: Final = frozenset({401, 429})
"""Status codes below 500 for which the API server, or a proxy that asks for credentials, may answer in plain text."""


class ApiError(Exception):
    """The API server refused a request, or did not respond (status 0).

    ``reason`` is that of Kubernetes' Status object (``NotFound``, ``AlreadyExists`` ...). ``retry_after``
    is the pause in seconds that the server asked for, or None. ``where`` names the request in the error's text.
    """

    def __init__(
        self, status: int, reason: str, message: str, retry_after: float | None = None, *, where: str = ""
    ) -> None:
        text = f"{where}: {message}" if where else message
        super().__init__(f"{status} {reason}: {text}" if status else f"{reason}: {text}")
        self.status: Final = status
        self.reason: Final = reason
        self.message: Final = message
        self.retry_after: Final = retry_after

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later, without any change."""
        return self.status in TRANSIENT

    @property
    def by_webhook(self) -> bool:
        """Whether an admission webhook has denied the request. It may choose any status, also that of an overload.

        https://github.com/kubernetes/kubernetes/blob/v1.36.0/staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook/errors/statuserror.go
        """
        return self.message.startswith("admission webhook ") and " denied the request" in self.message

    @property
    def denied(self) -> bool:
        """Whether an authorizer such as RBAC denied the request to this client, whatever the request contains.

        Either a permission is missing, or the API server has just started: then it denies everything for a second or
        two. A policy, a quota or a webhook that refuses the object itself does not count.
        """
        return self.status == 403 and _DENIED.match(self.message) is not None

    @property
    def is_ambiguous(self) -> bool:
        """Whether the API server may have carried out the request, or may still do so, although it failed."""
        return (self.status == 0 and self.reason != UNREACHABLE) or self.status == 408 or self.status >= 500


class NotNowError(ApiError):
    """A request was not sent: the time of its plan is over, or the operator does not hold the Lease."""

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(0, "NotNow", message, where=where)

    @property
    def is_ambiguous(self) -> bool:
        """Return False: the request was not sent."""
        return False


def words_of(error: BaseException) -> str:
    """Return the message of an error in one line, or the name of its type if it has no message."""
    return one_line(str(error)) or type(error).__name__


def decode(data: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object of a response. ``where`` names the request in the error's text.

    Raises ApiError, with status 0, if the response is anything else. It cannot be the API server's own then.
    """
    answer = _json(data)
    if isinstance(answer, dict):
        return answer
    raise not_json(data, where)


def not_json(answer: object, where: str) -> ApiError:
    """Return the error for an answer that is not what the API server answers to such a request."""
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer)
    words = f"the answer is not the API server's: {one_line(text, SHOWN_CHARACTERS)!r}"
    return ApiError(0, NOT_JSON, words, where=where)


def error_of(status: int, data: bytes, headers: Mapping[str, str], where: str) -> ApiError:
    """Return the error that a response with an error status stands for. ``where`` names the request.

    The API server explains its errors with a JSON object. An error below 500 without one comes from something in
    between, so it says nothing about the request's object, and counts as an outage.
    """
    answer = _json(data)
    if isinstance(answer, dict):
        fields: dict[str, Any] = answer
    else:
        text = data.decode(errors="replace").strip()
        if status < 500 and status not in _PLAIN_TEXT_STATUSES and text != _NO_SUCH_KIND:
            return not_json(f"{status} {text}", where)
        fields = {"message": text[:500]}
    reason = one_line(str(fields.get("reason") or f"HTTP{status}"), MESSAGE_CHARACTERS)
    message = one_line(str(fields.get("message") or ""), MESSAGE_CHARACTERS)
    details = fields.get("details")
    seconds = headers.get("Retry-After")
    if seconds is None and isinstance(details, dict):
        seconds = details.get("retryAfterSeconds")
    return ApiError(status, reason, message, _seconds(seconds), where=where)


def _json(data: bytes) -> Any:
    """Return the JSON value of a response, or None if it has none."""
    try:
        return json_text.decode(data)
    except (ValueError, RecursionError):
        return None


def _seconds(value: object) -> float | None:
    """Return a number of seconds that a response contains, or None if it is no usable number."""
    try:
        seconds = float(str(value))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
