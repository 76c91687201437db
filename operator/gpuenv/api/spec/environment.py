"""The specification of a GPUEnvironment as typed values, and the digests of its parts.

Each default is defined once, in the dataclass. The CRD repeats the defaults for readers of its documentation, and a
test compares the two. :mod:`gpuenv.api.spec.digest` explains how to change a default.
:mod:`gpuenv.api.spec.environment_parser` makes these values from the raw object.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gpuenv.api.spec.device import GPUDevice
from gpuenv.api.spec.digest import digest
from gpuenv.api.spec.floor import Floor

PullPolicy = Literal["Always", "IfNotPresent", "Never"]
DriverRule = Literal["MinorVersion", "Toolkit"]
BenchmarkProfile = Literal["None", "Quick", "Standard"]
RunAs = Literal["NonRoot", "Image"]
RootFilesystem = Literal["ReadOnly", "Writable"]
Feature = Literal["Compile"]
"""A capability of PyTorch that an environment can ask the probe to test. ``Compile`` is ``torch.compile``."""
PublishTarget = Literal["None", "Measured"]
"""Which verdicts are shown on nodes: none, or those that a probe on the node itself has measured."""
AllocationMode = Literal["ExactCount"]
"""How many devices a probe pod requests: exactly ``device_count``."""
Sampling = Literal["Every"]
"""Which of the selected nodes run a probe: every node."""
Preflight = Literal["None"]
"""What happens with nodes that cannot run the image as far as that is known without a probe: nothing."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """``spec.expect``: requirements on the image and the node. A field that is None or empty requires nothing.

    Requirements on versions are PEP 440 specifiers, kept as text. Only the release segment of a version is compared
    with them: ``2.9.1+cu128`` counts as ``2.9.1``.
    """

    pytorch: str | None = None
    cuda: str | None = None
    cudnn: str | None = None
    nccl: str | None = None
    python: str | None = None
    driver: str | None = None
    driver_rule: DriverRule = "MinorVersion"
    min_compute_capability: tuple[int, int] | None = None
    max_compute_capability: tuple[int, int] | None = None
    products: tuple[str, ...] = ()
    """Shell-style patterns: the product name of each GPU must match at least one. Empty means any product."""
    min_memory_bytes: int | None = None
    """The least nominal memory of each GPU. An 80 GB card reports less than 80 GiB and still satisfies ``80Gi``."""


@dataclass(frozen=True, slots=True)
class CommandCheck:
    """A command check: one of ``spec.checks.commands``, which the probe runs. It passes if its exit code is 0."""

    name: str
    command: tuple[str, ...]
    timeout_seconds: int = 60


@dataclass(frozen=True, slots=True)
class Checks:
    """``spec.checks``: everything that the probe tries in addition to its own steps.

    ``imports`` are Python modules that must import, ``features`` capabilities of PyTorch that must work, and
    ``commands`` the user's own commands.
    """

    imports: tuple[str, ...] = ()
    features: frozenset[Feature] = frozenset()
    commands: tuple[CommandCheck, ...] = ()

    @property
    def compile(self) -> bool:
        """Whether the probe has to try ``torch.compile``."""
        return "Compile" in self.features

    @property
    def command_json(self) -> str:
        """The command checks as JSON, which the probe reads from a variable of its container."""
        return json.dumps(
            [
                {"name": one.name, "command": one.command, "timeoutSeconds": one.timeout_seconds}
                for one in self.commands
            ]
        )


@dataclass(frozen=True, slots=True)
class Timeouts:
    """``spec.probe.timeouts``: limits in seconds. ``run`` is the limit of each of the two stages of a probe."""

    scheduling: int = 120
    setup: int = 120
    pull: int = 1800
    run: int = 300


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """``spec.probe``: settings for the probe pods of an environment.

    ``tolerations`` are written as in a pod. They say where a probe pod may run, and change nothing that it finds.
    """

    device: GPUDevice = field(default_factory=GPUDevice)
    device_count: int = 1
    allocation_mode: AllocationMode = "ExactCount"
    tolerations: tuple[dict[str, Any], ...] = ()
    runtime_class_name: str | None = None
    scheduler_name: str | None = None
    priority_class_name: str | None = None
    resources: dict[str, Any] = field(default_factory=dict)
    env: tuple[tuple[str, str], ...] = ()
    python: str | None = None
    use_entrypoint: bool = False
    run_as: RunAs = "NonRoot"
    root_filesystem: RootFilesystem = "ReadOnly"
    pod_labels: dict[str, str] = field(default_factory=dict)
    pod_annotations: dict[str, str] = field(default_factory=dict)
    timeouts: Timeouts = Timeouts()


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """The ``spec`` of a GPUEnvironment.

    ``selector`` is a LabelSelector as Kubernetes writes it. ``node_label`` and ``node_condition`` say which verdicts
    are shown in the label and in the condition of a node.
    """

    image: str
    image_pull_policy: PullPolicy = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    selector: dict[str, Any] = field(default_factory=dict)
    expect: Expectations = Expectations()
    checks: Checks = Checks()
    profile: BenchmarkProfile = "Quick"
    floors: tuple[Floor, ...] = ()
    probe: ProbeSpec = ProbeSpec()
    revalidation_period_seconds: int = 604800
    max_concurrent: int | str = "10%"
    """Maximum number of probe pods at a time, or a percentage of the selected nodes (rounded up, at least 1)."""
    sampling: Sampling = "Every"
    preflight: Preflight = "None"
    node_label: PublishTarget = "Measured"
    node_condition: PublishTarget = "None"
    suspend: bool = False


def inputs_hash(spec: EnvironmentSpec) -> str:
    """Return the digest of all fields that can change what a run finds. When it changes, new runs are needed.

    The fields are the image, ``checks``, the benchmark profile and ``probe`` without its tolerations.
    :mod:`gpuenv.api.spec.digest` explains why an upgrade of gpuenv does not change the digest.
    """
    probe = replace(spec.probe, tolerations=())
    return digest(EnvironmentSpec(spec.image, checks=spec.checks, profile=spec.profile, probe=probe))


def expectations_hash(spec: EnvironmentSpec) -> str:
    """Return the digest of the fields that facts are compared with: ``expect`` and the benchmark floors.

    If it changes and :func:`inputs_hash` does not, the stored facts are compared again, and no new run is needed.
    """
    return digest(EnvironmentSpec(image="", expect=spec.expect, floors=spec.floors))
