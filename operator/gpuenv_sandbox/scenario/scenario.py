"""Scenarios: which nodes a sandbox has, what the images contain and what is broken (docs/scenario.md)."""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from gpuenv.assess.model import Verdict
from gpuenv_sandbox.scenario.fields import Fields, ScenarioError, documents
from gpuenv_sandbox.scenario.hardware import PRODUCTS, Hardware, generic

DEFAULT: Final = Path(__file__).with_name("default.yaml")

MAX_NODES: Final = 10_000
TIMEOUTS: Final = ("schedulingSeconds", "setupSeconds", "pullSeconds", "runSeconds")
"""Fields of ``spec.probe.timeouts``."""
OPERATOR_SETTINGS: Final = ("maxProbes", "retrySeconds", "stuckSeconds", "writesPerSecond")
"""Flags of the operator that a scenario may set (``--max-probes`` ...)."""

# A node's name becomes a label value (kubernetes.io/hostname), which holds 63 characters.
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_DRIVER: Final = re.compile(r"\d{3}(\.\d+){1,2}")
_CAPABILITY: Final = re.compile(r"\d{1,2}\.\d")
_CUDA: Final = re.compile(r"\d{1,2}\.\d{1,2}")
_ARCH: Final = re.compile(r"(sm|compute)_\d{2,3}[af]?")


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


def load(path: Path = DEFAULT) -> Scenario:
    """The scenario in ``path`` (default: the one that comes with gpuenv). Raises ScenarioError."""
    document, *more = documents(path)
    if more:
        raise ScenarioError(f"{path}: holds {len(more) + 1} documents; a scenario is one, remove the others")
    return parse(document, path)


def parse(document: Any, path: Path) -> Scenario:
    """As :func:`load`, for a document already read from ``path``."""
    root = Fields(str(path), "", document)
    image = _image(root.child("image"), Image()) if root.has("image") else Image()
    nodes = tuple(node for fields in root.children("nodes") for node in _nodes(fields))
    names = [node.name for node in nodes]
    twice = (
        next((name for name in names if names.count(name) > 1), None)
        if len(set(names)) < len(names)
        else None
    )
    if twice:
        root.fail("nodes", f"two nodes are called {twice!r}; give each a name of its own")
    if len(nodes) > MAX_NODES:
        root.fail("nodes", f"are {len(nodes)}; the sandbox is made for at most {MAX_NODES}")
    scenario = Scenario(
        source=str(path),
        nodes=nodes,
        image=image,
        images=_images(root, image),
        environments=tuple((path.parent / name).resolve() for name in root.texts("environments", ())),
        timeouts=_numbers(root, "timeouts", TIMEOUTS),
        operator=_numbers(root, "operator", OPERATOR_SETTINGS),
        pace=_pace(root),
    )
    root.close()
    return scenario


def _images(root: Fields, default: Image) -> tuple[tuple[str, Image], ...]:
    patterns = root.mapping("images")
    if not patterns:
        return ()
    fields = root.child("images")
    return tuple((pattern, _image(fields.child(pattern), default)) for pattern in patterns)


def _image(fields: Fields, default: Image) -> Image:
    cuda = fields.optional_text("cuda", default.cuda)
    if cuda is not None and not _CUDA.fullmatch(cuda):
        fields.fail("cuda", f"{cuda!r} is no CUDA version; write it like 12.8")
    archs = fields.texts("archs", default.archs)
    for arch in archs:
        if not _ARCH.fullmatch(arch):
            fields.fail("archs", f"{arch!r} is no build target; write it like sm_90 or compute_120")
    image = Image(
        torch=fields.optional_text("torch", default.torch),
        cuda=cuda,
        cudnn=fields.integer("cudnn", default.cudnn, low=1000, high=999_999) if cuda else None,
        nccl=fields.optional_text("nccl", default.nccl),
        python=fields.optional_text("python", default.python),
        archs=archs if cuda else (),
        triton=fields.optional_text("triton", default.triton),
        compiler=fields.optional_text("compiler", default.compiler),
        modules=fields.texts("modules", default.modules),
        architectures=fields.texts("architectures", default.architectures),
    )
    fields.close()
    return image


