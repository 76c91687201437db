"""Finds out where an image is, and reads it: configuration and wanted files, of all layers."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Final, Protocol

from gpuenv.assess.sources.images.contents import ImageFiles
from gpuenv.assess.sources.images.reference import parse_reference
from gpuenv.cli.inspect.directory import read_directory
from gpuenv.cli.inspect.documents import Descriptor, Manifest
from gpuenv.cli.inspect.layers import Tree
from gpuenv.cli.inspect.layouts import Directory, LayoutSource, open_archive
from gpuenv.cli.inspect.limits import Budget, ImageError
from gpuenv.cli.inspect.streams import Checked, Readable, decompressed

LAYOUT, ARCHIVE, DIRECTORY, REGISTRY = "oci:", ("docker-archive:", "oci-archive:"), "dir:", "docker://"
_PATHS: Final = ("/", "./", "../")


class Source(Protocol):
    """An image somewhere: its manifest, its configuration and its layers."""

    manifest: Manifest

    def config(self) -> dict[str, Any]:
        """Return the configuration."""
        ...

    def layers(self) -> Iterator[tuple[Descriptor, int | None]]:
        """Yield the layers, the lowest first, and their sizes if they are known."""
        ...

    def open(self, layer: Descriptor) -> AbstractContextManager[Readable]:
        """Open a layer as it is stored."""
        ...


Progress = Callable[[str], None]
"""A function that shows a line about what is being read."""


def read_image(text: str, progress: Progress) -> ImageFiles:
    """Return the configuration and the wanted files of an image.

    ``text`` is a reference, or a place as skopeo writes it: ``oci:DIR``, ``docker-archive:FILE``, ``oci-archive:FILE``, or
    ``dir:PATH`` for an unpacked image. Paths that begin with a slash or a dot need no prefix. Raises ImageError.
    """
    budget = Budget()
    if "\0" in text:
        raise ImageError("is no path of a file")
    if text.startswith(LAYOUT):
        return _layers(LayoutSource(Directory(Path(text.removeprefix(LAYOUT)))), budget, progress)
    for prefix in ARCHIVE:
        if text.startswith(prefix):
            return _archive(Path(text.removeprefix(prefix)), budget, progress)
    if text.startswith(DIRECTORY):
        return ImageFiles(read_directory(Path(text.removeprefix(DIRECTORY)), budget))
    if text.startswith(_PATHS):
        return _path(Path(text), budget, progress)
    return _registry(text.removeprefix(REGISTRY), budget, progress)


def _path(path: Path, budget: Budget, progress: Progress) -> ImageFiles:
    if path.is_file():
        return _archive(path, budget, progress)
    if (path / "oci-layout").is_file():
        return _layers(LayoutSource(Directory(path)), budget, progress)
    if path.is_dir():
        return ImageFiles(read_directory(path, budget))
    raise ImageError("is neither a directory nor an archive; write oci:DIR, docker-archive:FILE or dir:PATH")


def _archive(path: Path, budget: Budget, progress: Progress) -> ImageFiles:
    with _opened(path) as file:
        return _layers(open_archive(file, budget), budget, progress)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror})") from None
    with file:
        if not path.is_file():
            raise ImageError("is no regular file")
        yield file


def _registry(text: str, budget: Budget, progress: Progress) -> ImageFiles:
    from gpuenv.cli.inspect.registry import RegistrySource  # noqa: PLC0415 - the network is only needed here

    reference = parse_reference(text)
    if reference is None:
        raise ImageError("is no image; write registry/name:tag, oci:DIR, docker-archive:FILE or dir:PATH")
    return _layers(RegistrySource(reference, budget), budget, progress)


def _layers(source: Source, budget: Budget, progress: Progress) -> ImageFiles:
    config = source.config()
    tree = Tree(budget)
    layers = list(source.layers())
    for number, (layer, size) in enumerate(layers, 1):
        progress(f"layer {number} of {len(layers)}" + (f", {size / 1e6:,.1f} MB" if size else ""))
        with source.open(layer) as file:
            stored = Checked(file, layer.digest, size, budget)
            tree.apply(decompressed(stored, budget))
            stored.finish()
    return ImageFiles(tree.files(), config, source.manifest.platforms, source.manifest.read)
