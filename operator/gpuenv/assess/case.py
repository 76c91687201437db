"""A case: the facts together with the table rows that match them. All policies of an assessment read one case."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from gpuenv.api.check_names import CheckName
from gpuenv.api.reasons import ROWS, Reason
from gpuenv.api.remedies import Remedy
from gpuenv.api.spec.environment import Checks, Expectations
from gpuenv.api.spec.floor import Floor
from gpuenv.assess.facts import Facts, Gpu, Source, Step, StepStatus
from gpuenv.assess.model import Check, Status
from gpuenv.assess.platform import platforms_of
from gpuenv.assess.platform_cures import reason_remedies
from gpuenv.assess.targets import ArchSource, build_targets, is_arm
from gpuenv.assess.visible import visible_gpus
from gpuenv.knowledge.build_name import BuildName, parse_build_name
from gpuenv.knowledge.model import (
    Architecture,
    ComputeCapability,
    GpuModel,
    Knowledge,
    TorchBuild,
    TorchRelease,
    on_windows,
)
from gpuenv.knowledge.versions import Version, api_number, api_version, parse_version, show

EXTRAS = frozenset({"stream", "torchscript", "jit", "compile"})
"""Names of the steps that not every use of PyTorch needs. If one fails, the verdict is Degraded at worst."""
NOT_KERNELS = EXTRAS | {"alloc"}
"""Names of the steps that do not count as kernels in an assessment.

The steps in ``EXTRAS`` are optional. ``alloc`` only allocates memory, which also works if the build has no code for the
GPU.
"""
BROKEN = frozenset(
    {StepStatus.FAIL, StepStatus.WRONG, StepStatus.UNCONFIRMED, StepStatus.CRASHED, StepStatus.TIMED_OUT}
)
"""The statuses of steps that were tried and did not pass."""
PASSED: Final = StepStatus.PASS
SKIPPED: Final = StepStatus.SKIPPED
"""``PASSED`` and ``SKIPPED`` are aliases of two members of :class:`StepStatus`.

Policies compare the status of every step with them. They save time: looking up a member on the enumeration takes 0.2 µs
in Python 3.11.
"""

_WINDOWS: Final = frozenset({"windows", "wsl"})
"""The platforms whose driver is one for Windows."""

FIRST_ARM_CUDA = (2, 11)
"""The first PyTorch release whose aarch64 wheel on PyPI has CUDA, according to the list of files on PyPI."""

OLDEST_BRANCH = 100
"""The smallest number that is accepted as the major version of a driver.

A smaller number in place of a driver version is usually a CUDA version that a person confused with it.
"""

BRANCH_WIDTH = 4
"""Largest difference between the major version of a driver and the number of its branch.

Windows drivers of the branch R570 have major versions up to 574.
"""


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU with the table rows of its model and its architecture, each None if the tables have no such row.

    ``proven`` True means that kernels of this PyTorch build ran on the GPU and that none of them failed. ``mig`` is the
    MIG profile of a GPU slice, or None. ``similar`` are models in the tables that a person may have meant.
    """

    index: int
    product: str | None
    compute_capability: ComputeCapability | None
    model: GpuModel | None
    architecture: Architecture | None
    proven: bool
    mig: str | None = None
    similar: tuple[str, ...] = ()
    contradicts: ComputeCapability | None = None
    """The compute capability that was given, if it is not that of the model: then none is known."""

    @property
    def title(self) -> str:
        """The name of the GPU in messages, with its compute capability: ``NVIDIA L4 (8.9)``."""
        name = self.product or "the GPU"
        capability = self.compute_capability
        return f"{name} ({capability[0]}.{capability[1]})" if capability else name

    @property
    def embedded(self) -> bool:
        """Whether the GPU is part of a Jetson module."""
        return self.architecture is not None and self.architecture.embedded


