"""The data model of a scenario: nodes, the content of images, and what is broken (see docs/scenario.md)."""

import re
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from gpuenv.assess.model import Verdict
from gpuenv_sandbox.scenario.hardware import Hardware

_DRIVER: Final = re.compile(r"\d{3}(\.\d+){1,2}")


class Fault(StrEnum):
    """A simulated fault of a node, or of every probe on the node. docs/scenario.md explains each fault."""

    UVM_MISSING = "uvmMissing"
    FORWARD_COMPAT = "forwardCompat"
    DRIVER_MISMATCH = "driverMismatch"
    FABRIC_NOT_READY = "fabricNotReady"
    GPU_LOST = "gpuLost"
    NO_GPU_IN_CONTAINER = "noGpuInContainer"
    WRONG_RESULT = "wrongResult"
    PULL_FAILS = "pullFails"
    SETUP_FAILS = "setupFails"
    PROBE_HANGS = "probeHangs"
    PROBE_STUCK = "probeStuck"
    PROBE_CRASHES = "probeCrashes"
    PROBE_OOM = "probeOom"
    GARBAGE_REPORT = "garbageReport"
    EVICTED = "evicted"
    SLOW = "slow"


class Platform(StrEnum):
    """The source of a node's GPU labels: GPU feature discovery (GFD), GKE, EKS, AKS or none."""

    GFD = "gfd"
    GKE = "gke"
    EKS = "eks"
    AKS = "aks"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class SimulatedImage:
    """The content of a container image. The defaults were read from the PyTorch 2.9.1 wheel for CUDA 12.8.

    ``torch``, ``cuda``, ``cudnn``, ``nccl``, ``python`` and ``triton`` are versions. ``torch``, ``python`` or
    ``triton`` is None if the image does not contain it, and ``cuda`` is None if PyTorch is a CPU build. ``archs`` are
    the GPU targets for which PyTorch is compiled, ``compiler`` is the path of a C compiler or None, ``modules`` are
    additional Python modules, and ``architectures`` are the CPU architectures of the image.
    """

    torch: str | None = "2.9.1+cu128"
    cuda: str | None = "12.8"
    cudnn: int | None = 91002
    nccl: str | None = "2.27.5"
    python: str | None = "3.11.14"
    archs: tuple[str, ...] = ("sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
    triton: str | None = "3.5.1"
    compiler: str | None = None
    modules: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ("amd64",)


@dataclass(frozen=True, slots=True)
class Expected:
    """The verdict and reason that the operator must find for a node. Tests compare them with its node reports."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """A simulated node with its hardware, driver and fault.

    ``gpus`` is the number of its GPUs, ``advertised`` the number of allocatable GPUs, and ``in_use`` the number of GPUs
    that a running pod of another user occupies. ``architecture`` is the CPU architecture. ``expect`` is None if the
    scenario does not say which verdict and reason the node must get.
    """

    name: str
    product: str
    gpus: int
    driver: str
    hardware: Hardware
    platform: Platform = Platform.GFD
    architecture: str = "amd64"
    advertised: int = 0
    in_use: int = 0
    cordoned: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    fault: Fault | None = None
    expect: Expected | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """The seconds that each part of a simulated probe pod's life takes.

    The parts are the setup of the pod's sandbox, the image pull, the facts stage and the kernels stage.
    """

    setup: float = 0.1
    pull: float = 0.4
    facts: float = 0.3
    kernels: float = 0.8


@dataclass(frozen=True, slots=True)
class Scenario:
    """The content of one scenario file.

    ``source`` is the path of the file. ``images`` are pairs of a name pattern and the content of images whose names
    match it; ``image`` is the content of all other images. ``environments`` are files with GPUEnvironments to apply.
    ``timeouts`` are pairs of a field of ``spec.probe.timeouts`` and its seconds, for environments that do not set the
    field. Short timeouts make a hanging probe end after seconds.
    """

    source: str
    nodes: tuple[SimulatedNode, ...]
    image: SimulatedImage = SimulatedImage()
    images: tuple[tuple[str, SimulatedImage], ...] = ()
    environments: tuple[Path, ...] = ()
    timeouts: tuple[tuple[str, int], ...] = ()
    operator: tuple[tuple[str, int], ...] = ()
    """Flags of the operator as pairs of name and value, such as ``("maxProbes", 5)`` for ``--max-probes=5``."""
    pace: Pace = Pace()

    def contents(self, reference: str) -> SimulatedImage:
        """Return the content of the image with the name ``reference``.

        The first name pattern in ``images`` that matches counts. If none matches, ``image`` is returned.
        """
        return next((image for pattern, image in self.images if fnmatchcase(reference, pattern)), self.image)


def is_driver(text: str) -> bool:
    """Return whether ``text`` has the form of an NVIDIA driver version, such as 570.124.06."""
    return _DRIVER.fullmatch(text) is not None
