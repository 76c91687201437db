"""Reads images from OCI layouts (directories) and from archives of ``docker save``, ``podman save`` and ``skopeo copy``.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import gzip
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Final, Protocol

from gpuenv.api.foreign_text import one_line
from gpuenv.cli.inspect.documents import (
    Descriptor,
    Manifest,
    descriptor,
    find_manifest,
    parse_document,
    require_digest,
)
from gpuenv.cli.inspect.limits import MAX_DOCUMENT, MAX_LAYERS, Budget, ImageError
from gpuenv.cli.inspect.streams import Readable
from gpuenv.cli.inspect.tar import clean_path, entries

_GZIP: Final = b"\x1f\x8b"
_MAX_FILES: Final = 100_000
"""How many files an archive of an image may have. Each layer is one, or three in an old archive."""


class Files(Protocol):
    """Named files: those of a directory, or of an archive."""

    def open(self, name: str) -> AbstractContextManager[Readable]:
        """Open a file. Raises ImageError if it does not exist, or is no regular file."""
        ...


class Directory:
    """The files of a directory. Links in it are not followed, because they may lead out of it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, name: str) -> IO[bytes]:
        """Open a file below the directory. Raises ImageError if it cannot be read."""
        try:
            handle = os.open(self._root / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError as error:
            raise ImageError(f"{name} cannot be read ({error.strerror})") from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise ImageError(f"{name} is no regular file")
        return os.fdopen(handle, "rb")


class Archive:
    """The files of a tar archive, which may be compressed with gzip."""

    def __init__(self, file: IO[bytes], budget: Budget) -> None:
        first = file.read(len(_GZIP))
        file.seek(0)
        opened = gzip.GzipFile(fileobj=file, mode="rb") if first == _GZIP else file
        self._file = _Counted(opened, budget)
        self._places: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        for entry in entries(self._file, budget):
            member = entry.member
            if member.isreg():
                self._places[entry.path] = (entry.offset, member.size)
            elif member.issym() or member.islnk():
                self._links[entry.path] = _target(entry.path, member.linkname, symbolic=member.issym())
            if len(self._places) + len(self._links) > _MAX_FILES:
                raise ImageError(
                    "it has too many files for the archive of an image; is it that of a file system?"
                )

    def has(self, name: str) -> bool:
        """Return whether the archive has a file of this name."""
        return name in self._places or name in self._links

    def open(self, name: str) -> AbstractContextManager[Readable]:
        """Return a file of the archive. Only one of them can be read at a time. Raises ImageError if it does not exist."""
        place = self._places.get(name) or self._places.get(self._links.get(name, ""))
        if place is None:
            raise ImageError(
                f"it has no file {one_line(name, 200)}; is it the archive of an image (docker save)?"
            )
        return _Part(self._file, *place)


class _Counted:
    """A seekable file whose bytes are counted when they are read."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, budget: Budget) -> None:
        self._file = file
        self._budget = budget

    def seek(self, to: int) -> None:
        """Go to a position. In a compressed archive, everything before it is read again."""
        with _readable():
            self._file.seek(to)

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most ``size``. Raises ImageError if they cannot be read."""
        with _readable():
            data = self._file.read(size)
        self._budget.uncompressed(len(data))
        return data


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error):
        raise ImageError("it is damaged or ends too early; save it anew") from None


class _Part:
    """A part of a seekable file, as a file of its own."""

    def __init__(self, file: _Counted, offset: int, size: int) -> None:
        self._file = file
        self._left = size
        file.seek(offset)

    def __enter__(self) -> "_Part":
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the file open for the other parts."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes of the part, at most ``size``."""
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data


