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
    """The platform whose labels a node carries: GPU feature discovery (GFD), GKE, EKS, AKS or none."""

    GFD = "gfd"
    GKE = "gke"
    EKS = "eks"
    AKS = "aks"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Image:
    """The content of a container image. The defaults are those of PyTorch 2.9.1 for CUDA 12.8, read from its wheel.

    ``torch`` is None if the image has no such module, ``cuda`` is None in a CPU build, and ``python`` is None if the
    image has no interpreter.
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
    """The verdict and reason that a node must end with. Tests compare the operator's result with them."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """One simulated node.

    ``in_use`` of its GPUs are held by a running pod of another user, and ``advertised`` of its GPUs are allocatable.
    ``expect`` is None if the scenario does not say how the node must end.
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
    """The duration of each part of a probe pod's life, in seconds."""

    setup: float = 0.1
    pull: float = 0.4
    facts: float = 0.3
    kernels: float = 0.8


@dataclass(frozen=True, slots=True)
class Scenario:
    """The content of one scenario file.

    ``image`` is the content of every image that matches none of the name patterns in ``images``. ``environments`` are
    files with GPUEnvironments. ``timeouts`` are added to the ``spec.probe.timeouts`` of environments that do not set
    them, so that a hanging probe takes only seconds.
    """

    source: str
    nodes: tuple[SimulatedNode, ...]
    image: Image = Image()
    images: tuple[tuple[str, Image], ...] = ()
    environments: tuple[Path, ...] = ()
    timeouts: tuple[tuple[str, int], ...] = ()
    operator: tuple[tuple[str, int], ...] = ()
    """Settings of the operator as pairs of name and value. ``maxProbes`` stands for the flag ``--max-probes``."""
    pace: Pace = Pace()

    def contents(self, reference: str) -> Image:
        """Return the content of the image called ``reference``.

        It belongs to the first matching name pattern in ``images``; without a match, it is ``image``.
        """
        return next((image for pattern, image in self.images if fnmatchcase(reference, pattern)), self.image)


def is_driver(text: str) -> bool:
    """Return whether ``text`` is a version of the NVIDIA driver, such as 570.124.06."""
    return _DRIVER.fullmatch(text) is not None
