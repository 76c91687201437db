"""The version text of a PyTorch build (``2.9.1+cu128``), taken apart in one place."""

import re
from dataclasses import dataclass
from functools import lru_cache

from gpuenv.knowledge.versions import Version, parse_version

_CUDA = re.compile(r"cu(\d{2})(\d{1,2})\b")
_COMMIT_DIGITS = 7


@dataclass(frozen=True, slots=True)
class BuildName:
    """What a version text says about a build.

    ``text`` is the text as given, or "" if none was. ``release`` has at least major and minor number: "2" names no
    release. ``local`` is the local version label in lower case (``cu128``, ``cpu``, ``145a3a7bda.nv25.10``), or ""
    without one. ``cuda`` is the CUDA version in that label: ``cu128`` is 12.8, ``cu111`` is 11.1.
    """

    text: str
    release: Version | None
    local: str
    cuda: Version | None

    @property
    def is_plain(self) -> bool:
        """Whether the text is nothing but a release number, as of PyPI's default build."""
        return bool(self.text) and _is_number(self.text)

    @property
    def is_release(self) -> bool:
        """Whether the PyTorch project released the build: it is no nightly, source or vendor build."""
        head = self.text.partition("+")[0]
        if not head or not _is_number(head) or "." in self.local:
            return False
        return not self.local or self.is_cuda_wheel

    @property
    def is_cuda_wheel(self) -> bool:
        """Whether the label is that of the project's CUDA wheels (``cu128``)."""
        return self.local.startswith("cu")

    @property
    def is_without_cuda(self) -> bool:
        """Whether the label is that of a build without CUDA (``cpu``, ``rocm6.4``, ``xpu``)."""
        return self.local.startswith(("cpu", "rocm", "xpu"))

    @property
    def is_commit(self) -> bool:
        """Whether the label is seven digits of a commit and nothing else, as in NVIDIA's older containers."""
        return len(self.local) == _COMMIT_DIGITS and all(char in "0123456789abcdef" for char in self.local)

    def marked(self, mark: str) -> Version | None:
        """Return the number that follows a vendor's mark in the label: 25.10 for ``.nv`` in ``145a3a7bda.nv25.10``."""
        _, found, number = self.local.rpartition(mark)
        return parse_version(number) if found else None


@lru_cache(maxsize=4096)
def parse_build_name(text: str | None) -> BuildName:
    """Return the parts of a version text. A build whose version is not known has an empty name."""
    given = text or ""
    local = given.partition("+")[2].lower()
    release = parse_version(given)
    cuda = _CUDA.search(local)
    return BuildName(
        text=given,
        release=release if release is not None and len(release) > 1 else None,
        local=local,
        cuda=(int(cuda[1]), int(cuda[2])) if cuda else None,
    )


def _is_number(text: str) -> bool:
    return all(char.isdigit() or char == "." for char in text)
