"""The chart's policies for probe pods with limits of an administrator, against the real API server.

The operator judges the same environments by the same limits, and both must come to the same answer.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.builders import environment
from tests.support.cluster import Kubectl
from tests.support.helm import CHART, KUBE_VERSION, Helm, helm
from tests.support.probe_pods import built, changed
from tests.support.unique import unique
from tests.support.wait import wait_until

from gpuenv.api.limits import limits_parser
from gpuenv.api.limits.violations import violations
from gpuenv.api.spec.environment_parser import parse
from gpuenv_sandbox.control_plane.admin_client import ApiError
from gpuenv_sandbox.control_plane.cluster import ControlPlane

__all__ = ["helm"]

Raw = dict[str, Any]
EXAMPLES = Path(__file__).parents[2] / "examples"

LIMITS: Raw = {
    "images": [
        "registry.example.com/*",
        "*.mirror.example.com/*",
        "registry.example.net*",
        "docker.io/pytorch/pytorch:2.*",
        "nvidia/*",
        "docker.io/library/tool:1",
        "*@sha256:*",
    ],
    "priorityClassNames": ["gpuenv-probe", "gpuenv-other"],
    "resourceNames": ["nvidia.com/gpu", "nvidia.com/mig-*.5gb", "rdma/*"],
    "maxDevices": 2,
    "maxResources": {"cpu": "2", "memory": "10Gi", "ephemeral-storage": "8Gi"},
    "environmentVariables": ["NCCL_*", "HF_HOME"],
    "podLabelKeys": ["team", "kueue.x-k8s.io/queue-name"],
    "podAnnotationKeys": ["example.com/cost-centre"],
    "runtimeClassNames": [],
    "schedulerNames": ["mine"],
    "tolerationKeys": ["team.*"],
    "maxTimeoutSeconds": 1800,
    "maxCommandBytes": 200,
    "pullSecrets": [
        {"secretName": "team-registry", "environments": ["team-a-*", "b"]},
        {"secretName": "everybodys", "environments": ["*"]},
    ],
}
RUNTIME = "other-than-limits"
IMAGE = "registry.example.com/team/train:1"
CPU = {"limits": {"cpu": "2", "memory": "10Gi", "ephemeral-storage": "8Gi"}}


def row(allowed: bool, name: str = "pt", **fields: Any) -> Any:
    """One environment: whether the limits allow it, its name, and the fields of its specification."""
    probe = {"resources": CPU} | fields.pop("probe", {})
    spec = {"image": IMAGE, "probe": probe} | fields
    return pytest.param(name, spec, allowed, id=f"{name} {fields or probe}"[:90])


def probe(**fields: Any) -> Raw:
    return {"probe": fields}


def device(resource: str, count: int = 1) -> Raw:
    return probe(device={"resourceName": resource, "count": count})


def toleration(**fields: str) -> Raw:
    return probe(tolerations=[{"operator": "Exists"} | fields])


def variable(name: str) -> Raw:
    return probe(env=[{"name": name, "value": "x"}])


def amounts(**limits: str) -> Raw:
    return probe(resources={"limits": CPU["limits"] | limits})


def secrets(*found: str) -> Raw:
    return {"imagePullSecrets": [{"name": one} for one in found]}


def command(dollars: int) -> Raw:
    """Checks with one command, which a pod carries as 54 bytes of JSON and two for each dollar sign."""
    return {"checks": {"commands": [{"name": "a", "command": ["$" * dollars], "timeoutSeconds": 300}]}}


ROWS = [
    row(True),
    *(
        row(True, image=image)
        for image in (
            "pytorch/pytorch:2.9.1",
            "index.docker.io/pytorch/pytorch:2.9.1",
            "docker.io/pytorch/pytorch:2.9.1",
            "docker.io/nvidia/cuda:13.0",
            "nvidia/cuda:13.0",
            "tool:1",
            "library/tool:1",
            "docker.io/tool:1",
            "registry-1.docker.io/library/tool:1",
            "eu.mirror.example.com/team/train:1",
            "anything/at/all@sha256:" + "0" * 64,
        )
    ),
    *(
        row(False, image=image)
        for image in (
            "pytorch/pytorch:1.0",
            "tool:12",
            "localhost/pytorch/pytorch:2.9.1",
            "docker.io/localhost/nvidia:1",
            "registry-example.com/team/train:1",
            "registry.example.com:5000/team/train:1",
            "registry.example.net.evil.example/train:1",
            "registry.example.net/train:1",
            "10.0.0.1/a.mirror.example.com/train:1",
            "evil/registry.example.com/team:1",
            "registry.example.com/../evil:1",
            "nvidia//cuda:1",
        )
    ),
    row(True, **device("nvidia.com/gpu", 2)),
    row(True, **device("nvidia.com/mig-1g.5gb")),
    row(True, **device("rdma/hca")),
    row(False, **device("nvidia.com/gpu", 3)),
    row(False, **device("nvidia.com/mig-1g.5gbx")),
    row(False, **device("nvidia.com/mig-1g-5gb")),
    row(False, **device("xnvidia.com/gpu")),
    row(False, **amounts(memory="10241Mi")),
    row(False, **amounts(cpu="2001m")),
    row(True, **variable("NCCL_DEBUG")),
    row(True, **variable("HF_HOME")),
    row(False, **variable("HF_HOME2")),
    row(False, **variable("XNCCL_")),
    row(False, **variable("NVIDIA_VISIBLE_DEVICES")),
    row(True, **probe(podLabels={"team": "a"})),
    row(False, **probe(podLabels={"teams": "a"})),
    row(True, **probe(podAnnotations={"example.com/cost-centre": "x" * 4096})),
    row(False, **probe(podAnnotations={"example.com/cost": "1"})),
    row(False, **probe(runtimeClassName=RUNTIME)),
    row(True, **probe(schedulerName="mine")),
    row(False, **probe(schedulerName="theirs")),
    row(True, **toleration(key="team.blue")),
    row(False, **toleration(key="teams")),
    row(False, **toleration()),
    row(True, **command(72)),
    row(False, **command(74)),
    row(True, "team-a-1", **secrets("team-registry", "everybodys")),
    row(True, "b", **secrets("team-registry")),
    row(False, "bb", **secrets("team-registry")),
    row(False, "team-b-1", **secrets("team-registry")),
    row(False, "team-a-1", **secrets("theirs")),
]


@pytest.fixture(scope="module")
def follows(
    policed: ControlPlane, helm: Helm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ControlPlane, str]]:
    """The control plane, and a namespace with the chart's policies for probe pods with these limits."""
    runtimes = "/apis/node.k8s.io/v1/runtimeclasses"
    policed.admin.create(runtimes, {"metadata": {"name": RUNTIME}, "handler": RUNTIME})
    yield from in_force(policed, helm, tmp_path_factory.mktemp("values") / "values.yaml", LIMITS)
    policed.admin.delete(f"{runtimes}/{RUNTIME}")


