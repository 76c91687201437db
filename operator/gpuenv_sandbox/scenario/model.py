"""What a scenario says: a sandbox's nodes, its images' content and what is broken (docs/scenario.md)."""

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
    """A fault of a node, or of every probe on it. docs/scenario.md explains each."""

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
    """The platform whose labels a node carries."""

    GFD = "gfd"
    GKE = "gke"
    EKS = "eks"
    AKS = "aks"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Image:
    """The content of a container image. The defaults are those of PyTorch 2.9.1 for CUDA 12.8, read from its wheel.

    ``torch`` is None where there is no such module, ``cuda`` in a CPU build, ``python`` where there is no interpreter.
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
    """The verdict and reason that a node must end with. Tests hold the operator to it."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """One node. Another user's running pod holds ``in_use`` GPUs; ``advertised`` GPUs are allocatable."""

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
    """How long each part of a probe pod's life takes, in seconds."""

    setup: float = 0.1
    pull: float = 0.4
    facts: float = 0.3
    kernels: float = 0.8


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole scenario.

    ``environments`` are files with GPUEnvironments. ``timeouts`` go into ``spec.probe.timeouts`` where an environment
    sets none, so that a probe that hangs takes seconds only.
    """

    source: str
    nodes: tuple[SimulatedNode, ...]
    image: Image = Image()
    images: tuple[tuple[str, Image], ...] = ()
    environments: tuple[Path, ...] = ()
    timeouts: tuple[tuple[str, int], ...] = ()
    operator: tuple[tuple[str, int], ...] = ()
    """Settings of the operator, by the names of its flags."""
    pace: Pace = Pace()

    def contents(self, reference: str) -> Image:
        """Return the content of the image called ``reference``: of the first pattern that matches, else the default."""
        return next((image for pattern, image in self.images if fnmatchcase(reference, pattern)), self.image)


def is_driver(text: str) -> bool:
    """Return whether this is a version of the NVIDIA driver, such as 570.124.06."""
    return _DRIVER.fullmatch(text) is not None
