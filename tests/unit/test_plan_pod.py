"""The probe pod's manifest: what it asks for, what it leaves alone, and what of the specification arrives in it."""

import json
from dataclasses import replace
from typing import Any

from tests.support import builders

from gpuenv.api import names
from gpuenv.plan.demand import demand
from gpuenv.plan.objects import records
from gpuenv.plan.run import manifest
from gpuenv.plan.settings import Settings

SETTINGS = Settings(config_map="gpuenv-probe-0123456789")
DEMAND = demand("of the environment", "of the report")


def build(
    *, on: dict[str, Any] | None = None, openshift: bool = False, name: str = "n1", **spec: Any
) -> dict[str, Any]:
    environment = records.environment_record(builders.environment(**spec))
    node = records.node_record(builders.node(name, **(on or {})))
    settings = replace(SETTINGS, openshift=openshift)
    return manifest.build(environment, node, settings, run_id="0123456789", demand=DEMAND)


def containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [*manifest["spec"]["initContainers"], *manifest["spec"]["containers"]]


def env(manifest: dict[str, Any], container: int = 0) -> dict[str, str]:
    return {item["name"]: item["value"] for item in containers(manifest)[container]["env"]}


def test_two_stages_of_one_image_each_with_the_device() -> None:
    made = build(imagePullPolicy="Always", probe={"device": {"count": 2}})
    assert [container["name"] for container in containers(made)] == ["facts", "kernels"]
    for container in containers(made):
        assert container["image"] == builders.IMAGE
        assert container["imagePullPolicy"] == "Always"
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
        assert container["resources"]["requests"]["nvidia.com/gpu"] == "2"
        assert container["terminationMessagePolicy"] == "File"
        assert container["command"] == ["python3", "/opt/gpuenv/gpuenv-probe.pyz", container["name"]]


def test_the_scheduler_places_it_on_that_node_only() -> None:
    made = build()["spec"]
    terms = made["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms == {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]
    }
    assert "nodeName" not in made


