"""Parses the version text of a PyTorch build, such as ``2.9.1+cu128``."""

import re
from dataclasses import dataclass
from functools import lru_cache

from gpuenv.knowledge.versions import Version, parse_version, show

_CUDA = re.compile(r"cu(\d{2})(\d{1,2})\b")
_COMMIT_DIGITS = 7


@dataclass(frozen=True, slots=True)
class BuildName:
    """The version text of a PyTorch build, parsed into its parts.

    ``text`` is the original text, or "" if the version is not known. ``release`` is the release number with at least
    major and minor version, or None: "2" is no release. ``local`` is the local version label in lower case (``cu128``,
    ``cpu``, ``145a3a7bda.nv25.10``), or "" if there is none. ``cuda`` is the CUDA version in that label (12.8 for
    ``cu128``, 11.1 for ``cu111``), or None if the label names none.
    """

    text: str
    release: Version | None
    local: str
    cuda: Version | None

    @property
    def is_plain(self) -> bool:
        """Whether the text consists of a release number only, like the version of PyPI's default build."""
        return bool(self.text) and _is_number(self.text)

    @property
    def is_release(self) -> bool:
        """Whether the PyTorch project released the build: it is no nightly build, source build or vendor's build."""
        head = self.text.partition("+")[0]
        if not head or not _is_number(head) or "." in self.local:
            return False
        return not self.local or self.is_cuda_wheel

    @property
    def is_cuda_wheel(self) -> bool:
        """Whether the local version label is that of a CUDA wheel of the PyTorch project, such as ``cu128``."""
        return self.local.startswith("cu")

    @property
    def is_without_cuda(self) -> bool:
        """Whether the local version label is that of a build without CUDA, such as ``cpu``, ``rocm6.4`` or ``xpu``."""
        return self.local.startswith(("cpu", "rocm", "xpu"))

    @property
    def is_rocm(self) -> bool:
        """Whether the local version label is that of a build for GPUs of AMD, such as ``rocm6.4``."""
        return self.local.startswith("rocm")

    @property
    def is_commit(self) -> bool:
        """Whether the local version label is seven hexadecimal digits of a commit, as in NVIDIA's older containers."""
        return len(self.local) == _COMMIT_DIGITS and all(char in "0123456789abcdef" for char in self.local)

    def marked(self, mark: str) -> Version | None:
        """Return the version that follows ``mark`` in the local version label, or None if ``mark`` does not occur.

        ``mark`` is a vendor's sign: in ``145a3a7bda.nv25.10``, the version after ``nv`` is 25.10.
        """
        _, found, number = self.local.rpartition(mark)
        return parse_version(number) if found else None


@lru_cache(maxsize=256)
def parse_build_name(text: str | None) -> BuildName:
    """Return the parsed version text of a build. If ``text`` is None, the version counts as not known."""
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


def cuda_label(cuda: Version) -> str:
    """Return the label of a build for a CUDA version, which is also its index's name: ``cu128`` for CUDA 12.8."""
    return "cu" + show(cuda).replace(".", "")


def _is_number(text: str) -> bool:
    return all(char.isdigit() or char == "." for char in text)