def in_force(
    policed: ControlPlane, helm: Helm, file: Path, limits: Raw
) -> Iterator[tuple[ControlPlane, str]]:
    kubectl, namespace = Kubectl(policed), unique("limits")
    values = {"limits": limits, "probes": {"namespace": {"name": namespace}}}
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    command = ("template", "gpuenv", str(CHART), "--kube-version", KUBE_VERSION, "-n", "gpuenv-system")
    rendered = helm(*command, "--values", str(file), "-s", "templates/probe-pods.yaml")
    documents = [one for one in yaml.safe_load_all(rendered) if one and one["kind"] != "ResourceQuota"]
    for one in documents:  # beside the policy with the default limits
        one["metadata"]["name"] = namespace
        if "policyName" in one["spec"]:
            one["spec"]["policyName"] = namespace
    kubectl("create", "namespace", namespace)
    kubectl.apply(*documents)
    wait_until(lambda: kubectl.run("get", "serviceaccount", "default", "-n", namespace).returncode == 0)
    bound = changed(built(namespace=namespace), ("spec", "nodeName"), "n1")
    wait_until(lambda: "ValidatingAdmissionPolicy" in refusal(policed, bound))
    yield policed, namespace
    kubectl("delete", "--wait=false", f"namespace/{namespace}")
    kubectl(
        "delete", f"validatingadmissionpolicy/{namespace}", f"validatingadmissionpolicybinding/{namespace}"
    )


