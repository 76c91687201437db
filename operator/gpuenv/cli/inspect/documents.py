"""Reads manifests, indexes and configurations of images.

https://github.com/opencontainers/image-spec/blob/main/manifest.md and its neighbours; Docker's own formats have the same
fields.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gpuenv.api.foreign_text import one_line
from gpuenv.assess.sources.images.contents import KNOWN_PLATFORMS
from gpuenv.cli.inspect.limits import MAX_DOCUMENT, MAX_LAYERS, ImageError
from gpuenv.files import FileError, json_data

MAX_INDEXES: Final = 3
"""How many indexes may lie within each other."""

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MANIFESTS: Final = 200


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to other content: its digest and its size in bytes."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The parts of one image: its configuration and its layers, the lowest first.

    ``platforms`` are those for which the image exists, and ``read`` the one that this manifest is for.
    """

    config: Descriptor
    layers: tuple[Descriptor, ...]
    platforms: tuple[str, ...]
    read: str


def parse_document(data: bytes, what: str) -> dict[str, Any]:
    """Return a JSON document. Raises ImageError if it is too large, or no JSON object."""
    if len(data) > MAX_DOCUMENT:
        raise ImageError(f"{what} is larger than {MAX_DOCUMENT >> 20} MiB")
    try:
        found = json_data.parse(data.decode("utf-8"))
    except (FileError, UnicodeDecodeError) as error:
        words = str(error) if isinstance(error, FileError) else "is no text"
        raise ImageError(f"{what} {one_line(words, 200)}") from None
    if not isinstance(found, dict):
        raise ImageError(f"{what} is no JSON object")
    return found


def require_digest(data: bytes, digest: str, what: str) -> None:
    """Raise ImageError unless the content has this digest."""
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        raise ImageError(f"{what} has other content than its digest says; pull it anew")


def find_manifest(document: Mapping[str, Any], fetch: Callable[[Descriptor], bytes]) -> Manifest:
    """Return the manifest of an image for one of our platforms.

    ``document`` is a manifest or an index, and ``fetch`` returns the content of a descriptor, whose digest is checked here.
    """
    platforms: tuple[str, ...] = ()
    read = ""
    for _ in range(MAX_INDEXES):
        if "manifests" not in document:
            return _manifest(document, platforms, read)
        choices = [_choice(one) for one in _listed(document, "manifests")[:_MANIFESTS]]
        platforms = platforms or tuple(dict.fromkeys(name for name, _ in choices if name))
        found, name = _best(choices)
        read = name or read
        data = fetch(found)
        require_digest(data, found.digest, "a manifest")
        document = parse_document(data, "a manifest")
    raise ImageError("its index names indexes that name indexes; name one of its images by its digest")


def descriptor(value: Any, what: str) -> Descriptor:
    """Return a descriptor. Raises ImageError if it has no valid digest or size."""
    digest = value.get("digest") if isinstance(value, dict) else None
    size = value.get("size") if isinstance(value, dict) else None
    if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
        raise ImageError(f"{what} has no SHA-256 digest")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ImageError(f"{what} has no valid size")
    return Descriptor(digest, size)


def _manifest(document: Mapping[str, Any], platforms: tuple[str, ...], read: str) -> Manifest:
    if document.get("schemaVersion") == 1 or "fsLayers" in document:
        raise ImageError(
            "its manifest has Docker's old format (schema 1); push the image again with a current Docker"
        )
    layers = _listed(document, "layers")
    if len(layers) > MAX_LAYERS:
        raise ImageError(f"it has more than {MAX_LAYERS} layers")
    for layer in layers:
        kind = layer.get("mediaType") if isinstance(layer, dict) else None
        if isinstance(kind, str) and "encrypted" in kind:
            raise ImageError("its layers are encrypted")
    config = descriptor(document.get("config"), "its configuration")
    if config.size > MAX_DOCUMENT:
        raise ImageError(f"its configuration is larger than {MAX_DOCUMENT >> 20} MiB")
    return Manifest(config, tuple(descriptor(one, "a layer") for one in layers), platforms, read)


def _listed(document: Mapping[str, Any], name: str) -> list[Any]:
    found = document.get(name)
    if not isinstance(found, list):
        raise ImageError(f"its manifest has no list named {name}; is it the image of a container?")
    return found


def _choice(entry: Any) -> tuple[str, Descriptor]:
    """Return the platform of an entry of an index, "" if it names none, and the descriptor of its manifest."""
    platform = entry.get("platform") if isinstance(entry, dict) else None
    if not isinstance(platform, dict):
        return "", descriptor(entry, "an image of its index")
    name = "/".join(str(platform.get(key, "")) for key in ("os", "architecture"))
    return one_line(name, 60), descriptor(entry, "an image of its index")


def _best(choices: list[tuple[str, Descriptor]]) -> tuple[Descriptor, str]:
    for wanted in (*KNOWN_PLATFORMS, ""):
        for name, found in choices:
            if name == wanted:
                return found, name
    names = ", ".join(dict.fromkeys(name for name, _ in choices)) or "none"
    raise ImageError(f"it exists for {names[:200]}, not for {' or '.join(KNOWN_PLATFORMS)}")