class LayoutSource:
    """An image in an OCI layout, or in an archive with one."""

    def __init__(self, files: Files) -> None:
        self._files = files
        index = _document(files, "index.json")
        self.manifest: Manifest = find_manifest(index, self._blob)

    def config(self) -> dict[str, Any]:
        """Return the configuration of the image."""
        return _config(self._blob(self.manifest.config), self.manifest.config.digest)

    def layers(self) -> Iterator[tuple[Descriptor, int | None]]:
        """Yield the layers, the lowest first, with their sizes."""
        for layer in self.manifest.layers:
            yield layer, layer.size

    @contextmanager
    def open(self, layer: Descriptor) -> Iterator[Readable]:
        """Open a layer as it is stored."""
        with self._files.open(_blob_name(layer.digest)) as file:
            yield file

    def _blob(self, wanted: Descriptor) -> bytes:
        return _small(self._files, _blob_name(wanted.digest))


class DockerSource:
    """An image in an archive of ``docker save`` before Docker 25, which names its parts in ``manifest.json``."""

    def __init__(self, files: Files, listed: Mapping[str, Any]) -> None:
        self._files = files
        names = listed.get("Layers")
        config = listed.get("Config")
        if not isinstance(config, str) or not isinstance(names, list) or len(names) > MAX_LAYERS:
            raise ImageError("its manifest.json names no configuration or no layers; save the image anew")
        self._names = [clean_path(name) for name in names if isinstance(name, str)]
        self._config = parse_document(_small(files, clean_path(config)), "its configuration")
        rootfs = self._config.get("rootfs")
        digests = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        if not isinstance(digests, list) or len(digests) != len(self._names):
            raise ImageError(
                "its configuration and its manifest.json name different layers; save the image anew"
            )
        self._by_digest = {
            descriptor({"digest": digest, "size": 0}, "a layer").digest: name
            for digest, name in zip(digests, self._names, strict=True)
        }
        self._digests = digests
        self.manifest = Manifest(Descriptor("", 0), (), (), "")

    def config(self) -> dict[str, Any]:
        """Return the configuration of the image."""
        return self._config

    def layers(self) -> Iterator[tuple[Descriptor, int | None]]:
        """Yield the layers, the lowest first. Their sizes are not named."""
        for digest in self._digests:
            yield Descriptor(digest, 0), None

    @contextmanager
    def open(self, layer: Descriptor) -> Iterator[Readable]:
        """Open a layer as it is stored, which is without compression."""
        with self._files.open(self._by_digest[layer.digest]) as file:
            yield file


def open_archive(file: IO[bytes], budget: Budget) -> LayoutSource | DockerSource:
    """Return the image in an archive. Raises ImageError if there is none, or more than one."""
    archive = Archive(file, budget)
    if archive.has("index.json"):  # Docker before 25 writes manifest.json only, later ones write both
        return LayoutSource(archive)
    data = _small(archive, "manifest.json")
    listed = parse_document(b'{"images":' + data + b"}", "its manifest.json")["images"]
    if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], dict):
        raise ImageError("its manifest.json does not name exactly one image; save one image")
    return DockerSource(archive, listed[0])


def _document(files: Files, name: str) -> dict[str, Any]:
    return parse_document(_small(files, name), name)


def _config(data: bytes, digest: str) -> dict[str, Any]:
    require_digest(data, digest, "its configuration")
    return parse_document(data, "its configuration")


def _small(files: Files, name: str) -> bytes:
    data = b""
    with files.open(name) as file:
        while len(data) <= MAX_DOCUMENT and (more := file.read(MAX_DOCUMENT + 1 - len(data))):
            data += more
    if len(data) > MAX_DOCUMENT:
        raise ImageError(f"{one_line(name, 200)} is larger than {MAX_DOCUMENT >> 20} MiB")
    return data


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/', 1)}"


def _target(path: str, link: str, *, symbolic: bool) -> str:
    """Return the path that a link in an archive means. Raises ImageError if it leads out of the archive."""
    parts = path.split("/")[:-1] if symbolic else []
    for part in link.split("/")[:512]:
        if part == "..":
            if not parts:
                raise ImageError("an archive has a link that leaves it (..)")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