def test_it_stands_in_nobodys_way() -> None:
    made = build()
    assert made["spec"]["priorityClassName"] == "gpuenv-probe"
    assert made["spec"]["terminationGracePeriodSeconds"] == 5
    assert made["spec"]["restartPolicy"] == "Never"
    assert made["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "true"
    for container in containers(made):
        assert container["resources"]["requests"] | {"nvidia.com/gpu": ""} == {
            "cpu": "100m",
            "memory": "256Mi",
            "ephemeral-storage": "0",
            "nvidia.com/gpu": "",
        }


def test_the_kubelet_ends_it_when_no_operator_does() -> None:
    timeouts = {"schedulingSeconds": 10, "setupSeconds": 20, "pullSeconds": 30, "runSeconds": 100}
    made = build(probe={"timeouts": timeouts})
    assert made["spec"]["activeDeadlineSeconds"] == 10 + 20 + 30 + 2 * 100 + manifest.SLACK_SECONDS
    assert env(made)["GPUENV_DEADLINE_SECONDS"] == "100"


def test_it_brings_no_credentials() -> None:
    made = build()["spec"]
    assert made["automountServiceAccountToken"] is False
    assert made["enableServiceLinks"] is False
    assert {next(iter(set(volume) - {"name"})) for volume in made["volumes"]} == {"configMap", "emptyDir"}


def test_pod_security_restricted_with_an_explicit_user() -> None:
    made = build()
    assert made["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for container in containers(made):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
    assert (env(made)["HOME"], env(made)["USER"]) == ("/tmp", "gpuenv")


def test_openshift_chooses_the_user_itself() -> None:
    assert "runAsUser" not in build(openshift=True)["spec"]["securityContext"]
    assert build(openshift=True)["spec"]["securityContext"]["runAsNonRoot"] is True


def test_the_images_own_user() -> None:
    made = build(probe={"runAs": "Image"})
    assert made["spec"]["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert "HOME" not in env(made)


def test_behind_the_entry_point() -> None:
    made = build(probe={"useEntrypoint": True, "python": "/opt/conda/bin/python"})
    for container in containers(made):
        assert "command" not in container
        assert container["args"][:2] == ["/opt/conda/bin/python", manifest.ARCHIVE]


def test_what_the_probe_is_told() -> None:
    made = build(
        checks={
            "imports": ["vllm"],
            "features": ["Compile"],
            "commands": [{"name": "smoke", "command": ["a", "b c"], "timeoutSeconds": 7}],
        },
        benchmarks={"profile": "Standard"},
        probe={"env": [{"name": "HOME", "value": "/data"}, {"name": "A", "value": "$(B)"}]},
        on={"labels": {"nvidia.com/gpu.sharing-strategy": "mps"}},
    )
    told = env(made, 1)
    assert told["GPUENV_RUN"] == "0123456789"
    assert (told["GPUENV_PROFILE"], told["GPUENV_SHARING"], told["GPUENV_COMPILE"]) == (
        "Standard",
        "mps",
        "1",
    )
    assert json.loads(told["GPUENV_IMPORTS"]) == ["vllm"]
    assert json.loads(told["GPUENV_CHECKS"]) == [
        {"name": "smoke", "command": ["a", "b c"], "timeoutSeconds": 7}
    ]
    assert told["HOME"] == "/data", "the author's value wins"


def test_what_kubernetes_would_expand_is_escaped_in_what_we_write() -> None:
    """``$(NAME)`` in a value is replaced by the kubelet; a check's command must arrive as it was written."""
    made = build(
        checks={"commands": [{"name": "a", "command": ["sh", "-c", "echo $(HOME)"]}]},
        probe={"env": [{"name": "A", "value": "$(B)$$(B)"}], "python": "/opt/$(A)/bin/python"},
    )
    assert "$$(HOME)" in env(made)["GPUENV_CHECKS"]
    assert env(made)["A"] == "$$(B)$$$$(B)"
    assert made["spec"]["containers"][0]["command"][0] == "/opt/$$(A)/bin/python"


def test_it_says_whose_it_is() -> None:
    probe = {"podLabels": {"queue": "a"}, "podAnnotations": {"note": "b"}}
    made = build(probe=probe)
    metadata = made["metadata"]
    assert metadata["name"] == "pt-n1-0123456789"
    assert metadata["labels"]["queue"] == "a"
    assert metadata["annotations"]["note"] == "b"
    record = records.pod_record(made)
    assert (record.environment, record.node, record.run_id) == ("pt", "n1", "0123456789")
    assert (record.inputs_hash, record.fingerprint) == (
        records.environment_record(builders.environment(probe=probe)).inputs_hash,
        records.node_record(builders.node()).fingerprint,
    )
    assert record.demand == DEMAND


def test_a_long_node_name_fits_everywhere() -> None:
    name = "gpu-node." * 25 + "example.com"
    made = build(name=name)
    assert len(made["metadata"]["name"]) <= 63
    assert len(made["metadata"]["labels"][names.LABEL_NODE]) <= 63
    assert records.pod_record(made).node == name


def test_tolerations_are_added_to_the_default() -> None:
    extra = {"key": "team", "operator": "Equal", "value": "a", "effect": "NoSchedule"}
    made = build(probe={"tolerations": [extra]})
    assert made["spec"]["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}, extra]


def test_optional_fields_are_absent_unless_asked_for() -> None:
    assert not {"runtimeClassName", "schedulerName", "imagePullSecrets"} & set(build()["spec"])
    made = build(
        probe={"runtimeClassName": "nvidia", "schedulerName": "s", "priorityClassName": "p"},
        imagePullSecrets=[{"name": "registry"}],
    )["spec"]
    assert (made["runtimeClassName"], made["schedulerName"], made["priorityClassName"]) == (
        "nvidia",
        "s",
        "p",
    )
    assert made["imagePullSecrets"] == [{"name": "registry"}]
