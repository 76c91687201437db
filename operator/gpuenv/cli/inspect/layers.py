"""Applies the layers of an image to each other and keeps the files that say something about PyTorch and CUDA.

https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

from dataclasses import dataclass, field
from typing import Final

from gpuenv.assess.sources.images.installed import FoundFile, has_content, is_wanted
from gpuenv.cli.inspect.limits import MAX_FILE, MAX_PATH, Budget, ImageError
from gpuenv.cli.inspect.streams import Readable
from gpuenv.cli.inspect.tar import Entry, clean_path, entries

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"


@dataclass(slots=True)
class _Directory:
    """A directory with the wanted files in it and below. ``file`` is set if the path is itself a wanted file."""

    file: FoundFile | None = None
    inside: "dict[str, _Directory]" = field(default_factory=dict)


class Tree:
    """The wanted files of the layers that were applied so far."""

    def __init__(self, budget: Budget) -> None:
        self._root = _Directory()
        self._budget = budget

    def apply(self, layer: Readable) -> None:
        """Apply one layer. Its whiteouts hide files of lower layers only, wherever they stand in the layer."""
        added: dict[str, FoundFile] = {}
        hidden: set[tuple[str, bool]] = set()
        for entry in entries(layer, self._budget):
            if entry.member.islnk():
                clean_path(entry.member.linkname)  # refuses those that leave the image, wanted or not
            directory, _, name = entry.path.rpartition("/")
            if name == _OPAQUE:
                self._hide(hidden, directory, only_inside=True)
            elif name.startswith(_WHITEOUT):
                self._hide(hidden, f"{directory}/{name[len(_WHITEOUT) :]}".lstrip("/"), only_inside=False)
            else:
                if not entry.member.isdir():
                    self._hide(hidden, entry.path, only_inside=False)
                if is_wanted(entry.path) and not entry.member.isdir():
                    self._budget.kept()
                    added[entry.path] = self._file(entry, added)
        for path, only_inside in hidden:
            self._remove(path, only_inside=only_inside)
        for path, file in added.items():
            self.add(path, file)

    def add(self, path: str, file: FoundFile) -> None:
        """Add a wanted file, or replace it."""
        at = self._root
        for part in path.split("/"):
            at = at.inside.setdefault(part, _Directory())
        at.file = file

    def files(self) -> dict[str, FoundFile]:
        """Return the wanted files by their path."""
        found: dict[str, FoundFile] = {}
        waiting = [("", self._root)]
        while waiting:
            path, at = waiting.pop()
            if at.file is not None:
                found[path] = at.file
            waiting += [(f"{path}/{name}".lstrip("/"), inside) for name, inside in at.inside.items()]
        return found

    def _file(self, entry: Entry, added: dict[str, FoundFile]) -> FoundFile:
        member = entry.member
        if member.issym():
            if len(member.linkname) > MAX_PATH:
                raise ImageError(f"an archive has a link of more than {MAX_PATH} characters")
            return FoundFile(link=member.linkname)
        if member.islnk():
            target = clean_path(member.linkname)
            at = self._find(target)
            return added.get(target) or (at.file if at is not None and at.file else FoundFile())
        if not member.isreg():
            raise ImageError(f"an archive has a device or pipe in the place of a file ({entry.path[:100]})")
        if not has_content(entry.path):
            return FoundFile()
        return FoundFile(text=entry.content(MAX_FILE).decode("utf-8", "replace"))

    def _find(self, path: str) -> _Directory | None:
        at: _Directory | None = self._root
        for part in path.split("/"):
            at = at.inside.get(part) if at is not None else None
        return at

    def _hide(self, hidden: set[tuple[str, bool]], path: str, *, only_inside: bool) -> None:
        """Record a path to be hidden, if a lower layer has something wanted there. So the set stays small."""
        if self._find(path) is not None or not path:
            hidden.add((path, only_inside))

    def _remove(self, path: str, *, only_inside: bool) -> None:
        if not path:
            self._root.inside.clear()
            return
        parent, _, name = path.rpartition("/")
        at = self._find(parent) if parent else self._root
        found = at.inside.get(name) if at is not None else None
        if at is None or found is None:
            return
        if only_inside:
            found.inside.clear()
        else:
            del at.inside[name]
