"""The types of the tables and their rows. All are immutable, so that all assessments can share one Knowledge."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from gpuenv.api.reasons import Reason
from gpuenv.api.remedies import Action, Remedies, Remedy
from gpuenv.knowledge.build_name import BuildName
from gpuenv.knowledge.image_rows import NO_IMAGES, ImageNames
from gpuenv.knowledge.place_holders import Details
from gpuenv.knowledge.platforms import DEFAULT, Cures, Platform, PlatformCure, first_cure
from gpuenv.knowledge.product_names import LONGEST_PRODUCT, model_words
from gpuenv.knowledge.versions import Version

ComputeCapability = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Toolkit:
    """One version of the CUDA toolkit (``cuda``) and the drivers that can run programs built with it.

    ``min_driver`` is the lowest driver version that suffices by NVIDIA's minor-version compatibility, and
    ``first_release`` is the first released driver of at least that version. ``toolkit_driver`` is the driver that came
    with the toolkit; ``driverRule: Toolkit`` in a specification requires at least that driver. None means that it is
    not known. The ``_text`` fields are the same versions as text. ``verified`` True means that the row was read from
    NVIDIA's own release notes. The drivers are those for Linux; ``windows`` is the same row with those for Windows, or
    None if they are not known.
    """

    cuda: Version
    toolkit_driver: Version | None
    toolkit_driver_text: str
    min_driver: Version
    min_driver_text: str
    first_release: str
    verified: bool
    source: str
    windows: "Toolkit | None" = None


@dataclass(frozen=True, slots=True)
class Branch:
    """A driver branch, such as 580, and the CUDA version that its driver API supports.

    ``supported_until`` is the month in which NVIDIA ends the branch for data centres, such as ``June 2028``; "" means
    that the branch has ended, or that no end is published.
    """

    branch: int
    cuda: Version
    source: str
    supported_until: str = ""


@dataclass(frozen=True, slots=True)
class Architecture:
    """One compute capability (``cc``) and the GPU generation (``name``) that it belongs to.

    ``first_cuda`` and ``last_cuda`` are the first and the last toolkit that compile for it. ``first_driver`` is the
    oldest driver branch that supports it, and ``dropped_from_driver`` the first branch that no longer does.
    ``dropped_from_cudnn`` is the first cuDNN without kernels for it. ``embedded`` True means that it belongs to the GPU
    of a Jetson module. Such a GPU runs only code for its own compute capability; if the code was built with the toolkit
    ``neighbours_from_cuda`` or a newer one, it also runs code for a lower minor version. None in any of these fields
    means that there is no such version, or that the version is not known.
    """

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

    ``archs`` are its targets on x86_64, as ``torch.cuda.get_arch_list()`` prints them. ``aarch64`` are the targets of
    the aarch64 wheel; empty means that they are not known or that there is no such wheel. ``windows`` False means that
    there is no wheel for Windows. ``verified`` True means that the row was read from the wheel itself.
    """

    cuda: Version
    cudnn: str | None
    nccl: str | None
    archs: tuple[str, ...]
    aarch64: tuple[str, ...]
    windows: bool
    verified: bool
    source: str


