"""Finds what is installed in an image: PyTorch, NVIDIA's packages, and libraries of the driver.

Paths have no leading slash. PyTorch writes ``torch/version.py`` in tools/generate_torch_version.py
(https://github.com/pytorch/pytorch/blob/main/tools/generate_torch_version.py). The files of a package are described in
https://packaging.python.org/en/latest/specifications/recording-installed-packages/.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

PACKAGE_DIRECTORIES: Final = ("site-packages", "dist-packages")
PACKAGES: Final = (
    "torch-",
    "nvidia_",
    "triton-",
    "torchvision-",
    "torchaudio-",
    "vllm-",
    "sglang-",
    "flash_attn-",
)
"""Beginnings of the names of the ``.dist-info`` directories that matter."""
MAX_LINKS: Final = 8
"""How many symbolic links in one path are followed."""
MAX_COPIES: Final = 32
"""How many copies of PyTorch in one image are looked at."""
_SHOWN: Final = 60
"""How many characters of a text that is no version are shown."""
MAX_FOUND: Final = 8
"""How many places of one kind are told apart and named."""

_ASSIGNMENT: Final = re.compile(
    r"^(__version__|cuda|git_version|hip|xpu)(?:: [\w\[\]., ]{1,40})? {0,2}= {0,2}(None|'[^'\n]{0,120}'|\"[^\"\n]{0,120}\")",
    re.ASCII | re.MULTILINE,
)
_VERSION: Final = re.compile(
    r"\d{1,9}(?:\.\d{1,9}){1,5}(?:(?:a|b|rc)\d{1,9})?(?:\.(?:post|dev)\d{1,9})?(?:\+[A-Za-z0-9][A-Za-z0-9._-]{0,80})?",
    re.ASCII,
)
"""Matches a version as https://packaging.python.org/en/latest/specifications/version-specifiers/ describes it."""
_METADATA: Final = re.compile(r"^(Name|Version): {0,4}(\S{1,100})", re.MULTILINE)
_PYTHON: Final = re.compile(r"(?:^|/)python(\d\.\d{1,2})(?=/|$)", re.ASCII)
_LIBCUDA: Final = re.compile(r"libcuda\.so\.(\d{3}\.\d{1,3}(?:\.\d{1,3})?)", re.ASCII)
_CONDA: Final = re.compile(r"(?:.{0,500}/)?conda-meta/(?:pytorch|libtorch)-\d[^/]{0,200}\.json")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of an image. ``text`` is its content if that was read, ``link`` the target of a symbolic link, else None."""

    text: str | None = None
    link: str | None = None


@dataclass(frozen=True, slots=True)
class InstalledTorch:
    """A PyTorch in an image: the values of its version.py, and the directory of packages in which it is.

    ``refused`` is what stands in the place of its version and is none, with escapes, or "".
    """

    version: str | None
    cuda: str | None
    git_version: str | None
    is_cpu_build: bool | None
    python: str | None
    channel: str | None
    packages: str
    where: str
    refused: str = ""


def is_wanted(path: str) -> bool:
    """Return whether a file of an image says something about PyTorch, CUDA or the driver's libraries."""
    directory, _, name = path.rpartition("/")
    if name.startswith("libcuda.so"):
        return True
    toolkit = directory == "usr/local" or (name == "lib64" and directory.rpartition("/")[0] == "usr/local")
    return has_content(path) or (toolkit and path.startswith("usr/local/cuda"))


def has_content(path: str) -> bool:
    """Return whether the content of a wanted file is read, beside its path."""
    parts = path.rsplit("/", 3)
    if len(parts) >= 3 and parts[-3] in PACKAGE_DIRECTORIES:
        directory, name = parts[-2:]
        if (directory, name) == ("torch", "version.py"):
            return True
        return name == "METADATA" and directory.endswith(".dist-info") and directory.startswith(PACKAGES)
    return path.endswith(".json") and _CONDA.fullmatch(path) is not None


def torch_of(files: Mapping[str, FoundFile], path: str, conflicts: list[str]) -> InstalledTorch | None:
    """Return the PyTorch that the image's Python imports, or None if there is none, or if that is not known.

    Of several, it is the one whose environment comes first on ``path``, the image's PATH. If that does not decide, and
    their versions differ, a sentence is added to ``conflicts``.
    """
    copies = [name for name in sorted(files) if name.endswith("/torch/version.py")]
    found = [_torch(name, files) for name in copies[:MAX_COPIES]]
    if len({(one.version, one.cuda) for one in found}) <= 1:
        return found[0] if found else None
    for directory in path.split(":")[:64]:
        prefix = directory.strip("/").removesuffix("/bin")
        here = [one for one in found if one.packages.startswith(f"{prefix}/lib/")]
        if len({(one.version, one.cuda) for one in here}) == 1:
            return here[0]
    places = [f"{one.version or 'no version'} in /{one.packages}" for one in found[:MAX_FOUND]]
    conflicts.append(f"PyTorch: {' or '.join(places)}; PATH does not say which one is used")
    return None


def _torch(path: str, files: Mapping[str, FoundFile]) -> InstalledTorch:
    packages = path.removesuffix("/torch/version.py")
    text = files[path].text or ""
    values = {match[1]: match[2].strip("'\"") for match in _ASSIGNMENT.finditer(text)}
    known = {name: value for name, value in values.items() if value != "None"}
    python = _PYTHON.search(packages)
    other = "hip" in known or "xpu" in known
    return InstalledTorch(
        version=valid_version(known.get("__version__")),
        cuda=valid_version(known.get("cuda")),
        git_version=known.get("git_version"),
        is_cpu_build=True if "cuda" in values and ("cuda" not in known or other) else None,
        python=python[1] if python else None,
        channel=_channel(packages, files),
        packages=packages,
        where=f"/{path}",
        refused=_refused(known.get("__version__")),
    )