@dataclass(frozen=True)
class Case:
    """The input of all policies: facts, expectations, tables, and values derived from them.

    Versions are integer tuples; None means not known. ``build_name`` is the parsed version text of torch; ``torch`` is
    its release number. ``cpu_build`` True means that the build has no CUDA. ``runtime`` is the CUDA version of the
    build; ``runtime_assumed`` True means that it is only the CUDA version of PyPI's default build. ``release`` and
    ``build`` are the table rows of the PyTorch release and of its build. ``arch_flags`` are the targets of the build,
    and ``arch_source`` is the origin of this knowledge. ``driver_text`` is the driver version as text, "" if it is not
    known. ``api`` is the version of the driver API as a number, 12080 for CUDA 12.8. ``api_observed`` True means that
    it was read from the libcuda that the image uses; otherwise nvidia-smi printed it, or it follows from the driver's
    branch. ``peers`` maps a ``peer_key`` to the median result of a benchmark over all nodes with the same GPU product.
    """

    facts: Facts
    expect: Expectations
    tried: Checks
    """What the environment asks the probe to try besides its own kernels."""
    floors: tuple[Floor, ...]
    knowledge: Knowledge
    peers: Mapping[str, float]
    build_name: BuildName
    torch: Version | None
    cpu_build: bool
    runtime: Version | None
    runtime_assumed: bool
    release: TorchRelease | None
    build: TorchBuild | None
    arch_flags: tuple[str, ...] | None
    arch_source: ArchSource | None
    driver: Version | None
    driver_text: str
    api: int | None
    api_observed: bool
    devices: tuple[Device, ...]
    kernels: tuple[Step, ...]
    """The steps of the facts that count as kernels, according to :func:`is_kernel`."""
    cuda_works: bool
    """Whether the facts show that CUDA started."""

    @property
    def probed(self) -> bool:
        """Whether the facts come from a probe.

        The kernels that the probe ran then decide the verdict, and the tables are only used to explain it.
        """
        return self.facts.source == Source.PROBE

    @property
    def proven(self) -> bool:
        """Whether kernels ran on every GPU and none of them failed."""
        return bool(self.devices) and all(device.proven for device in self.devices)

    @property
    def observed(self) -> bool:
        """Whether the facts contain more than versions: an error, a start that failed, or a run."""
        facts = self.facts
        return bool(
            facts.source == Source.PROBE
            or facts.errors
            or facts.unrecognised
            or facts.steps
            or facts.torch.available is not None
            or facts.torch.missing
            or facts.torch.import_error
            or facts.torch.init_error
            or facts.torch.warnings
            or facts.driver.absent
            or facts.driver.cu_init is not None
            or facts.driver.libcuda
            or self.cpu_build
        )

    @cached_property
    def platforms(self) -> tuple[str, ...]:
        """The names of all platforms that hold, the one whose cures count first at the beginning."""
        return platforms_of(self.facts, self.knowledge)

    @property
    def all_embedded(self) -> bool:
        """Whether all GPUs are parts of Jetson modules, whose drivers have their own version numbers."""
        return bool(self.devices) and all(device.embedded for device in self.devices)

    @property
    def targets_text(self) -> str:
        """The targets of the build in messages: all of them, or from which to which they are if only that is known."""
        flags = self.arch_flags or ()
        if self.arch_source == ArchSource.ENDS:
            return f"targets from {flags[0]} to {flags[-1]}"
        return " ".join(flags)

    @property
    def api_cuda(self) -> Version | None:
        """The newest CUDA version that the driver API supports, or None if it is not known."""
        return None if self.api is None else api_version(self.api)

    @property
    def knows_driver(self) -> bool:
        """Whether the driver is known, by its own version or by that of its API."""
        return self.driver is not None or self.api is not None

    @property
    def driver_title(self) -> str:
        """The driver in messages, with its version if that is known: ``driver 570.124.06``."""
        return f"driver {self.driver_text}" if self.driver_text else "the driver"

    @property
    def newer_than_branches(self) -> bool:
        """Whether the driver is newer than all branches in the tables."""
        return self.driver is not None and self.driver[0] > self.knowledge.branches[0].branch + BRANCH_WIDTH

    @property
    def beyond_tables(self) -> bool:
        """Whether the driver is newer than all branches in the tables and its CUDA is not known but from them."""
        driver = self.facts.driver
        return self.newer_than_branches and not (driver.cuda_version or driver.nvml_cuda_version)

    @property
    def api_text(self) -> str:
        """The newest CUDA version of the driver in words: ``12.8``, or ``13.4 or newer`` if it is beyond the tables."""
        return show(self.api_cuda) + (" or newer" if self.beyond_tables else "")


Policy = Callable[[Case], Iterator[Check]]
"""A pure function that reads a case and yields checks."""


def check(  # noqa: PLR0917  the parameters are the fields of a check, in the same order
    case: Case,
    name: CheckName,
    status: Status,
    reason: Reason,
    message: str,
    remedies: Iterable[Remedy] | None = None,
    source: str | None = None,
    *,
    curable: bool | None = None,
) -> Check:
    """Return a check. Its remedies and source are those of the reason, unless others are passed.

    ``remedies`` or ``source`` None means those of the reason, on the platform of the case; () or "" means that the check
    has none. ``curable`` True means that the remedies are only for the case that no replacement of a part solves the
    problem. None means True if the remedies are those of the reason.
    """
    text = case.knowledge.reasons.get(reason)
    if curable is None:
        curable = remedies is None
    if remedies is None:
        remedies = () if status is Status.PASS else reason_remedies(reason, case)
    if source is None:
        source = text.source if text else ""
    curable = curable and status.severity >= Status.WARN.severity and bool(ROWS[reason].solved_by)
    return Check(name, status, reason, message, tuple(remedies), source, curable)


def passed(name: CheckName, message: str, source: str = "") -> Check:
    """Return a check with the status Pass."""
    return Check(name, Status.PASS, "", message, source=source)


