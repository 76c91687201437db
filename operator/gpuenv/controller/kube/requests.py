"""What a request to the API server consists of: media types, path and query, credentials."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""The form of a list that leaves out everything except the metadata of its objects."""


class Types(NamedTuple):
    """The media types of a request's body and of the response."""

    sent: str = JSON
    accepted: str = JSON


AS_JSON: Final = Types()


class Request(NamedTuple):
    """A request. ``write``: it changes something, so that rate limit and permit apply to it."""

    method: str
    path: str
    body: Any
    types: Types
    write: bool

    @property
    def where(self) -> str:
        """Return the name of the request in the texts of errors."""
        return f"{self.method} {self.path.partition('?')[0]}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The address of the API server and the credentials for it, in the form that Kopf's client needs."""

    server: str
    scheme: str | None
    token: str | None
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    insecure: bool
    proxy: str | None


def is_list(page: Mapping[str, Any]) -> bool:
    """Return whether a response is a list of API objects. Each of them has at least a name."""
    items = page.get("items")
    return isinstance(page.get("metadata"), dict) and isinstance(items, list) and all(map(_is_object, items))


def _is_object(one: Any) -> bool:
    metadata = one.get("metadata") if isinstance(one, dict) else None
    return isinstance(metadata, dict) and "name" in metadata


def with_query(path: str, params: Mapping[str, str] | None) -> str:
    """Return a path with parameters after it, if there are any."""
    return f"{path}?{urlencode(params)}" if params else path
