"""What a verdict follows from as long as no kernel runs: versions, targets and GPUs, without anything that was observed.

A candidate for a cure is a changed copy of it. It is a small value that can be compared, so that nodes of one kind
share the search for cures.
"""

from dataclasses import dataclass, replace
from typing import Final

from gpuenv.api.spec.environment import Expectations
from gpuenv.assess.case import Case, Device, make_case
from gpuenv.assess.cures.builds import Build
from gpuenv.assess.cures.drivers import known_step, stale_libcuda
from gpuenv.assess.facts import ContainerFacts, DriverFacts, Facts, Gpu, Source, TorchFacts
from gpuenv.assess.other_vendors import vendor_of
from gpuenv.assess.policies.architecture import cudnn_number
from gpuenv.assess.policies.driver import node_devices
from gpuenv.assess.targets import ArchSource, is_arm
from gpuenv.knowledge.model import ComputeCapability, Knowledge
from gpuenv.knowledge.versions import Version, api_number, parse_version, show

_WITHOUT_COMPAT: Final = frozenset({"windows", "wsl", "jetson", "colab", "kaggle", "macos", "amd"})
"""Platforms whose users can add no cuda-compat: NVIDIA has none for their drivers, or the system is not theirs.

https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html
"""


@dataclass(frozen=True, slots=True)
class Setup:
    """The versions of an image and a node. Texts are "" and other values None if they are not known.

    Versions between which the tables make no difference are the same here, so that many nodes have equal setups.
    ``targets`` are those that the build itself reported. ``loaded`` is the version of the driver API as a number, but
    only if it does not follow from ``driver``; ``observed`` True means that it was read from the libcuda that the image
    uses, and ``stale`` True that this libcuda is older than the driver. ``started`` True means that CUDA was seen to
    start. ``takes_build`` is False where no build of the PyTorch project for CUDA runs, such as on
    macOS, ``takes_driver`` where there is no other driver, such as on a Jetson, and ``takes_compat`` where cuda-compat cannot
    be added. ``gpus`` are the different models of GPUs, each as the model's name and its compute capability.
    """

    torch: str
    cuda: Version | None
    cpu_build: bool
    channel: str | None
    cudnn: int | None
    nccl: str | None
    targets: tuple[str, ...] | None
    python: Version | None
    arm: bool
    driver: Version | None
    loaded: int | None
    observed: bool
    stale: bool
    started: bool
    takes_build: bool
    takes_driver: bool
    takes_compat: bool
    gpus: tuple[tuple[str | None, ComputeCapability | None], ...]
    expect: Expectations

    def with_build(self, build: Build, knowledge: Knowledge) -> "Setup":
        """Return the setup with another PyTorch build. The image of that build has no libcuda of its own."""
        release = parse_version(self.torch)
        same_series = release is not None and release[:2] == build.release.torch
        torch = show(release) if same_series else f"{show(build.release.torch)}.0"
        return replace(
            self,
            torch=f"{torch}+{build.index}",
            cuda=build.row.cuda,
            cpu_build=False,
            channel=None,
            cudnn=cudnn_number(parse_version(build.row.cudnn)),
            nccl=build.row.nccl,
            targets=None,
            loaded=self.loaded if self.driver is None or _is_newer_than_tables(self, knowledge) else None,
        )

    def with_driver(self, driver: Version) -> "Setup":
        """Return the setup with another driver on the node. A stale libcuda in the image stays."""
        older = self.driver is not None and driver < self.driver
        return replace(
            self,
            driver=driver,
            loaded=self.loaded if self.stale else None,
            started=self.started and not older,
        )

    @property
    def capabilities(self) -> tuple[ComputeCapability, ...]:
        """The compute capabilities of the GPUs, as far as they are known."""
        return tuple(capability for _, capability in self.gpus if capability)

    @property
    def knows_driver(self) -> bool:
        """Whether the driver is known, by its own version or by that of its API."""
        return self.driver is not None or self.loaded is not None


def _is_newer_than_tables(setup: Setup, knowledge: Knowledge) -> bool:
    """Return whether the tables only know the driver's CUDA as that of an older branch."""
    return knowledge.branch(setup.driver) is knowledge.branches[0]


