"""What each limit refuses, what it allows, and what the author reads."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import builders

from gpuenv.api.limits.image_patterns import is_allowed
from gpuenv.api.limits.limits import Limits, PullSecret
from gpuenv.api.limits.limits_parser import parse as parse_limits
from gpuenv.api.limits.violations import violations
from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.api.spec.environment_parser import SpecError, parse

NAME = "team-a-torch"
VALUES = "in the chart's values"


def spec(**fields: Any) -> EnvironmentSpec:
    """Return a specification with these fields, written as for ``builders.environment``."""
    return parse(builders.environment(**fields)["spec"])


def found(limits: dict[str, Any] | None = None, name: str = NAME, **fields: Any) -> list[str]:
    """Return the violations of these limits, written as in their file, by a specification with these fields."""
    return violations(name, spec(**fields), parse_limits(limits or {}))


EVERY_TAINT = {"operator": "Exists"}
TEAM = {"secretName": "registry", "environments": ["team-a-*"]}

# Fields of a specification that the defaults do not allow, and the line that the author reads.
REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"probe__priorityClassName": "system-node-critical"},
        "spec.probe.priorityClassName: system-node-critical is not allowed (allowed: gpuenv-probe); change it, or ask "
        f"the administrator to add it to limits.priorityClassNames {VALUES}",
    ),
    (
        {"probe__device__resourceName": "devices.kubevirt.io/kvm"},
        "spec.probe.device.resourceName: devices.kubevirt.io/kvm is not allowed (allowed: nvidia.com/gpu, "
        "nvidia.com/gpu.shared, nvidia.com/mig-*, deviceclass.resource.kubernetes.io/gpu.nvidia.com, "
        "deviceclass.resource.kubernetes.io/mig.nvidia.com); change it, or ask the administrator to add it "
        "to limits.resourceNames",
    ),
    ({"probe__device__resourceName": "evil-nvidia.com/gpu"}, "spec.probe.device.resourceName: evil-nvidia.com/gpu"),
    (
        {"probe__device__count": 9},
        "spec.probe.device.count: 9 is more than 8; write less, or ask the administrator to raise limits.maxDevices",
    ),
    (
        {"probe__resources": {"limits": {"rdma/hca": 1}}},
        "spec.probe.resources.limits: rdma/hca is not allowed (allowed: cpu, ephemeral-storage, memory, nvidia.com/gpu",
    ),
    ({"probe__resources": {"limits": {"hugepages-2Mi": "1Gi"}}}, "spec.probe.resources.limits: hugepages-2Mi"),
    (
        {"probe__resources": {"limits": {"nvidia.com/mig-1g.5gb": 9}}},
        "spec.probe.resources.limits: 1 with those of nvidia.com/mig-1g.5gb is more than 8; write less",
    ),
    (
        {"probe__device__count": 8, "probe__resources": {"limits": {"nvidia.com/mig-1g.5gb": 1}}},
        "spec.probe.resources.limits: 8 with those of nvidia.com/mig-1g.5gb is more than 8; write less",
    ),
    ({"probe__resources": {"limits": {"nvidia.com/hostdev": 1}}}, "spec.probe.resources.limits: nvidia.com/hostdev"),
    (
        {"probe__device__resourceName": "deviceclass.resource.kubernetes.io/rdma.example.com"},
        "spec.probe.device.resourceName: deviceclass.resource.kubernetes.io/rdma.example.com is not allowed",
    ),
    ({"probe__resources": {"requests": {"cpu": 17}}}, "spec.probe.resources.requests.cpu: 17 is more than 16;"),
    ({"probe__resources": {"limits": {"cpu": "16001m"}}}, "spec.probe.resources.limits.cpu: 16001m is more than 16"),
    ({"probe__resources": {"limits": {"memory": "65Gi"}}}, "spec.probe.resources.limits.memory: 65Gi is more than 64Gi"),
    (
        {"probe__resources": {"limits": {"ephemeral-storage": "1T"}}},
        "spec.probe.resources.limits.ephemeral-storage: 1T is more than 32Gi; write less, or ask the administrator to "
        f"raise limits.maxResources.ephemeral-storage {VALUES}",
    ),
    ({"probe__resources": {"limits": {"memory": "much"}}}, "spec.probe.resources.limits.memory: much is more than 64Gi"),
    (
        {"probe__env": [{"name": "A", "value": "1"}, {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]},
        "spec.probe.env[1]: NVIDIA_VISIBLE_DEVICES belongs to the device plug-in, which sets it for the GPUs of the pod; "
        "remove it",
    ),
    ({"probe__env": [{"name": "NVIDIA_"}]}, "spec.probe.env[0]: NVIDIA_ belongs to the device plug-in"),
    ({"probe__podLabels": {"sidecar.istio.io/inject": "true"}}, "spec.probe.podLabels: sidecar.istio.io/inject is not"),
    (
        {"probe__podAnnotations": {"k8s.v1.cni.cncf.io/networks": "storage"}},
        "spec.probe.podAnnotations: k8s.v1.cni.cncf.io/networks is not allowed (allowed: none); remove it, or ask the "
        f"administrator to add it to limits.podAnnotationKeys {VALUES}",
    ),
    ({"probe__runtimeClassName": "kata"}, "spec.probe.runtimeClassName: kata is not allowed (allowed: nvidia, nvidia-cdi"),
    ({"probe__schedulerName": "mine"}, "spec.probe.schedulerName: mine is not allowed (allowed: default-scheduler)"),
    ({"probe__timeouts__runSeconds": 3601}, "spec.probe.timeouts.runSeconds: 3601 is more than 3600;"),
    ({"probe__timeouts__pullSeconds": 86400}, "spec.probe.timeouts.pullSeconds: 86400"),
    ({"probe__timeouts__setupSeconds": 3601}, "spec.probe.timeouts.setupSeconds: 3601"),
    ({"probe__timeouts__schedulingSeconds": 3601}, "spec.probe.timeouts.schedulingSeconds: 3601"),
    (
        {"checks__commands": [{"name": "a", "command": ["sh", "-c", "x" * 65536]}]},
        "spec.checks.commands: 65602 bytes is more than 65536; write less, or ask the administrator to raise "
        f"limits.maxCommandBytes {VALUES}",
    ),
    (
        {"imagePullSecrets": [{"name": "registry"}]},
        "spec.imagePullSecrets[0]: the Secret registry is not for this environment; remove it, or ask the administrator "
        f"to map it to team-a-torch in limits.pullSecrets {VALUES}",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "words"), REFUSED)
def test_what_the_defaults_refuse(fields: dict[str, Any], words: str) -> None:
    (line,) = found(**fields)
    assert line.startswith(words)
    assert "\n" not in line


ALLOWED: list[dict[str, Any]] = [
    {},
    {"image": "10.0.0.1:6443/any/image:1"},
    {"probe__device": {"resourceName": "nvidia.com/mig-1g.10gb", "count": 8}},
    {"probe__priorityClassName": "gpuenv-probe", "probe__schedulerName": "default-scheduler"},
    *({"probe__runtimeClassName": name} for name in ("nvidia", "nvidia-cdi", "nvidia-legacy")),
    {"probe__resources": {"limits": {"cpu": 16, "memory": "64Gi", "ephemeral-storage": "32Gi"}}},
    {"probe__resources": {"limits": {"nvidia.com/mig-1g.5gb": 7}}},
    {"probe__env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "LD_PRELOAD", "value": "/x.so"}]},
    {"probe__podLabels": {"kueue.x-k8s.io/queue-name": "probes"}},
    {"probe__tolerations": [EVERY_TAINT, {"key": "team", "value": "a"}]},
    {"probe__timeouts": dict.fromkeys(("schedulingSeconds", "setupSeconds", "pullSeconds", "runSeconds"), 3600)},
    {"checks__commands": [{"name": "a", "command": ["sh", "-c", "x" * 60000]}]},
]  # fmt: skip


@pytest.mark.parametrize("fields", ALLOWED)
def test_what_the_defaults_allow(fields: dict[str, Any]) -> None:
    assert found(**fields) == []


# A limit, fields that it allows, and fields that it refuses with the path of one of them.
CHANGED: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = [
    ({"images": ["pytorch/*"]}, {}, {"image": "nvcr.io/pytorch/pytorch:1"}, "spec.image: nvcr.io/pytorch/pytorch:1 is"),
    ({"images": []}, {}, {}, "spec.image: "),
    (
        {"priorityClassNames": ["batch"]}, {"probe__priorityClassName": "batch"},
        {"probe__priorityClassName": "gpuenv-probe"}, "spec.probe.priorityClassName: gpuenv-probe",
    ),
    (
        {"resourceNames": ["example.com/gpu"]}, {"probe__device__resourceName": "example.com/gpu"},
        {}, "spec.probe.device.resourceName: nvidia.com/gpu",
    ),
    ({"maxDevices": 1}, {}, {"probe__device__count": 2}, "spec.probe.device.count: 2 is more than 1"),
    ({"allocationModes": ["All"]}, {}, {}, "spec.probe.device.allocationMode: ExactCount is not allowed (allowed: All)"),
    (
        {"maxResources": {"memory": "1Gi"}}, {"probe__resources": {"limits": {"memory": "1024Mi"}}},
        {"probe__resources": {"limits": {"memory": 1073741825}}}, "spec.probe.resources.limits.memory: 1073741825",
    ),
    (
        {"environmentVariables": ["NCCL_*"]}, {"probe__env": [{"name": "NCCL_DEBUG"}]},
        {"probe__env": [{"name": "LD_PRELOAD"}]}, "spec.probe.env[0]: LD_PRELOAD is not allowed (allowed: NCCL_*)",
    ),
    (
        {"environmentVariables": ["NVIDIA_*"]}, {},
        {"probe__env": [{"name": "NVIDIA_DISABLE_REQUIRE"}]}, "spec.probe.env[0]: NVIDIA_DISABLE_REQUIRE belongs to",
    ),
    (
        {"podLabelKeys": ["team"]}, {"probe__podLabels": {"team": "a"}},
        {"probe__podLabels": {"team-b": "a"}}, "spec.probe.podLabels: team-b",
    ),
    (
        {"podAnnotationKeys": ["example.com/team"]}, {"probe__podAnnotations": {"example.com/team": "a"}},
        {"probe__podAnnotations": {"example.com/teams": "a"}}, "spec.probe.podAnnotations: example.com/teams",
    ),
    ({"runtimeClassNames": []}, {}, {"probe__runtimeClassName": "nvidia"}, "spec.probe.runtimeClassName: nvidia is not"),
    ({"schedulerNames": []}, {}, {"probe__schedulerName": "default-scheduler"}, "spec.probe.schedulerName: default-sch"),
    (
        {"tolerationKeys": ["example.com/*"]},
        {"probe__tolerations": [{"key": "example.com/team", "operator": "Exists"}]},
        {"probe__tolerations": [{"key": "team", "operator": "Exists"}]}, "spec.probe.tolerations[0]: team is not allowed",
    ),
    (
        {"tolerationKeys": ["example.com/*", "**"]}, {}, {"probe__tolerations": [EVERY_TAINT]},
        "spec.probe.tolerations[0]: every taint, as it has no key, is not allowed (allowed: example.com/*, **); change it, "
        "or ask the administrator to add * to limits.tolerationKeys",
    ),
    ({"tolerationKeys": []}, {}, {"probe__tolerations": [{"operator": "Exists", "key": ""}]}, "spec.probe.tolerations[0]"),
    ({"maxTimeoutSeconds": 1800}, {}, {"probe__timeouts__runSeconds": 1801}, "spec.probe.timeouts.runSeconds: 1801"),
    (
        {"maxCommandBytes": 55}, {"checks__commands": [{"name": "a", "command": ["b"]}]},
        {"checks__commands": [{"name": "a", "command": ["$"]}]}, "spec.checks.commands: 56 bytes is more than 55",
    ),
    (
        {"pullSecrets": [TEAM]}, {"imagePullSecrets": [{"name": "registry"}]},
        {"imagePullSecrets": [{"name": "registry"}, {"name": "other"}]}, "spec.imagePullSecrets[1]: the Secret other is",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "allowed", "refused", "words"), CHANGED)
def test_a_limit_that_the_administrator_has_changed(
    limits: dict[str, Any], allowed: dict[str, Any], refused: dict[str, Any], words: str
) -> None:
    if allowed != refused:
        assert found(limits, **allowed) == []
    (line,) = found(limits, **refused)
    assert line.startswith(words)


@pytest.mark.parametrize(
    ("name", "allowed"), [("team-a-1", True), ("team-b-1", False), ("x-team-a-1", False)]
)
def test_a_secret_is_for_the_environments_that_it_is_mapped_to(name: str, allowed: bool) -> None:
    lines = found({"pullSecrets": [TEAM]}, name, imagePullSecrets=[{"name": "registry"}])
    assert (lines == []) == allowed


def test_everything_that_is_refused_is_named() -> None:
    fields: dict[str, Any] = {}
    for change, _ in REFUSED:
        fields |= {key: value for key, value in change.items() if key not in fields}
    lines = found(**fields)
    assert len(lines) == len({line.partition(" ")[0] for line in lines}) == len(fields)


def test_a_long_value_is_shown_in_part() -> None:
    (line,) = found(probe__podAnnotations={"a/" + "x" * 60 + "\u202e": ""} | {"b/" + "y" * 5000: ""})[1:]
    assert len(line) < 400


# ---- images ----------------------------------------------------------------------------------------------

DIGEST = "@sha256:" + "0" * 64

IMAGES: list[tuple[str, list[str], list[str]]] = [
    (
        "registry.example.com/*",
        ["registry.example.com/a:1", "registry.example.com/a/b/c:1", f"registry.example.com/a{DIGEST}"],
        [
            "registry.example.com.evil/a:1",
            "evil/registry.example.com/a:1",
            "evil.example/registry.example.com/a:1",
            "registry.example.com:5000/a:1",
            "registry.example.com@evil.example/a:1",
            "user@registry.example.com/a:1",
            "docker.io/registry.example.com/a:1",
            "index.docker.io/registry.example.com/a:1",
            "docker.io/library/registry.example.com/a:1",
            "registry.example.com",
            "a:1",
        ],
    ),
    ("registry.example.com*", [], ["registry.example.com.evil/a:1", "registry.example.com/a:1"]),
    (
        "*.example.com/*",
        ["a.example.com/b:1"],
        ["evil.test/a.example.com/b:1", "evil.test/x/.example.com/b:1", "example.com/a:1"],
    ),
    ("registry.example.com/a/*", ["registry.example.com/a/b:1"], ["registry.example.com/a/../b:1"]),
    ("registry.example.com:5000/*", ["registry.example.com:5000/a:1"], ["registry.example.com:50001/a:1"]),
    ("localhost/*", ["localhost/a:1"], ["docker.io/localhost/a:1"]),
    (
        "docker.io/*",
        ["python:3.13", "library/python:3.13", "pytorch/pytorch:2", "index.docker.io/a/b:1", "docker.io/a/b:1"],
        ["quay.io/a/b:1", "localhost/a:1", "FOO/a:1", "host:5000/a:1"],
    ),
    (
        "pytorch/*",
        ["pytorch/pytorch:2", "docker.io/pytorch/pytorch:2", "index.docker.io/pytorch/pytorch:2"],
        ["pytorch:2", "quay.io/pytorch/pytorch:2", "x/pytorch/pytorch:2"],
    ),
    (
        "docker.io/library/*",
        ["python:3.13", "library/python:3.13", "docker.io/python:3.13", "docker.io/library/python:3.13"],
        ["pytorch/pytorch:2"],
    ),
    ("python:*", ["python:3.13", "docker.io/library/python:3.13"], ["evil/python:3.13", "python-evil:3.13"]),
    ("*@sha256:*", [f"any.example.com/a{DIGEST}", f"a{DIGEST}"], ["any.example.com/a:1"]),
    ("*", ["any.example.com:1/a:1", "a:1", "FOO/a:1"], []),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "allowed", "refused"), IMAGES)
def test_the_images_of_a_pattern(pattern: str, allowed: list[str], refused: list[str]) -> None:
    assert [image for image in allowed if not is_allowed(image, [pattern])] == []
    assert [image for image in refused if is_allowed(image, [pattern])] == []


@given(
    st.sampled_from(["docker.io/", "index.docker.io/", ""]),
    st.sampled_from(["library/", ""]),
    st.sampled_from(
        [image for _, allowed, refused in IMAGES for image in (*allowed, *refused) if "/" not in image]
    ),
    st.sampled_from([pattern for pattern, *_ in IMAGES]),
)
def test_the_way_in_which_an_image_is_written_makes_no_difference(
    registry: str, library: str, image: str, pattern: str
) -> None:
    assert is_allowed(registry + library + image, [pattern]) == is_allowed(image, [pattern])


# ---- all together ----------------------------------------------------------------------------------------

texts = st.text("abz.-/_0", max_size=12)


@st.composite
def specs_within_their_limits(draw: st.DrawFn) -> tuple[EnvironmentSpec, Limits]:
    """Draw limits, and a specification that asks for things only that these limits list or bound."""
    devices, seconds, size = (
        draw(st.integers(1, 64)),
        draw(st.integers(1800, 86400)),
        draw(st.integers(2, 500)),
    )
    many = st.lists(texts.filter(bool), unique=True, min_size=1, max_size=3).map(tuple)
    classes, runtimes, schedulers, labels, annotations, variables, taints, secrets = (
        draw(many) for _ in range(8)
    )
    resource = draw(st.sampled_from(["nvidia.com/gpu", "example.com/gpu"]))
    probe = {
        "device": {"resourceName": resource, "count": draw(st.integers(1, devices))},
        "priorityClassName": draw(st.sampled_from([None, *classes])),
        "runtimeClassName": draw(st.sampled_from([None, *runtimes])),
        "schedulerName": draw(st.sampled_from([None, *schedulers])),
        "resources": {
            "limits": {"cpu": draw(st.integers(0, 16)), "memory": f"{draw(st.integers(0, 64))}Gi"},
            "requests": {"ephemeral-storage": draw(st.sampled_from([0, "1k", "32Gi", "500m"]))},
        },
        "podLabels": dict.fromkeys(labels, "x"),
        "podAnnotations": dict.fromkeys(annotations, "x"),
        "env": [{"name": name} for name in variables],
        "tolerations": [{"key": key} for key in taints],
        "timeouts": {"runSeconds": draw(st.integers(1, seconds))},
    }
    command = {"name": "a", "command": ["x" * draw(st.integers(1, 30))]}
    made = parse({
        "image": builders.IMAGE,
        "probe": probe,
        "imagePullSecrets": [{"name": name} for name in secrets],
        "checks": {"commands": [command] if size > 100 else []},
    })  # fmt: skip
    return made, Limits(
        images=(
            draw(st.sampled_from([builders.IMAGE, "*", "pytorch/*", "docker.io/*", "*@*"])),
            "pytorch/pytorch:*",
        ),
        priority_class_names=classes,
        resource_names=(resource,),
        max_devices=devices,
        environment_variables=variables,
        pod_label_keys=labels,
        pod_annotation_keys=annotations,
        runtime_class_names=runtimes,
        scheduler_names=schedulers,
        toleration_keys=taints,
        max_timeout_seconds=seconds,
        max_command_bytes=size,
        pull_secrets=tuple(PullSecret(name, ("t*",)) for name in secrets),
    )


@given(specs_within_their_limits())
def test_what_is_within_the_limits_is_never_refused(drawn: tuple[EnvironmentSpec, Limits]) -> None:
    made, limits = drawn
    assert violations(NAME, made, limits) == []


# ---- what no limit can allow -----------------------------------------------------------------------------


def test_commands_that_no_program_could_be_given_are_refused() -> None:
    """Linux passes a program no variable of more than 128 KiB: the probe would not even start."""
    with pytest.raises(
        SpecError, match=r"spec\.checks\.commands: has 132854 bytes as JSON, and a program can get no"
    ):
        spec(checks__commands=[{"name": f"c{index}", "command": ["x" * 4096]} for index in range(32)])
    assert spec(checks__commands=[{"name": f"c{index}", "command": ["x" * 4000]} for index in range(32)])
