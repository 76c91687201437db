"""What a scenario says: which nodes a sandbox has, what the images contain and what is broken (docs/scenario.md)."""

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
    """What is wrong with a node, or happens to every probe on it. Meanings: docs/scenario.md."""

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
    """Whose labels a node carries."""

    GFD = "gfd"
    GKE = "gke"
    EKS = "eks"
    AKS = "aks"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Image:
    """What is inside a container image; the defaults are PyTorch 2.9.1's for CUDA 12.8, read from its wheel.

    ``torch`` None: no such module; ``cuda`` None: a CPU build; ``python`` None: no interpreter.
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
    """What a node must end with: the scenario's own table, asserted by tests."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """One node. ``in_use`` GPUs are taken by somebody's running pod; ``advertised`` ones are allocatable."""

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

    ``environments`` are files with GPUEnvironments; ``timeouts`` go into ``spec.probe.timeouts`` where an
    environment says nothing itself, so that what hangs takes seconds.
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
        """What the image called ``reference`` contains: the first pattern that matches, else the default."""
        return next((image for pattern, image in self.images if fnmatchcase(reference, pattern)), self.image)


def is_driver(text: str) -> bool:
    """Return whether this is a version of the NVIDIA driver, such as 570.124.06."""
    return _DRIVER.fullmatch(text) is not None