def setup_of(case: Case) -> Setup:
    """Return the setup of a case."""
    torch, expect = case.facts.torch, case.expect
    branch = case.knowledge.branch(case.driver)
    implied = api_number(branch.cuda) if branch else None
    found = dict.fromkeys(_kind(device) for device in case.devices or node_devices(case))
    return Setup(
        torch=_torch(case),
        cuda=case.runtime,
        cpu_build=case.cpu_build,
        channel=torch.channel,
        cudnn=torch.cudnn if expect.cudnn or _may_lack_cudnn(case) else None,
        nccl=torch.nccl if expect.nccl else None,
        targets=case.arch_flags if case.arch_source in (ArchSource.OBSERVED, ArchSource.ENDS) else None,
        python=(parse_version(case.facts.container.python) or ())[:2] or None,
        arm=is_arm(case.facts, case.knowledge),
        driver=case.driver
        if expect.driver or case.driver is None
        else known_step(case.knowledge, case.driver),
        loaded=case.api if case.api != implied else None,
        observed=case.api_observed,
        stale=bool(stale_libcuda(case)),
        started=case.cuda_works,
        takes_build=takes_build(case),
        takes_driver=_takes_driver(case),
        takes_compat=_WITHOUT_COMPAT.isdisjoint(case.platforms),
        gpus=tuple(found),
        expect=Expectations(
            pytorch=expect.pytorch,
            cuda=expect.cuda,
            cudnn=expect.cudnn,
            nccl=expect.nccl,
            driver=expect.driver,
            driver_rule=expect.driver_rule,
        ),
    )


def takes_build(case: Case) -> bool:
    """Return whether a build of the PyTorch project for CUDA may run there.

    On a Jetson, that is known only of a GPU that is named. A machine with a Jetson module can have a graphics card
    besides, as NVIDIA IGX has.
    """
    named = any(device.architecture is not None for device in case.devices)
    foreign = any(vendor_of(device.product) for device in case.devices)
    return (
        not foreign and "macos" not in case.platforms and (named or not {"jetson", "amd"} & {*case.platforms})
    )


def _takes_driver(case: Case) -> bool:
    embedded = any(device.embedded for device in case.devices)
    return not embedded and takes_build(case)


def _torch(case: Case) -> str:
    """Return the version of PyTorch. Releases of one series are alike, unless a version is expected."""
    name = case.build_name
    if case.expect.pytorch or not name.is_release or name.release is None:
        return name.text
    return f"{show(name.release[:2])}.0" + (f"+{name.local}" if name.local else "")


def _may_lack_cudnn(case: Case) -> bool:
    return any(device.architecture and device.architecture.dropped_from_cudnn for device in case.devices)


def _kind(device: Device) -> tuple[str | None, ComputeCapability | None]:
    return device.model.name if device.model else None, device.compute_capability


def case_of(setup: Setup, knowledge: Knowledge) -> Case:
    """Return the case that policies judge: one of versions alone, without a probe."""
    facts = Facts(
        source=Source.COLLECT_ENV,
        container=ContainerFacts(
            python=show(setup.python) if setup.python else None, machine="aarch64" if setup.arm else "x86_64"
        ),
        driver=DriverFacts(
            version=show(setup.driver) if setup.driver else None,
            cuda_version=setup.loaded if setup.observed else None,
            nvml_cuda_version=None if setup.observed else setup.loaded,
            cu_init=0 if setup.started else None,
        ),
        gpus=tuple(
            Gpu(index=index, product=product, compute_capability=capability)
            for index, (product, capability) in enumerate(setup.gpus)
        ),
        torch=TorchFacts(
            version=setup.torch or None,
            channel=setup.channel,
            cuda=show(setup.cuda) if setup.cuda else None,
            cpu_build=setup.cpu_build,
            cudnn=setup.cudnn,
            nccl=setup.nccl,
            arch_flags=setup.targets,
        ),
    )
    return make_case(facts, setup.expect, (), knowledge, None)