def refusal(cluster: ControlPlane, pod: Raw) -> str:
    """What the API server says to a pod, or "" if it admits it."""
    try:
        cluster.admin.create(f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods?dryRun=All", pod)
    except ApiError as error:
        return error.message
    return ""


@pytest.mark.parametrize(("name", "spec", "allowed"), ROWS)
def test_both_judge_alike(follows: tuple[ControlPlane, str], name: str, spec: Raw, allowed: bool) -> None:
    cluster, namespace = follows
    answer = refusal(cluster, built(name, namespace, **spec))
    judged = violations(name, parse(environment(name, **spec)["spec"]), limits_parser.parse(LIMITS))
    assert ("" if allowed else f"ValidatingAdmissionPolicy '{namespace}'") in answer
    assert (answer == "", judged == []) == (allowed, allowed), (answer, judged)


def test_the_example_with_all_fields_needs_few_limits(
    policed: ControlPlane, helm: Helm, tmp_path: Path
) -> None:
    spec = yaml.safe_load((EXAMPLES / "all-fields.yaml").read_text(encoding="utf-8"))["spec"]
    del spec["probe"]["runtimeClassName"]  # the cluster has none
    limits = {
        "podAnnotationKeys": ["example.com/cost-centre"],
        "pullSecrets": [{"secretName": "team-registry", "environments": ["all-fields"]}],
    }
    for cluster, namespace in in_force(policed, helm, tmp_path / "values.yaml", limits):
        assert refusal(cluster, built("all-fields", namespace, **spec)) == ""
        assert "imagePullSecrets" in refusal(cluster, built("another", namespace, **spec))


def test_the_largest_pod_costs_less_than_the_api_server_allows(
    policed: ControlPlane, helm: Helm, tmp_path: Path
) -> None:
    """As many and as long texts as the schemas of environments and of the chart's values admit, or very many."""
    patterns = [f"very.long.pattern.with.some.text.{number}*" for number in range(64)]
    keys = [f"example.com/{'k' * 50}{number}" for number in range(32)]
    largest: Raw = {
        "images": [*patterns, "registry.example.com/*"],
        "resourceNames": [*patterns, "nvidia.com/gpu"],
        "environmentVariables": [*patterns, "V*"],
        "tolerationKeys": [*patterns, "t*"],
        "podLabelKeys": keys,
        "podAnnotationKeys": keys,
        "maxCommandBytes": 100_000,
        "pullSecrets": [{"secretName": f"s{one}", "environments": ["*-*-*", "*"]} for one in range(64)],
    }
    spec: Raw = {
        "image": "registry.example.com/" + "i" * 480 + ":1",
        "imagePullSecrets": [{"name": f"s{one}"} for one in range(56, 64)],
        "checks": {"commands": [{"name": "a", "command": ["sh", "-c", "$" * 45_000]}]},
        "probe": {
            "env": [{"name": f"V{'x' * 120}{one:02}", "value": "v" * 4096} for one in range(64)],
            "podLabels": dict.fromkeys(keys, "l" * 63),
            "podAnnotations": dict.fromkeys(keys, "a" * 1000),
            "tolerations": [{"key": f"t{'k' * 55}{one:02}", "operator": "Exists"} for one in range(16)],
        },
    }
    for cluster, namespace in in_force(policed, helm, tmp_path / "values.yaml", largest):
        assert refusal(cluster, built("e" * 50, namespace, **spec)) == ""
