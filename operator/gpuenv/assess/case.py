"""A case: the facts, and what the tables say about them. It is made once, and every policy looks at it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gpuenv.api.check_names import CheckName
from gpuenv.api.environment import Expectations, Floor
from gpuenv.api.reasons import Reason
from gpuenv.assess.facts import Facts, Gpu, Source, Step, StepStatus
from gpuenv.assess.model import Check, Status
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
)
from gpuenv.knowledge.versions import Version, api_number, api_version, parse_version

EXTRAS = frozenset({"stream", "torchscript", "jit", "compile"})
"""Steps that some uses of PyTorch do without. If one fails, the verdict is Degraded at worst."""
NOT_KERNELS = EXTRAS | {"alloc"}
"""Steps that can pass although the kernels that every use needs do not run."""
BROKEN = frozenset(
    {StepStatus.FAIL, StepStatus.WRONG, StepStatus.UNCONFIRMED, StepStatus.CRASHED, StepStatus.TIMED_OUT}
)
PASSED: Final = StepStatus.PASS
SKIPPED: Final = StepStatus.SKIPPED
"""Names of their own for what every step is compared with: Python 3.11 takes 0.2 µs to look up a member."""

FIRST_ARM_CUDA = (2, 11)
"""The first release whose wheel for aarch64 on PyPI has CUDA, by the list of files there."""

OLDEST_BRANCH = 100
"""No driver with CUDA has a lower number. A lower one is usually the CUDA version that nvidia-smi prints."""


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU with its rows of the tables. ``proven``: kernels of this very build ran on it, and none failed."""

    index: int
    product: str | None
    compute_capability: ComputeCapability | None
    model: GpuModel | None
    architecture: Architecture | None
    proven: bool
    mig: str | None = None

    @property
    def title(self) -> str:
        """How messages call it."""
        name = self.product or "the GPU"
        capability = self.compute_capability
        return f"{name} ({capability[0]}.{capability[1]})" if capability else name


@dataclass(frozen=True, slots=True)
class Case:
    """What the policies look at. Versions are integer tuples; None means not known.

    ``build_name`` is torch's version text, taken apart; ``torch`` is its release. ``cpu_build`` says that the build
    has no CUDA. ``runtime`` is the CUDA version of the build; ``runtime_assumed`` says that it is only PyPI's default
    for the release. ``arch_flags`` are the build's targets, and ``arch_source`` says where they are known from.
    ``api`` is the driver API's number; ``api_observed`` says that CUDA itself named it, while it otherwise follows
    from the driver's branch.
    """

    facts: Facts
    expect: Expectations
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
    """The steps that launch the kernels which every use of PyTorch needs."""
    cuda_works: bool
    """Whether CUDA was seen to start."""

    @property
    def probed(self) -> bool:
        """Whether a probe told these facts: then kernels decide, and tables only explain."""
        return self.facts.source == Source.PROBE

    @property
    def proven(self) -> bool:
        """Whether kernels ran on every GPU and none failed."""
        return bool(self.devices) and all(device.proven for device in self.devices)

    @property
    def api_cuda(self) -> Version | None:
        """The driver API as a CUDA version."""
        return None if self.api is None else api_version(self.api)


Policy = Callable[[Case], Iterator[Check]]
"""A policy looks at a case and yields checks. It is a pure function."""


def check(  # noqa: PLR0917  the columns of a check, everywhere in this order
    case: Case,
    name: CheckName,
    status: Status,
    reason: Reason,
    message: str,
    remediation: str | None = None,
    source: str | None = None,
) -> Check:
    """Return a check. Its cure and source are those of the reason, unless the policy gives better ones."""
    text = case.knowledge.reasons.get(reason)
    if remediation is None:
        remediation = text.cure if text and status is not Status.PASS else ""
    if source is None:
        source = text.source if text else ""
    return Check(name, status, reason, message, remediation, source)


def passed(name: CheckName, message: str, source: str = "") -> Check:
    """Return a check that passed."""
    return Check(name, Status.PASS, "", message, "", source)


def make_case(
    facts: Facts,
    expect: Expectations | None,
    floors: tuple[Floor, ...],
    knowledge: Knowledge,
    peers: Mapping[str, float] | None,
) -> Case:
    """Return the case of these facts."""
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
        driver, driver_text = None, ""  # a CUDA version, or Windows' own numbering
    branch = knowledge.branch(driver)
    loaded = facts.driver.cuda_version or (
        facts.driver.nvml_cuda_version if facts.source == Source.PROBE else None
    )
    # What nvidia-smi printed elsewhere may be the machine's, where the container carries cuda-compat.
    api = loaded or facts.driver.nvml_cuda_version
    return Case(
        facts=facts,
        expect=expect or Expectations(),
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


def _is_cpu_build(facts: Facts, name: BuildName) -> bool:
    """Return whether torch itself, or its version (``2.9.1+cpu``, ``+rocm6.4``, ``+xpu``), says that it has no CUDA."""
    if facts.torch.cpu_build is not None:
        return facts.torch.cpu_build
    return facts.torch.cuda is None and name.is_without_cuda


def _runtime(
    facts: Facts, name: BuildName, release: TorchRelease | None, knowledge: Knowledge
) -> tuple[Version | None, bool]:
    """Return the CUDA version of a build with CUDA, and whether it is only PyPI's default for the release."""
    given = parse_version(facts.torch.cuda) or name.cuda
    if given:
        # "12" alone says neither which driver is the oldest nor which targets the build has.
        return (given[:2], False) if len(given) > 1 else (None, False)
    if facts.source != Source.FLAGS or release is None or not name.is_plain:
        return None, False
    if is_arm(facts, knowledge) and release.torch < FIRST_ARM_CUDA:
        return (
            None,
            False,
        )  # PyPI's wheel for Arm had no CUDA then, so that this is another build, which nobody named
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
        yield Device(
            index=gpu.index,
            product=gpu.product,
            compute_capability=capability,
            model=model,
            architecture=knowledge.architectures.get(capability) if capability else None,
            proven=gpu.index in ran and not broken & {gpu.index, None},
            mig=gpu.mig,
        )


@lru_cache(maxsize=256)
def is_kernel(name: str) -> bool:
    """Return whether a step of this name launches kernels that every use of PyTorch needs."""
    return name not in NOT_KERNELS and not name.startswith("import:")