def valid_version(text: str | None) -> str | None:
    """Return a text of an image if the whole of it is a version, else None."""
    return text if text is not None and _VERSION.fullmatch(text) else None


def _refused(text: str | None) -> str:
    """Return a text that is no version in quotes, with escapes for what cannot be seen, or "" if it is one."""
    return "" if text is None or valid_version(text) else ascii(text[:_SHOWN])


def _channel(packages: str, files: Mapping[str, FoundFile]) -> str | None:
    """Return ``conda-forge`` if PyTorch is a package of this channel, whose builds differ from those of the project."""
    prefix = packages.rpartition("/lib/")[0]
    for path, file in files.items():
        if path.startswith(f"{prefix}/conda-meta/") and file.text is not None:
            try:
                channel = json.loads(file.text).get("channel")
            except (ValueError, AttributeError, RecursionError):
                continue
            if isinstance(channel, str) and "conda-forge" in channel:
                return "conda-forge"
    return None


def package_of(files: Mapping[str, FoundFile], packages: str, name: str) -> tuple[str | None, str]:
    """Return the version of NVIDIA's package for the same Python, such as ``nvidia-cudnn`` of any CUDA, and its file.

    The version is None if the package is not installed there, or if there are several of different versions.
    """
    wanted = name.replace("-", "_") + "_"
    found: dict[str, str] = {}
    for path, file in files.items():
        directory = path.removeprefix(f"{packages}/")
        if directory.startswith(wanted) and directory.count("/") == 1 and file.text is not None:
            metadata = dict(_METADATA.findall(file.text[:20_000]))
            if version := valid_version(metadata.get("Version")):
                found.setdefault(version, f"/{path}")
    return next(iter(found.items())) if len(found) == 1 else (None, "")


def _loader_directories(files: Mapping[str, FoundFile], library_path: str) -> Iterator[str]:
    """Yield the directories with a ``libcuda.so.1`` that the dynamic loader searches before the node's driver.

    These are those of LD_LIBRARY_PATH up to a directory where the driver may be mounted.
    """
    for directory in library_path.split(":")[:64]:
        place = directory.strip("/")
        if place.startswith("usr/local/nvidia"):
            return
        real = _resolved(place, files)
        if f"{real}/libcuda.so.1" in files:
            yield real


def compat_on_path(files: Mapping[str, FoundFile], library_path: str) -> str:
    """Return the libcuda of cuda-compat that the dynamic loader finds before the driver's library, or "".

    Its name has the version of its driver, such as ``libcuda.so.570.124.06``.
    """
    real = next(_loader_directories(files, library_path), "")
    if "compat" not in real.split("/")[-2:]:
        return ""
    versions = [
        name
        for name in files
        if name.rpartition("/")[0] == real and _LIBCUDA.fullmatch(name[len(real) + 1 :])
    ]
    return f"/{max(versions, default=f'{real}/libcuda.so.1')}"


def stub_on_path(files: Mapping[str, FoundFile], library_path: str) -> str:
    """Return the stub of libcuda that the dynamic loader finds before the driver's library, or "".

    The toolkit's stub is for linking. It is found if its directory, which has to contain ``libcuda.so.1``, stands on
    LD_LIBRARY_PATH before a directory where the node's driver may be mounted.
    """
    for real in _loader_directories(files, library_path):
        if real.rpartition("/")[2] == "stubs":
            return f"/{real}/libcuda.so.1"
    return ""


def _resolved(directory: str, files: Mapping[str, FoundFile]) -> str:
    """Return a directory with the symbolic links in it replaced by their targets, as far as these links are known."""
    waiting = [part for part in reversed(directory.split("/")) if part]
    done: list[str] = []
    followed = 0
    while waiting and followed < MAX_LINKS:
        part = waiting.pop()
        if part in (".", ".."):
            done = done[:-1] if part == ".." else done
            continue
        file = files.get("/".join((*done, part)))
        if file is None or file.link is None:
            done.append(part)
            continue
        followed += 1
        done = [] if file.link.startswith("/") else done
        waiting += [one for one in reversed(file.link.split("/")[:64]) if one]
    return "/".join(done)


def compat_drivers(files: Mapping[str, FoundFile]) -> Iterator[tuple[str, str]]:
    """Yield the version of each driver whose libraries are in a cuda-compat directory, and the directory."""
    seen: set[str] = set()
    for path in sorted(files):
        directory, _, name = path.rpartition("/")
        match = _LIBCUDA.fullmatch(name)
        if (
            match
            and directory.rpartition("/")[2] == "compat"
            and match[1] not in seen
            and len(seen) < MAX_FOUND
        ):
            seen.add(match[1])
            yield match[1], f"/{directory}"


def stray_libcudas(files: Mapping[str, FoundFile]) -> Iterator[str]:
    """Yield the paths of libraries of a driver that are neither cuda-compat nor stubs: they belong to the node."""
    found = []
    for path in sorted(files):
        directory, _, name = path.rpartition("/")
        inside = directory.rpartition("/")[2]
        if (
            _LIBCUDA.fullmatch(name)
            and inside not in ("compat", "stubs", "lib.real")
            and files[path].link is None
        ):
            found.append(f"/{path}")
    yield from found[:MAX_FOUND]