@dataclass(frozen=True, slots=True)
class VendorBuild:
    """The PyTorch builds in a series of NVIDIA's containers, such as all containers since the release 25.01.

    ``since`` is the first release of the series; the next newer row begins the next series. In the local version label
    of a build, ``mark`` stands before the container's release: ``nv`` in ``nv25.01``. ``unmarked`` are the PyTorch
    releases of which builds in this series have no mark.
    ``embedded`` True means that the row is about wheels for Jetson modules; if ``cuda`` is given, only about those for
    its CUDA major version. ``compat`` are the oldest drivers, one for each branch, with which the container's own
    cuda-compat works on data-centre GPUs.
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
    """The PyTorch builds for one CUDA version that a distributor other than the PyTorch project made, such as conda-forge."""

    channel: str
    cuda: Version
    archs: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class TorchRelease:
    """One release series of PyTorch, such as 2.9, and its builds.

    ``released`` is its date. ``python`` is the oldest and the newest Python version with wheels. ``default_cuda`` is
    the CUDA version of the build on PyPI. ``all_builds`` is the URL at which the list of all its CUDA builds was read;
    "" means that nobody has read such a list, so that other builds than ``builds`` may exist. ``patches`` are the last
    numbers of the releases in the series, 0 and 1 for 2.9.0 and 2.9.1; () means that they are not known.
    """

    torch: Version
    released: str
    python: tuple[Version, Version]
    default_cuda: Version
    source: str
    builds: tuple[TorchBuild, ...]
    all_builds: str = ""
    patches: tuple[int, ...] = ()

    @property
    def last(self) -> Version:
        """The newest release in the series; only its first two numbers if the others are not known."""
        return (*self.torch, *self.patches[-1:])

    def suits(self, python: Version) -> bool:
        """Return whether there are wheels for a version of Python. Only major and minor version count."""
        return self.python[0] <= python[:2] <= self.python[1]

    def has(self, torch: Version) -> bool:
        """Return whether a version of PyTorch was released, or may have been because the table does not say."""
        patch, *more = torch[2:] or (None,)
        return not self.patches or patch is None or (patch in self.patches and not any(more))

    def build(self, cuda: Version | None) -> TorchBuild | None:
        """Return the build for a CUDA version, or None if none was released. Only major and minor version count."""
        if cuda is None:
            return None
        return next((build for build in self.builds if build.cuda == cuda[:2]), None)


@dataclass(frozen=True, slots=True)
class GpuModel:
    """A GPU model and its properties. A product is of this model if its name contains ``name``, such as ``A100``.

    ``cc`` is the compute capability. ``datacenter`` says whether cuda-compat works on the model; None means that it
    works on some products with this name. ``arm`` True means that the model is sold only together with aarch64 CPUs.
    """

    name: str
    cc: ComputeCapability
    datacenter: bool | None
    arm: bool
    source: str


@dataclass(frozen=True, slots=True)
class Peak:
    """The published peak performance of one product: dense TFLOPS by data type, memory GB/s, and power in W.

    ``names`` are the names of the product. ``confidence`` says how reliable the source is: high, medium or low.
    """

    names: tuple[str, ...]
    tflops: Mapping[str, float]
    memory_gbps: float | None
    tdp_w: float | None
    confidence: str
    source: str


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """One known error: the numbers and texts by which it is recognised, and its meaning.

    ``layer`` is the software layer of the numbers in ``codes``; the driver API and the runtime API share the layer
    ``cuda``. ``xids`` are error numbers of NVIDIA's kernel driver. ``text`` holds alternative patterns in lower case,
    each a tuple of parts. A pattern matches a line that contains all its parts in this order and no word of ``unless``;
    if a part ends in ``$``, a word of the line must end there. ``status`` is the value of a
    :class:`gpuenv.assess.model.Status`. ``cure`` and ``action`` are the rule's own remedy; "" and None mean that the
    remedy of the reason applies.

    ``fallback`` is not "" if the rule says only that something failed. It then counts if no other rule explains the
    line (``line``), or if none explains anything in the text (``text``).

    ``meaning`` and ``cure`` may contain place-holders such as ``{module}``. ``details`` are the values that have replaced
    them; it is () in the table.
    """

    name: str
    layer: str
    codes: tuple[int, ...]
    text: tuple[tuple[str, ...], ...]
    reason: Reason
    status: str
    meaning: str
    cure: str
    action: Action | None
    source: str
    xids: tuple[int, ...] = ()
    unless: tuple[str, ...] = ()
    fallback: str = ""
    details: Details = ()

    @property
    def remedies(self) -> Remedies:
        """The rule's own remedy, or () if that of the reason applies."""
        return _remedies(self.action, self.cure)


@dataclass(frozen=True, slots=True)
class Harmless:
    """Texts, in lower case, that mark log lines which look like failures but are none."""

    text: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class ReasonText:
    """The texts about one reason: its cause, its cure, and the URL of its source.

    ``action`` says for programs what ``cure`` says for people. None means that nothing has to be done.
    """

    cause: str
    action: Action | None
    cure: str
    source: str

    @property
    def remedies(self) -> Remedies:
        """The remedy of the reason, or () if nothing has to be done."""
        return _remedies(self.action, self.cure)


def _remedies(action: Action | None, cure: str) -> Remedies:
    return (Remedy(action, cure),) if action is not None else ()


