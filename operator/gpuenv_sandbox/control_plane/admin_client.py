"""A minimal Kubernetes client for the sandbox and the tests: blocking, standard library only.

The operator has its own asynchronous client. This one is for the cluster's administrator.
"""

import json
import ssl
from http.client import HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

TIMEOUT_SECONDS: Final = 60.0
MERGE_PATCH: Final = "application/merge-patch+json"


class ApiError(Exception):
    """The API server answered with an error. ``status`` is the HTTP code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status: Final = status
        self.message: Final = message


class ApiUnreachableError(Exception):
    """No server answers at the API server's address."""


class RestClient:
    """Sends requests to one API server. Paths are those of the Kubernetes API (``/api/v1/nodes``). Thread-safe."""

    def __init__(self, server: str, context: ssl.SSLContext) -> None:
        parts = urlsplit(server)
        self._host, self._port, self._context = parts.hostname or "", parts.port, context

    def get(self, path: str) -> Any:
        return self.request("GET", path)

    def create(self, path: str, body: dict[str, Any]) -> Any:
        return self.request("POST", path, body)

    def merge(self, path: str, body: dict[str, Any]) -> Any:
        """Send a JSON merge patch (RFC 7386), where null deletes a key, and return the new object."""
        return self.request("PATCH", path, body, content_type=MERGE_PATCH)

    def delete(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self.request("DELETE", path, body)

    def request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        content_type: str = "application/json",
    ) -> Any:
        """Return the decoded answer, or its text where it is not JSON. Raises ApiError and ApiUnreachableError."""
        connection = HTTPSConnection(self._host, self._port, timeout=TIMEOUT_SECONDS, context=self._context)
        try:
            payload = None if body is None else json.dumps(body)
            headers = {"Accept": "application/json"} | ({"Content-Type": content_type} if payload else {})
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            data = response.read()
        except (OSError, HTTPException) as error:
            raise ApiUnreachableError(f"{method} {path}: {error}") from error
        finally:
            connection.close()
        answer = _decode(data)
        if response.status >= 400:
            message = answer.get("message") if isinstance(answer, dict) else str(answer)
            raise ApiError(response.status, f"{method} {path}: {message}")
        return answer


def _decode(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")
