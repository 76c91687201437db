"""The typed tables. Everything is frozen; the one :class:`Knowledge` may be shared by all assessments."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from gpuenv.api.reasons import Reason
from gpuenv.knowledge.build_name import BuildName
from gpuenv.knowledge.versions import Version

ComputeCapability = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Toolkit:
    """One CUDA toolkit. ``min_driver`` decides under minor-version compatibility, ``toolkit_driver`` under the Toolkit rule."""

    cuda: Version
    toolkit_driver: Version | None
    toolkit_driver_text: str
    min_driver: Version
    min_driver_text: str
    first_release: str
    verified: bool
    source: str


@dataclass(frozen=True, slots=True)
class Branch:
    """A driver branch and the CUDA version of its driver API."""

    branch: int
    cuda: Version
    source: str


@dataclass(frozen=True, slots=True)
class Architecture:
    """A GPU generation, by compute capability."""

    cc: ComputeCapability
    name: str
    first_cuda: Version | None
    last_cuda: Version | None
    first_driver: int | None
    dropped_from_driver: int | None
    dropped_from_cudnn: Version | None
    embedded: bool
    neighbours_from_cuda: Version | None
    features: str
    source: str


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """One released build of PyTorch for one CUDA version.

    ``archs`` as ``torch.cuda.get_arch_list()`` prints them on x86_64, ``aarch64`` those of the aarch64 wheel where known.
    """

    cuda: Version
    cudnn: str | None
    nccl: str | None
    archs: tuple[str, ...]
    aarch64: tuple[str, ...]
    verified: bool
    source: str


@dataclass(frozen=True, slots=True)
class VendorBuild:
    """Builds of NVIDIA's containers from one release (25.01) on; ``mark`` is what their local version label ends in.

    ``embedded`` rows are for Jetson modules, for toolkits of the major version of ``cuda`` where that is given. ``compat`` are
    the oldest drivers, one a branch, on which the container's own cuda-compat carries it on data-centre GPUs. ``unmarked`` are
    the PyTorch releases whose containers of this series have no mark in their version.
    """

    mark: str
    since: Version
    archs: tuple[str, ...]
    source: str
    embedded: bool = False
    cuda: Version | None = None
    compat: tuple[Version, ...] = ()
    unmarked: tuple[Version, ...] = ()


@dataclass(frozen=True, slots=True)
class ChannelBuild:
    """Builds of another distributor (conda-forge) for one CUDA version."""

    channel: str
    cuda: Version
    archs: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class TorchRelease:
    """One release series of PyTorch (2.9) and its builds. ``python`` is the oldest and newest Python with wheels."""

    torch: Version
    released: str
    python: tuple[Version, Version]
    default_cuda: Version
    source: str
    builds: tuple[TorchBuild, ...]

    def build(self, cuda: Version | None) -> TorchBuild | None:
        """The build for ``cuda`` (major and minor count), if it was released."""
        if cuda is None:
            return None
        return next((build for build in self.builds if build.cuda == cuda[:2]), None)


@dataclass(frozen=True, slots=True)
class GpuModel:
    """What a product name tells.

    ``datacenter`` None: the name does not tell whether cuda-compat works on it. ``arm``: found beside aarch64 processors only.
    """

    name: str
    cc: ComputeCapability
    datacenter: bool | None
    arm: bool
    source: str


@dataclass(frozen=True, slots=True)
class Peak:
    """Published dense peaks of one product: TFLOPS by dtype, GB/s, W."""

    names: tuple[str, ...]
    tflops: Mapping[str, float]
    memory_gbps: float | None
    tdp_w: float | None
    confidence: str
    source: str


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """One known error: a number of a layer, or words of its text (all lower case), and what it means.

    ``status`` is a :class:`gpuenv.assess.model.Status` value. ``text`` alternatives match when all their parts (split at
    ``…``) occur in this order in one line, none that holds a word of ``unless``; a part that ends in ``$`` ends a word too.
    ``codes`` are numbers as the driver API and the runtime share them, ``xids`` those of the kernel driver. ``fallback``: the
    rule says that something failed, not what; it counts where no other rule explains the ``line``, or the whole ``text``.
    """

    name: str
    layer: str
    codes: tuple[int, ...]
    text: tuple[tuple[str, ...], ...]
    reason: Reason
    status: str
    meaning: str
    remediation: str
    source: str
    xids: tuple[int, ...] = ()
    unless: tuple[str, ...] = ()
    fallback: str = ""


@dataclass(frozen=True, slots=True)
class Harmless:
    """Words, lower case, of log lines that only look like failures."""

    text: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class ReasonText:
    """Documentation of one reason: cause, cure, source."""

    cause: str
    cure: str
    source: str


@dataclass(frozen=True, eq=False)
class Knowledge:
    """All tables. Look-ups are total: what is not in the tables is None, never an exception.

    One loaded set of tables equals only itself, so that what follows from it can be remembered (``lru_cache``).
    """

    toolkits: Mapping[Version, Toolkit]
    branches: tuple[Branch, ...]
    """Newest first."""
    architectures: Mapping[ComputeCapability, Architecture]
    torch: Mapping[Version, TorchRelease]
    vendors: tuple[VendorBuild, ...]
    """Newest first."""
    channels: Mapping[tuple[str, Version], ChannelBuild]
    """By distributor and CUDA version."""
    models: Mapping[str, GpuModel]
    peaks: Mapping[str, Peak]
    errors: tuple[ErrorRule, ...]
    harmless: tuple[Harmless, ...]
    cures: Mapping[str, Mapping[str, str]]
    sources: Mapping[str, str]
    reasons: Mapping[str, ReasonText]
    errors_by_code: Mapping[tuple[str, int], ErrorRule]
    errors_by_name: Mapping[str, ErrorRule]

    def toolkit(self, cuda: Version | None) -> Toolkit | None:
        """The row of a toolkit; of an unknown minor version of a known major one, the newest row of that major version."""
        if cuda is None:
            return None
        row = self.toolkits.get(cuda[:2])
        if row is None:
            same_major = [version for version in self.toolkits if version[0] == cuda[0]]
            row = self.toolkits[max(same_major)] if same_major else None
        return row

    def last_branch(self, dropped_from: int) -> int:
        """The newest known branch before the one that dropped a generation."""
        return next((row.branch for row in self.branches if row.branch < dropped_from), dropped_from - 1)

    def branch(self, driver: Version | None) -> Branch | None:
        """The branch a driver belongs to; also of Windows drivers, whose numbers lie between the branches'."""
        if not driver:
            return None
        return next((row for row in self.branches if row.branch <= driver[0]), None)

    def release(self, torch: Version | None) -> TorchRelease | None:
        """The release series of a torch version."""
        return self.torch.get(torch[:2]) if torch and len(torch) > 1 else None

    def newest_release(self) -> TorchRelease:
        """The newest PyTorch release of the tables."""
        return self.torch[max(self.torch)]

    def vendor_build(
        self, name: BuildName, cuda: Version | None = None, embedded: bool = False
    ) -> VendorBuild | None:
        """Return NVIDIA's series of containers that a build such as ``2.9.0a0+145a3a7bda.nv25.10`` belongs to.

        On a Jetson it is the series of wheels for that module. Older containers have seven digits of a commit and nothing else
        (``2.2.0a0+81ea7a4``); people's own builds say ``git``.
        """
        for row in self.vendors:
            number = name.marked(row.mark)
            other_cuda = row.cuda is not None and (cuda is None or cuda[0] != row.cuda[0])
            unmarked = name.is_commit and name.release is not None and name.release[:2] in row.unmarked
            if (
                ((number is not None and number >= row.since) or unmarked)
                and row.embedded == embedded
                and not other_cuda
            ):
                return row
        return None

    def model(self, product: str | None) -> GpuModel | None:
        """The GPU model inside a product name, label or accelerator name; the longest match wins."""
        return find_model(product, self) if product else None

    def cure(self, what: str, platform: str | None) -> str:
        """What to do for ``what`` on ``platform``, or anywhere."""
        table = self.cures.get(what, {})
        return table.get(platform or "default") or table.get("default", "")