def make_case(
    facts: Facts,
    expect: Expectations | None,
    floors: tuple[Floor, ...],
    knowledge: Knowledge,
    peers: Mapping[str, float] | None,
    *,
    tried: Checks | None = None,
) -> Case:
    """Return the case for these facts, expectations and tables.

    ``expect`` None means that nothing particular is expected. ``peers`` maps a ``peer_key`` to the median result of a
    benchmark over all nodes with the same GPU product; None means that there are no such results. ``tried`` None means
    that the probe was asked to try nothing besides its own kernels.
    """
    knowledge = on_windows(knowledge) if _has_windows_driver(facts) else knowledge
    kernels = tuple(step for step in facts.steps if is_kernel(step.name))
    name = parse_build_name(facts.torch.version)
    cpu_build = _is_cpu_build(facts, name)
    release = knowledge.release(name.release)
    runtime, assumed = (None, False) if cpu_build else _runtime(facts, name, release, knowledge)
    build = release.build(runtime) if release else None
    flags, arch_source = build_targets(facts, name, knowledge, runtime, build)
    driver_text = facts.driver.version or facts.node.driver_version or ""
    driver = parse_version(driver_text)
    if driver is not None and driver[0] < OLDEST_BRANCH:
        driver, driver_text = None, ""  # no driver version: a CUDA version, or Windows' own numbering
    branch = knowledge.branch(driver)
    loaded = facts.driver.cuda_version or (
        facts.driver.nvml_cuda_version if facts.source == Source.PROBE else None
    )
    # Without a probe, NVML's number may describe the node instead of a container that uses cuda-compat.
    api = loaded or facts.driver.nvml_cuda_version
    return Case(
        facts=facts,
        expect=expect or Expectations(),
        tried=tried or Checks(),
        floors=floors,
        knowledge=knowledge,
        peers=peers or {},
        build_name=name,
        torch=name.release,
        cpu_build=cpu_build,
        runtime=runtime,
        runtime_assumed=assumed,
        release=release,
        build=build,
        arch_flags=flags,
        arch_source=arch_source,
        driver=driver,
        driver_text=driver_text,
        api=api or (api_number(branch.cuda) if branch else None),
        api_observed=bool(loaded),
        devices=tuple(_devices(facts, knowledge, kernels)),
        kernels=kernels,
        cuda_works=facts.driver.cu_init == 0 or facts.torch.available is True,
    )


def _has_windows_driver(facts: Facts) -> bool:
    """Return whether the driver is one for Windows, by the platform that was given, else by the signs in pasted texts."""
    node = facts.node
    return not _WINDOWS.isdisjoint((node.platform,) if node.platform else node.signs)


def _is_cpu_build(facts: Facts, name: BuildName) -> bool:
    """Return whether torch was built without CUDA.

    If the facts do not say that directly, the label in torch's version decides (``2.9.1+cpu``, ``2.9.1+rocm6.4``).
    """
    if facts.torch.cpu_build is not None:
        return facts.torch.cpu_build
    return facts.torch.cuda is None and name.is_without_cuda


def _runtime(
    facts: Facts, name: BuildName, release: TorchRelease | None, knowledge: Knowledge
) -> tuple[Version | None, bool]:
    """Return the CUDA version of a build with CUDA, or None if it is not known, and whether it is only assumed.

    If a person gave only the release number, the build is assumed to be PyPI's default build of this release.
    """
    given = parse_version(facts.torch.cuda) or name.cuda
    if given:
        # "12" alone determines neither the oldest driver that works nor the targets of the build.
        return (given[:2], False) if len(given) > 1 else (None, False)
    if facts.source != Source.FLAGS or release is None or not name.is_plain:
        return None, False
    if is_arm(facts, knowledge) and release.torch < FIRST_ARM_CUDA:
        # PyPI's Arm wheels of these releases have no CUDA, so the build is another one, which is not known.
        return None, False
    return release.default_cuda, True


def _devices(facts: Facts, knowledge: Knowledge, kernels: tuple[Step, ...]) -> Iterator[Device]:
    gpus = visible_gpus(facts, knowledge)
    if not gpus and facts.source != Source.PROBE and (facts.node.product or facts.node.compute_capability):
        gpus = (Gpu(product=facts.node.product, compute_capability=facts.node.compute_capability),)
    ran = {step.gpu for step in kernels if step.status == PASSED}
    broken = {step.gpu for step in kernels if step.status in BROKEN}
    for gpu in gpus:
        model = knowledge.model(gpu.product)
        capability = gpu.compute_capability or (model.cc if model else None)
        # What CUDA itself reports is certain. Of a dump or of options, either the name or the number is wrong.
        differ = model is not None and capability != model.cc and facts.source != Source.PROBE
        contradicts, capability = (capability, None) if differ else (None, capability)
        yield Device(
            index=gpu.index,
            product=gpu.product,
            compute_capability=capability,
            model=model,
            architecture=knowledge.architectures.get(capability) if capability else None,
            proven=gpu.index in ran and not broken & {gpu.index, None},
            mig=gpu.mig,
            similar=gpu.similar,
            contradicts=contradicts,
        )


@lru_cache(maxsize=256)
def is_kernel(name: str) -> bool:
    """Return whether the step with this name counts as a kernel: an operation that every use of PyTorch needs."""
    return name not in NOT_KERNELS and not name.startswith("import:")
