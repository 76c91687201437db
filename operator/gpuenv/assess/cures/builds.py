"""The released PyTorch builds that have code for all GPUs of a node, and the oldest driver for each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from gpuenv.assess.binary_compatibility import Code, code_for
from gpuenv.assess.cures.drivers import first_driver, newest
from gpuenv.knowledge.build_name import cuda_label
from gpuenv.knowledge.model import ComputeCapability, Knowledge, TorchBuild, TorchRelease
from gpuenv.knowledge.versions import Version, api_number, parse_version, show


@dataclass(frozen=True, slots=True)
class Build:
    """A released PyTorch build, and the oldest driver (``floor``) that runs it on the GPUs that it was looked up for.

    ``series`` and ``cuda_number`` are numbers by which releases and CUDA versions are sorted.
    """

    release: TorchRelease
    row: TorchBuild
    floor: str
    floor_version: Version
    series: int
    cuda_number: int

    @property
    def torch(self) -> str:
        """The release series as text, such as ``2.9``."""
        return show(self.release.torch)

    @property
    def cuda(self) -> str:
        """The CUDA version as text, such as ``12.8``."""
        return show(self.row.cuda)

    @property
    def index(self) -> str:
        """The name of the build's package index of the PyTorch project, such as ``cu128``."""
        return cuda_label(self.row.cuda)

    def __str__(self) -> str:
        """Return the build in the words of messages: ``PyTorch 2.9 for CUDA 12.8 (index cu128)``."""
        return f"PyTorch {self.torch} for CUDA {self.cuda} (index {self.index})"


@lru_cache(maxsize=512)
def builds_with_code(
    knowledge: Knowledge, capabilities: frozenset[ComputeCapability], arm: bool
) -> tuple[Build, ...]:
    """Return the released builds that have native code for GPUs with these compute capabilities, the newest first.

    ``arm`` selects the wheels for Arm CPUs. A build whose cuDNN has no kernels for one of the GPUs is left out.
    """
    return tuple(_with_code(knowledge, capabilities, arm))


def _with_code(knowledge: Knowledge, capabilities: Iterable[ComputeCapability], arm: bool) -> Iterator[Build]:
    for release in sorted(knowledge.torch.values(), key=lambda release: release.torch, reverse=True):
        for row in sorted(release.builds, key=lambda row: row.cuda, reverse=True):
            toolkit = knowledge.toolkit(row.cuda)
            if toolkit is None or (arm and not row.aarch64):
                continue
            if all(_runs(knowledge, row, arm, capability) for capability in capabilities):
                floors = [toolkit.first_release]
                floors += [first_driver(knowledge, capability) for capability in capabilities]
                floor = newest(floors)
                yield Build(
                    release,
                    row,
                    floor,
                    parse_version(floor) or (),
                    series_number(release.torch),
                    api_number(row.cuda),
                )


def series_number(torch: Version) -> int:
    """Return the number by which a release series of PyTorch is sorted: 209 for 2.9."""
    return torch[0] * 100 + torch[1]


def _runs(knowledge: Knowledge, row: TorchBuild, arm: bool, capability: ComputeCapability) -> bool:
    architecture = knowledge.architectures.get(capability)
    cudnn = parse_version(row.cudnn)
    dropped = architecture.dropped_from_cudnn if architecture else None
    if cudnn and dropped and cudnn >= dropped:
        return False
    targets = row.aarch64 if arm else row.archs
    return code_for(targets, capability, row.cuda, knowledge) is Code.NATIVE
