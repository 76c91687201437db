"""How far a probe pod is confined: what it may use and write, in which user namespace it runs, and how to loosen that."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders

from gpuenv.plan.objects import records
from gpuenv.plan.run import manifest
from gpuenv.plan.settings import Settings, UserNamespaces

DEVICE = {"nvidia.com/gpu": "1"}
SETTINGS = Settings()
USUAL_LIMITS = {"cpu": "8", "memory": "8Gi", "ephemeral-storage": "6Gi"}
USUAL_REQUESTS = {"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "0"}


def pod_spec(
    node: dict[str, Any] | None = None, *, settings: Settings = SETTINGS, **spec: Any
) -> dict[str, Any]:
    environment = records.environment_record(builders.environment(**spec))
    record = records.node_record(node or builders.node())
    made: dict[str, Any] = manifest.build(environment, record, settings, run_id="0123456789")["spec"]
    return made


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec["initContainers"], *spec["containers"]]


def env(spec: dict[str, Any]) -> dict[str, str]:
    return {
        item["name"]: item["value"]
        for item in containers(spec)[0]["env"]
        if not item["name"].startswith("GPUENV")
    }


@pytest.mark.parametrize(
    ("asked", "compiles", "limits", "requests"),
    [
        ({}, False, {}, {}),
        ({}, True, {"memory": "16Gi"}, {}),
        ({"limits": {"memory": "4Gi"}}, False, {"memory": "4Gi"}, {}),
        ({"limits": {"memory": "128Mi"}}, False, {"memory": "128Mi"}, {"memory": "128Mi"}),
        ({"limits": {"cpu": "50m"}}, False, {"cpu": "50m"}, {"cpu": "50m"}),
        ({"limits": {"cpu": 2}}, False, {"cpu": 2}, {}),
        ({"limits": {"ephemeral-storage": "20Gi"}}, False, {"ephemeral-storage": "20Gi"}, {}),
        ({"requests": {"memory": "2Gi"}}, False, {}, {"memory": "2Gi"}),
        ({"limits": {"example.com/nic": 1}}, False, {"example.com/nic": 1}, {}),
    ],
)  # fmt: skip
def test_resources(
    asked: dict[str, Any], compiles: bool, limits: dict[str, Any], requests: dict[str, Any]
) -> None:
    made = pod_spec(probe={"resources": asked}, checks={"features": ["Compile"] if compiles else []})
    for container in containers(made):
        assert container["resources"] == {
            "limits": USUAL_LIMITS | limits | DEVICE,
            "requests": USUAL_REQUESTS | requests | DEVICE,
        }


@pytest.mark.parametrize(
    "asked", [{"cpu": "16"}, {"cpu": 16}, {"memory": "12Gi"}, {"ephemeral-storage": "10Gi"}, {"cpu": "9000m"}]
)
def test_a_default_limit_is_never_below_a_request(asked: dict[str, Any]) -> None:
    """The API server would refuse the pod."""
    made = containers(pod_spec(probe={"resources": {"requests": asked}}))[0]["resources"]
    assert made["limits"] == USUAL_LIMITS | asked | DEVICE
    assert made["requests"] == USUAL_REQUESTS | asked | DEVICE


@pytest.mark.parametrize("zero", ["0", 0, "0Gi", "0.0", "0m"])
def test_a_limit_of_zero_which_is_none_for_the_kubelet_lifts_no_limit(zero: Any) -> None:
    for name in USUAL_LIMITS:
        made = pod_spec(probe={"resources": {"limits": {name: zero}}})
        assert containers(made)[0]["resources"]["limits"] == USUAL_LIMITS | DEVICE


@pytest.mark.parametrize(
    ("limit", "size"), [(None, "4Gi"), ("1Gi", "1Gi"), ("20Gi", "20Gi"), (1048576, "1048576")]
)
def test_only_tmp_can_be_written_to_and_it_is_bounded(limit: str | int | None, size: str) -> None:
    limits = {"ephemeral-storage": limit} if limit is not None else {}
    made = pod_spec(probe={"resources": {"limits": limits}})
    assert {volume["name"]: set(volume) - {"name"} for volume in made["volumes"]} == {
        "probe": {"configMap"},
        "tmp": {"emptyDir"},
    }
    assert made["volumes"][1]["emptyDir"] == {"sizeLimit": size}
    for container in containers(made):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")] == [
            "/tmp"
        ]


def test_a_writable_root_file_system_is_a_pod_without_the_field() -> None:
    made = pod_spec(probe={"rootFilesystem": "Writable"})
    for container in containers(made):
        assert "readOnlyRootFilesystem" not in container["securityContext"]
        assert container["resources"]["limits"] == USUAL_LIMITS | DEVICE


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        ({}, {"HOME": "/tmp", "USER": "gpuenv", "TMPDIR": "/tmp"}),
        ({"rootFilesystem": "Writable"}, {"HOME": "/tmp", "USER": "gpuenv"}),
        (
            {"runAs": "Image"},
            {
                "TMPDIR": "/tmp",
                "XDG_CACHE_HOME": "/tmp/.cache",
                "TRITON_CACHE_DIR": "/tmp/.triton/cache",
                "CUDA_CACHE_PATH": "/tmp/.nv/ComputeCache",
            },
        ),
        ({"runAs": "Image", "rootFilesystem": "Writable"}, {}),
        (
            {"env": [{"name": "TMPDIR", "value": "/dev/shm"}]},
            {"HOME": "/tmp", "USER": "gpuenv", "TMPDIR": "/dev/shm"},
        ),
    ],
)
def test_what_the_image_writes_goes_to_tmp_unless_the_author_says_otherwise(
    probe: dict[str, Any], expected: dict[str, str]
) -> None:
    assert env(pod_spec(probe=probe)) == expected


def handlers(*names: str) -> dict[str, Any]:
    """Return a node whose container runtime supports user namespaces with these handlers."""
    node = builders.node()
    supported = [{"name": name, "features": {"userNamespaces": True}} for name in names]
    node["status"]["runtimeHandlers"] = [
        {"name": "old", "features": {"userNamespaces": False}},
        {"name": "x"},
        *supported,
    ]
    return node


@pytest.mark.parametrize(
    ("mode", "node", "runtime_class", "openshift", "expected"),
    [
        ("Never", handlers("", "nvidia"), None, False, None),
        ("WhereSupported", handlers("", "nvidia"), None, False, False),
        ("WhereSupported", handlers("", "nvidia"), "nvidia", False, False),
        ("WhereSupported", handlers(""), "nvidia", False, None),
        ("WhereSupported", handlers("nvidia"), None, False, None),
        ("WhereSupported", handlers(""), "old", False, None),
        ("WhereSupported", handlers(""), None, True, None),
        ("WhereSupported", builders.node(), None, False, None),
    ],
)
def test_a_user_namespace_only_where_it_is_wanted_and_supported(
    mode: UserNamespaces,
    node: dict[str, Any],
    runtime_class: str | None,
    openshift: bool,
    expected: bool | None,
) -> None:
    probe = {"runtimeClassName": runtime_class} if runtime_class else {}
    settings = replace(SETTINGS, user_namespaces=mode, openshift=openshift)
    made = pod_spec(node, settings=settings, probe=probe)
    assert made.get("hostUsers") is expected
    assert ("hostUsers" in made) is (expected is False)


def test_user_namespaces_are_off_by_default() -> None:
    assert "hostUsers" not in pod_spec(handlers(""))
