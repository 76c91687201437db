"""Remedies that need the tables: a PyTorch build that fits the GPU, or a driver that supports it."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gpuenv.api.remedies import Action, Remedies, Remedy, remedy
from gpuenv.assess.binary_compatibility import Code, code_for
from gpuenv.assess.case import Case, Device
from gpuenv.knowledge.model import ComputeCapability, Knowledge, TorchBuild, TorchRelease
from gpuenv.knowledge.versions import Version, api_number, parse_version, show


@dataclass(frozen=True, slots=True)
class FittingBuild:
    """A released PyTorch build that has native code for a GPU."""

    torch: str
    cuda: str

    @property
    def index(self) -> str:
        """The name of the build's package index of the PyTorch project, such as ``cu128``."""
        return "cu" + self.cuda.replace(".", "")

    def __str__(self) -> str:
        """Return the build in the words of messages: ``PyTorch 2.9 for CUDA 12.8 (index cu128)``."""
        return f"PyTorch {self.torch} for CUDA {self.cuda} (index {self.index})"

    def remedy(self, message: str) -> Remedy:
        """Return the remedy to use this build, with the text ``message``."""
        return remedy(Action.CHANGE_IMAGE, message, pytorch=self.torch, cuda=self.cuda, index=self.index)


def fitting_build(case: Case, device: Device | None, *, respect_driver: bool = True) -> FittingBuild | None:
    """Return a released PyTorch build that has native code for ``device``, or None if there is none.

    Of all such builds, it is the one whose release is nearest to the PyTorch release in the image. It also runs on the
    node's driver, unless ``respect_driver`` is False. ``device`` None means that the GPU is not known; any build fits.
    """
    major = case.api // 1000 if respect_driver and case.api is not None else None
    capability = device.compute_capability if device else None
    return _fitting_build(case.knowledge, case.torch, major, capability, newest_branch(case))


@lru_cache(maxsize=1024)
def _fitting_build(
    knowledge: Knowledge,
    torch: Version | None,
    api_major: int | None,
    capability: ComputeCapability | None,
    limit: int | None,
) -> FittingBuild | None:
    for release in sorted(knowledge.torch.values(), key=lambda release: _distance(release, torch)):
        # A build that exists for Windows, too, is a cure on every platform.
        for build in sorted(release.builds, key=lambda build: (build.windows, build.cuda), reverse=True):
            toolkit = knowledge.toolkit(build.cuda)
            too_new = api_major is not None and api_major < build.cuda[0]
            out_of_reach = toolkit is not None and limit is not None and toolkit.min_driver[0] > limit
            if not too_new and not out_of_reach and _has_code(knowledge, build, capability):
                return FittingBuild(show(release.torch), show(build.cuda))
    return None


def use_fitting_build(case: Case, device: Device | None) -> Remedies:
    """Return the remedy to use a released PyTorch build that the driver can run, or () if there is none."""
    build = fitting_build(case, device)
    return (build.remedy(f"Use an image that this driver can run, such as {build}."),) if build else ()


_UPGRADE: Final = "upgrade the driver to {driver}"
"""Words for tables of a user that have no cure for a driver that is too old."""
REMOVE_STALE_LIBCUDA: Final = Remedy(
    Action.REPAIR_IMAGE,
    "Remove the stale libcuda from the image (ldconfig -p | grep libcuda, then cuda-compat or libnvidia-compute packages and old "
    "copies on LD_LIBRARY_PATH), so that the node's own is found; the driver itself is new enough or not by its own version.",
)


def stale_libcuda(case: Case) -> str:
    """Return a sentence saying that the loaded libcuda is older than the node's driver.

    Return "" if the libcuda is not older, or if one of the two versions is not known.
    """
    branch = case.knowledge.branch(case.driver)
    if not case.api_observed or case.api is None or branch is None or case.api >= api_number(branch.cuda):
        return ""
    return (
        f"a stale libcuda is loaded: it is of CUDA {show(case.api_cuda)}, driver {case.driver_text} brings one of CUDA "
        f"{show(branch.cuda)}"
    )


def upgrade_driver(case: Case, floor: str = "", *, version: str = "") -> Remedy:
    """Return the remedy to install a driver of at least ``floor``, in the words of the node's platform.

    ``floor`` is a driver in words, such as ``R570``; "" stands for any newer one. ``version`` is the same driver as a
    version that programs can compare, "" if it is not known. If newer driver branches no longer support a GPU of the
    node, the remedy names the newest branch that does.
    """
    wanted = f"{floor} or newer" if floor else "a newer version"
    found = case.knowledge.cure("upgrade-driver", case.platforms)
    how = (found.cure if found else _UPGRADE).replace("{driver}", wanted)
    limit = newest_branch(case)
    ceiling = f", but not past R{limit}: newer branches no longer support {_old(case)}" if limit else ""
    message = f"{how[:1].upper()}{how[1:]}{ceiling}."
    return remedy(Action.UPGRADE_DRIVER, message, minVersion=version, maxBranch=str(limit) if limit else "")


def newest_branch(case: Case) -> int | None:
    """Return the last driver branch that supports every GPU of the case, such as 580 for a V100.

    Return None if NVIDIA has not dropped any of these GPUs: the newest branch still supports all of them.
    """
    dropped = [
        device.architecture.dropped_from_driver
        for device in case.devices
        if device.architecture and device.architecture.dropped_from_driver
    ]
    return case.knowledge.last_branch(min(dropped)) if dropped else None


def reachable(case: Case, floor: Version) -> bool:
    """Return whether a driver of at least version ``floor`` exists that supports every GPU of the case."""
    limit = newest_branch(case)
    return limit is None or floor[0] <= limit


def lacks_code(case: Case) -> bool:
    """Return whether the image's PyTorch build has no code for one of the GPUs of the case.

    A newer driver alone does not help then. Return False if the targets of the build are not known.
    """
    if not case.arch_flags:
        return False
    capabilities = [device.compute_capability for device in case.devices if device.compute_capability]
    return any(
        code_for(case.arch_flags, capability, case.runtime, case.knowledge) is Code.NONE
        for capability in capabilities
    )


def _old(case: Case) -> str:
    names = {
        device.architecture.name
        for device in case.devices
        if device.architecture and device.architecture.dropped_from_driver
    }
    return " and ".join(sorted(names))


def _distance(release: TorchRelease, torch: Version | None) -> tuple[int, int]:
    if torch is None or len(torch) < 2:
        return 0, -release.torch[1]
    steps = (release.torch[0] - torch[0]) * 100 + release.torch[1] - torch[1]
    return abs(steps), 0 if steps > 0 else 1


def _has_code(knowledge: Knowledge, build: TorchBuild, capability: ComputeCapability | None) -> bool:
    if capability is None:
        return True
    architecture = knowledge.architectures.get(capability)
    cudnn = parse_version(build.cudnn)
    dropped = architecture.dropped_from_cudnn if architecture else None
    if cudnn and dropped and cudnn >= dropped:
        return False
    return code_for(build.archs, capability, build.cuda, knowledge) is Code.NATIVE