_JOINED = ("RTX", "GTX", "GT")
_AMPERE = "RTXA"
"""vGPU names write ``RTXA6000-48Q``."""


def model_words(product: str) -> tuple[str, ...]:
    """A product name as upper-case words, its usual spellings unified (``RTX4090``, ``1080Ti``, ``A100-SXM4-40GB``)."""
    text = "".join(char if char.isalnum() else " " for char in product[:200].upper())
    words: list[str] = []
    for word in text.split():
        if word.startswith(_AMPERE) and word[len(_AMPERE) :].isdigit():
            words += ["RTX", word[3:]]
            continue
        head = next(
            (head for head in _JOINED if word.startswith(head) and word[len(head) :][:1].isdigit()), ""
        )
        rest = word[len(head) :]
        words += [head] if head else []
        if rest[:1].isdigit() and rest.endswith("TI"):
            words += [rest[:-2], "TI"]
        else:
            words.append(rest)
    return tuple(words)


@lru_cache(maxsize=4096)
def find_model(product: str, knowledge: Knowledge) -> GpuModel | None:
    """The longest model name that occurs in ``product`` as whole words."""
    words = model_words(product)[:16]
    for length in range(min(4, len(words)), 0, -1):
        for start in range(len(words) - length + 1):
            found = knowledge.models.get(" ".join(words[start : start + length]))
            if found is not None:
                return found
    return None
