"""Parses references to container images, such as ``nvcr.io/nvidia/pytorch:25.10-py3``.

The grammar is that of https://github.com/distribution/reference/blob/main/reference.go, and the short names are Docker's:
``pytorch/pytorch`` is an image of Docker Hub, ``ubuntu`` is ``docker.io/library/ubuntu``.
"""

import re
from dataclasses import dataclass
from typing import Final

MAX_LENGTH: Final = 512
"""Longest reference in characters. A repository has at most 255, a tag 128 and a digest 71."""
DOCKER_HUB: Final = "docker.io"

_HOST: Final = re.compile(r"(?:[A-Za-z0-9.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")
_PATH: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG: Final = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A reference to an image. ``registry`` is a host with an optional port. ``tag`` and ``digest`` may be ""."""

    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def name(self) -> str:
        """The registry and the repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"


def parse_reference(text: str) -> ImageReference | None:
    """Return the parts of a reference, or None if the text is no valid reference. Without tag and digest, both are ""."""
    if len(text) > MAX_LENGTH:
        return None
    rest, at, digest = text.partition("@")
    head, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    name = f"{head}{slash}{last}"
    host, _, path = name.partition("/")
    if not path or not ("." in host or ":" in host or host == "localhost"):
        host, path = DOCKER_HUB, name
    if host in ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"):
        host = DOCKER_HUB
    if host == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    valid = (
        bool(path)
        and _HOST.fullmatch(host) is not None
        and all(_PATH.fullmatch(part) for part in path.split("/"))
        and (not colon or _TAG.fullmatch(tag) is not None)
        and (not at or _DIGEST.fullmatch(digest) is not None)
    )
    return ImageReference(host.lower(), path, tag, digest) if valid else None