@dataclass(frozen=True, eq=False)
class Knowledge:
    """All tables. A look-up of something that is not in the tables returns None and never raises.

    Objects of this class are compared and hashed by identity. So ``lru_cache`` can be used on a function with a
    Knowledge as parameter.
    """

    toolkits: Mapping[Version, Toolkit]
    branches: tuple[Branch, ...]
    """All driver branches, the newest first."""
    architectures: Mapping[ComputeCapability, Architecture]
    torch: Mapping[Version, TorchRelease]
    vendors: tuple[VendorBuild, ...]
    """All series of NVIDIA's containers, the newest first."""
    channels: Mapping[tuple[str, Version], ChannelBuild]
    """Maps a distributor other than the PyTorch project and a CUDA version to the builds of that distributor."""
    models: Mapping[str, GpuModel]
    peaks: Mapping[str, Peak]
    errors: tuple[ErrorRule, ...]
    harmless: tuple[Harmless, ...]
    platforms: tuple[Platform, ...]
    """All platforms, the most specific first."""
    cures: Cures
    reasons: Mapping[str, ReasonText]
    errors_by_code: Mapping[tuple[str, int], ErrorRule]
    errors_by_name: Mapping[str, ErrorRule]
    images: ImageNames = NO_IMAGES

    def toolkit(self, cuda: Version | None) -> Toolkit | None:
        """Return the row of the CUDA toolkit ``cuda``, or None if the tables have no row with the same major version.

        If the minor version is not in the tables, return the newest row with the same major version.
        """
        if cuda is None:
            return None
        row = self.toolkits.get(cuda[:2])
        if row is None:
            same_major = [version for version in self.toolkits if version[0] == cuda[0]]
            row = self.toolkits[max(same_major)] if same_major else None
        return row

    def last_branch(self, dropped_from: int) -> int:
        """Return the newest driver branch before ``dropped_from``, the branch that dropped a GPU generation."""
        return next((row.branch for row in self.branches if row.branch < dropped_from), dropped_from - 1)

    def first_branch(self, cuda: Version) -> int | None:
        """Return the oldest driver branch that has a CUDA version, or None if no branch in the tables has it."""
        return min((row.branch for row in self.branches if row.cuda >= cuda), default=None)

    def branch(self, driver: Version | None) -> Branch | None:
        """Return the branch that a driver belongs to, or None if the driver is older than all branches in the tables.

        The major version of a Windows driver can lie between the numbers of two branches; it belongs to the lower one.
        """
        if not driver:
            return None
        return next((row for row in self.branches if row.branch <= driver[0]), None)

    def release(self, torch: Version | None) -> TorchRelease | None:
        """Return the release series that a version of PyTorch belongs to, or None if it is not in the tables."""
        return self.torch.get(torch[:2]) if torch and len(torch) > 1 else None

    def releases_for(self, python: Version) -> list[Version]:
        """Return the release series with wheels for a version of Python, the oldest first."""
        return [row.torch for row in self.torch.values() if row.suits(python)]

    def newest_release(self) -> TorchRelease:
        """Return the newest PyTorch release in the tables."""
        return self.torch[max(self.torch)]

    def vendor_build(
        self, name: BuildName, cuda: Version | None = None, embedded: bool = False
    ) -> VendorBuild | None:
        """Return the series of NVIDIA's containers that a build such as ``2.9.0a0+145a3a7bda.nv25.10`` belongs to.

        With ``embedded``, return the series of wheels for Jetson modules instead. ``cuda`` is the CUDA version of the
        build, or None if it is not known; a series for one CUDA major version contains only builds for it. In older
        containers, the local version label of a build is only seven digits of a commit (``2.2.0a0+81ea7a4``). Such a
        build is recognised, too. A build that somebody made from source is not: its label has ``git`` before the
        digits. Return None if the build belongs to no series.
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
        """Return the GPU model whose name a product name or node label contains, or None. The longest name wins."""
        return find_model(product[:LONGEST_PRODUCT], self) if product else None

    def cure(self, what: str, platforms: Iterable[str]) -> PlatformCure | None:
        """Return the cure ``what``, such as "upgrade-driver", on the first of the platforms for which there is one.

        If there is none for any of them, return the cure for all platforms. If there is none either, return None.
        """
        return first_cure(self.cures, what, (*platforms, DEFAULT))


@lru_cache(maxsize=4096)
def find_model(product: str, knowledge: Knowledge) -> GpuModel | None:
    """Return the GPU model with the longest name that occurs in ``product`` as whole words, or None."""
    words = model_words(product)[:16]
    for length in range(min(4, len(words)), 0, -1):
        for start in range(len(words) - length + 1):
            found = knowledge.models.get(" ".join(words[start : start + length]))
            if found is not None:
                return found
    return None


@lru_cache(maxsize=8)
def on_windows(knowledge: Knowledge) -> Knowledge:
    """Return the tables with the drivers for Windows, whose numbers differ from those for Linux.

    Rows that name no drivers for Windows stay as they are.
    """
    toolkits = {cuda: row.windows or row for cuda, row in knowledge.toolkits.items()}
    return replace(knowledge, toolkits=toolkits) if toolkits != knowledge.toolkits else knowledge
