"""A minimal Kubernetes client for the sandbox and the tests: blocking, standard library only.

It acts as the cluster's administrator. The operator has an asynchronous client of its own.
"""

import json
import ssl
from http.client import HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

TIMEOUT_SECONDS: Final = 60.0
MERGE_PATCH: Final = "application/merge-patch+json"


class ApiError(Exception):
    """The API server responded with an HTTP status of 400 or more, which is in ``status``."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status: Final = status
        self.message: Final = message


class ApiUnreachableError(Exception):
    """The API server cannot be reached, or the connection broke before it responded."""


class RestClient:
    """Sends requests to one API server.

    The methods take paths of the Kubernetes API, such as ``/api/v1/nodes``. They are thread-safe.
    """

    def __init__(self, server: str, context: ssl.SSLContext) -> None:
        parts = urlsplit(server)
        self._host, self._port, self._context = parts.hostname or "", parts.port, context

    def get(self, path: str) -> Any:
        return self.request("GET", path)

    def create(self, path: str, body: dict[str, Any]) -> Any:
        return self.request("POST", path, body)

    def merge(self, path: str, body: dict[str, Any]) -> Any:
        """Apply the JSON merge patch ``body`` (RFC 7386, null deletes a key) and return the changed object."""
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
        """Send one request and return the decoded JSON of the response, or its text if it is not JSON.

        Raises ApiError for an HTTP status of 400 or more, and ApiUnreachableError if there is no response.
        """
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
