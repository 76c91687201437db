"""Looks for the wanted files of an unpacked image: a directory that is its root. Links are never followed."""

import os
import stat
from pathlib import Path

from gpuenv.assess.sources.images.installed import FoundFile, has_content, is_wanted
from gpuenv.cli.inspect.limits import MAX_DEPTH, MAX_FILE, Budget, ImageError


def read_directory(root: Path, budget: Budget) -> dict[str, FoundFile]:
    """Return the wanted files below a directory by their path. Parts that may not be read are left out.

    Raises ImageError if the directory itself cannot be read, or if it exceeds a limit.
    """
    found: dict[str, FoundFile] = {}
    waiting = [("", 0)]
    while waiting:
        inside, depth = waiting.pop()
        try:
            with os.scandir(root / inside) as entries:
                for entry in entries:
                    budget.entry()
                    path = f"{inside}/{entry.name}".lstrip("/")
                    if entry.is_dir(follow_symlinks=False):
                        if depth < MAX_DEPTH and path not in ("proc", "sys", "dev"):
                            waiting.append((path, depth + 1))
                    elif is_wanted(path):
                        budget.kept()
                        file = _file(root / path, path, entry.is_symlink())
                        if file is not None:
                            found[path] = file
        except OSError as error:
            if not inside:
                raise ImageError(f"{root} cannot be read ({error.strerror})") from None
    return found


def _file(real: Path, path: str, is_link: bool) -> FoundFile | None:
    """Return a wanted file, or None if it cannot be read or is no regular file."""
    try:
        if is_link:
            return FoundFile(link=os.readlink(real))  # noqa: PTH115  Path.readlink normalises
        if not stat.S_ISREG(real.lstat().st_mode):
            return None
        if not has_content(path):
            return FoundFile()
        handle = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as file:
            return FoundFile(text=file.read(MAX_FILE).decode("utf-8", "replace"))
    except OSError:
        return None
