"""Lines that people can copy to install a PyTorch build."""

from typing import Final

from gpuenv.api.remedies import Remedy
from gpuenv.knowledge import load
from gpuenv.knowledge.build_name import parse_build_name
from gpuenv.knowledge.versions import Version, parse_version

INDEX: Final = "https://download.pytorch.org/whl"
"""The package indexes of the PyTorch project, one for each CUDA version."""


def pip_line(release: str, index: str, wanted: str | None = None) -> str:
    """Return the command that installs a build: ``pip install torch==2.9.1 --index-url …/cu126``.

    ``release`` is a release series such as ``2.9``, and ``index`` is the name of the package index. If ``wanted``, the
    version that the person named, belongs to the series and was released, the command installs this version.
    """
    name = parse_build_name(wanted)
    number = (wanted or "").partition("+")[0]
    same = name.is_release and name.release is not None and name.release[:2] == parse_version(release)
    exact = same and name.release is not None and len(name.release) > 2 and _exists(name.release)
    package = f"torch=={number}" if exact else f'"torch=={release}.*"'
    return f"pip install {package} --index-url {INDEX}/{index}"


def _exists(version: Version) -> bool:
    row = load().release(version)
    return row is None or row.has(version)


def remedy_command(remedy: Remedy, wanted: str | None = None) -> str:
    """Return the command that does what a remedy says, or "" if there is no such command."""
    told = dict(remedy.parameters)
    if not told.get("pytorch") or not told.get("index"):
        return ""
    return pip_line(told["pytorch"], told["index"], wanted)
