"""Says which releases of torchvision and torchaudio go with a release of PyTorch.

Source: the table of https://github.com/pytorch/vision#installation, and https://pytorch.org/audio/stable/installation.html.
"""

from typing import Final

from gpuenv.knowledge.versions import Version, parse_version

COMPANIONS: Final = ("torchvision", "torchaudio")
_TORCHVISION_OF: Final = {1: 1, 2: 15}
"""How much larger the second number of torchvision's release is, by the first number of PyTorch's: 2.9 goes with 0.24."""


def release_of(companion: str, torch: str) -> str:
    """Return the release of a companion that goes with a version of PyTorch, such as ``0.24`` for 2.9.1, or ""."""
    version = parse_version(torch)
    if version is None or version[0] not in _TORCHVISION_OF:
        return ""
    major, minor = version[0], version[1] if len(version) > 1 else 0
    if companion == "torchaudio":
        return f"{major}.{minor}" if major > 1 else f"0.{minor}"
    return f"0.{minor + _TORCHVISION_OF[major]}"


def goes_with(companion: str, version: str, torch: str) -> bool:
    """Return whether a companion is of the release that goes with PyTorch, or that is not known."""
    wanted = parse_version(release_of(companion, torch))
    found: Version | None = parse_version(version)
    return wanted is None or found is None or found[:2] == wanted[:2]