def _nodes(fields: Fields) -> Iterator[SimulatedNode]:
    """One node, or as many as ``repeat`` asks for."""
    pattern = fields.text("name")
    repeat = fields.integer("repeat", 1, low=1, high=MAX_NODES)
    name = pattern if repeat == 1 else _numbered(pattern, 1, repeat)
    if not _NAME.fullmatch(name):
        fields.fail("name", f"{name!r} is no node name; use up to 63 of a-z, 0-9, '-' and '.'")
    node = _node(fields, name)
    fields.close()
    if repeat == 1:
        yield node
        return
    for number in range(1, repeat + 1):
        yield replace(node, name=_numbered(pattern, number, repeat))


def _numbered(pattern: str, number: int, repeat: int) -> str:
    """``pattern`` with its run of ``#`` replaced by the number, padded to its length."""
    hashes = re.search("#+", pattern)
    if hashes is None:
        return f"{pattern}-{number:0{len(str(repeat))}}"
    return pattern.replace(hashes.group(), f"{number:0{len(hashes.group())}}", 1)


def _node(fields: Fields, name: str) -> SimulatedNode:
    product = fields.text("product")
    gpus = fields.integer("gpus", 1, low=1, high=64)
    driver = fields.text("driver")
    if not is_driver(driver):
        fields.fail("driver", f"{driver!r} is no driver version; write it like 570.124.06")
    fault = fields.choice("fault", [fault.value for fault in Fault], None)
    advertised = fields.integer("advertised", gpus, low=0, high=gpus)
    return SimulatedNode(
        name=name,
        product=product,
        gpus=gpus,
        driver=driver,
        hardware=_hardware(fields, product),
        platform=Platform(fields.choice("platform", [platform.value for platform in Platform], "gfd")),
        architecture=fields.choice("architecture", ["amd64", "arm64"], "amd64"),
        advertised=advertised,
        in_use=fields.integer("inUse", 0, low=0, high=gpus),
        cordoned=fields.flag("cordoned"),
        labels=tuple((key, str(value)) for key, value in fields.mapping("labels").items()),
        fault=Fault(fault) if fault else None,
        expect=_expected(fields.child("expect")) if fields.has("expect") else None,
    )


def is_driver(text: str) -> bool:
    """Whether this is a version of the NVIDIA driver, such as 570.124.06."""
    return _DRIVER.fullmatch(text) is not None


def _hardware(fields: Fields, product: str) -> Hardware:
    capability = fields.optional_text("computeCapability", None)
    memory = fields.integer("memoryMiB", None, low=1, high=4 * 1024 * 1024)
    if capability is not None and not _CAPABILITY.fullmatch(capability):
        fields.fail("computeCapability", f'{capability!r} is no compute capability; write it like "8.9"')
    known = PRODUCTS.get(product)
    if known is None and (capability is None or memory is None):
        close = difflib.get_close_matches(product, PRODUCTS, 1, 0.8)
        cure = f"did you mean {close[0]!r}? Else " if close else ""
        fields.fail("product", f"{product!r} is not in the tables; {cure}add computeCapability and memoryMiB")
    major_minor = (int(capability[:-2]), int(capability[-1])) if capability else None
    if known is None:
        assert major_minor is not None
        return generic(major_minor, memory)
    return replace(
        known,
        compute_capability=major_minor or known.compute_capability,
        memory_mib=memory or known.memory_mib,
    )


def _expected(fields: Fields) -> Expected:
    verdict = Verdict(fields.choice("verdict", [verdict.value for verdict in Verdict]))
    expected = Expected(verdict, fields.text("reason", ""))
    fields.close()
    return expected


def _numbers(root: Fields, name: str, known: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Those of the ``known`` fields that are set, each a positive whole number."""
    if not root.has(name):
        return ()
    fields = root.child(name)
    values = [(field, fields.integer(field, None, low=1, high=86_400)) for field in known]
    fields.close()
    return tuple((field, value) for field, value in values if value is not None)


def _pace(root: Fields) -> Pace:
    if not root.has("pace"):
        return Pace()
    fields, default = root.child("pace"), Pace()
    pace = Pace(
        setup=fields.number("setup", default.setup, low=0, high=3600),
        pull=fields.number("pull", default.pull, low=0, high=3600),
        facts=fields.number("facts", default.facts, low=0, high=3600),
        kernels=fields.number("kernels", default.kernels, low=0, high=3600),
    )
    fields.close()
    return pace
