"""The errors of requests to the API server, and how they are read from its responses."""

import json
from collections.abc import Mapping
from typing import Any, Final

from gpuenv.api.foreign_text import one_line

UNREACHABLE: Final = "Unreachable"
"""The ``reason`` of an ApiError with status 0, which means that the API server did not respond."""
TRANSIENT: Final = frozenset({0, 408, 429, 500, 502, 503, 504})
"""Status codes after which the same request may succeed later. 0 means that the API server did not respond."""

MESSAGE_CHARACTERS: Final = 4000
"""How many characters of an API server's message are read. Webhooks and policies write it, too."""


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


def words_of(error: BaseException) -> str:
    """Return the message of an error in one line, or the name of its type if it has no message."""
    return one_line(str(error)) or type(error).__name__


def decode(data: bytes) -> Any:
    """Return the JSON value of a response, or its text if it is no JSON."""
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


def error_of(status: int, data: bytes, headers: Mapping[str, str], where: str) -> ApiError:
    """Return the error that a response with an error status stands for. ``where`` names the request."""
    answer = decode(data)
    fields: dict[str, Any] = answer if isinstance(answer, dict) else {"message": str(answer).strip()[:500]}
    seconds = headers.get("Retry-After") or (fields.get("details") or {}).get("retryAfterSeconds")
    try:
        retry_after = float(seconds) if seconds is not None else None
    except ValueError:
        retry_after = None
    reason = one_line(str(fields.get("reason") or f"HTTP{status}"), MESSAGE_CHARACTERS)
    message = one_line(str(fields.get("message") or ""), MESSAGE_CHARACTERS)
    return ApiError(status, reason, message, retry_after, where=where)
