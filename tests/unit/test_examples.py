"""Every example makes sense, and those that belong together agree. The API server judges them elsewhere."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuenv import manifests
from gpuenv.api import names
from gpuenv.api.limits.limits import Limits
from gpuenv.api.limits.violations import violations
from gpuenv.api.spec.environment_parser import parse

EXAMPLES = Path(__file__).parents[2] / "examples"
REFUSED = {"probe.env[].valueFrom", "strategy.samplesPerClass"}
"""Fields that exist only so that the API server refuses them instead of dropping them silently."""
LUA = next(filter(None, map(shutil.which, ("lua5.4", "lua5.3", "lua"))), None)


def documents(path: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / path).read_text(encoding="utf-8")))


def document(path: str, kind: str) -> dict[str, Any]:
    (found,) = [one for one in documents(path) if one["kind"] == kind]
    return found


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_an_environment_makes_sense_and_is_named_as_its_file(path: Path) -> None:
    (environment,) = documents(path.name)
    assert environment["kind"] == names.ENVIRONMENT_KIND, "`kubectl apply -f examples/` must need gpuenv only"
    assert parse(environment["spec"]).image
    shortened = {"pytorch-2.9-by-digest": "pytorch-2-9-pinned"}
    assert environment["metadata"]["name"] == shortened.get(path.stem, path.stem.replace(".", "-"))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_default_limits_allow_an_environment(path: Path) -> None:
    (environment,) = documents(path.name)
    refused = [
        line.partition(":")[0]
        for line in violations(environment["metadata"]["name"], parse(environment["spec"]), Limits())
    ]
    assert refused == (
        ["spec.imagePullSecrets[0]", "spec.probe.podAnnotations"] if path.stem == "all-fields" else []
    )


def test_all_fields_has_all_fields() -> None:
    (crd,) = [one for one in manifests.crds() if one["spec"]["names"]["kind"] == names.ENVIRONMENT_KIND]
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    given = document("all-fields.yaml", names.ENVIRONMENT_KIND)["spec"]
    assert paths_of(spec) - REFUSED == keys_of(given)


def test_the_advertised_claims_are_those_of_the_article() -> None:
    environment = document("pytorch-cuda-v2.9-as-advertised.yaml", names.ENVIRONMENT_KIND)
    expect = parse(environment["spec"]).expect
    assert (expect.pytorch, expect.cuda, expect.cudnn) == ("==2.9.*", "==11.8.*", "==8.7.*")
    assert (expect.python, expect.driver, expect.driver_rule) == ("==3.9.*", ">=520", "Toolkit")


def test_workloads_select_by_the_label_of_the_example() -> None:
    label = names.node_label(document("pytorch-2.9.yaml", names.ENVIRONMENT_KIND)["metadata"]["name"])
    pod = document("scheduling/deployment-require.yaml", "Deployment")["spec"]["template"]["spec"]
    flavour = document("integrations/kueue.yaml", "ResourceFlavor")["spec"]
    assert pod["nodeSelector"] == flavour["nodeLabels"] == {label: "Compatible"}

    pod = document("scheduling/deployment-avoid.yaml", "Deployment")["spec"]["template"]["spec"]
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term["matchExpressions"] == [{"key": label, "operator": "NotIn", "values": ["Incompatible"]}]


def test_the_queue_covers_its_flavour() -> None:
    (group,) = document("integrations/kueue.yaml", "ClusterQueue")["spec"]["resourceGroups"]
    (flavour,) = group["flavors"]
    assert flavour["name"] == document("integrations/kueue.yaml", "ResourceFlavor")["metadata"]["name"]
    assert [resource["name"] for resource in flavour["resources"]] == group["coveredResources"]


def test_the_readiness_rule_does_not_lock_the_probe_out() -> None:
    """Fields and limits: https://github.com/kubernetes-sigs/node-readiness-controller (api/v1alpha1)."""
    rule = document("integrations/node-readiness.yaml", "NodeReadinessRule")["spec"]
    environment = document("integrations/node-readiness.yaml", names.ENVIRONMENT_KIND)
    spec = parse(environment["spec"])
    assert rule["conditions"] == [
        {"type": names.node_label(environment["metadata"]["name"]), "requiredStatus": "True"}
    ]
    assert spec.node_condition == "Measured", (
        "the rule waits for a condition that is published only on request"
    )
    assert {
        "key": rule["taint"]["key"],
        "operator": "Exists",
        "effect": rule["taint"]["effect"],
    } in spec.probe.tolerations
    assert rule["taint"]["key"].startswith("readiness.k8s.io/")
    assert rule["taint"]["key"].count("/") == 1
    assert len(rule["taint"]["key"].partition("/")[2]) <= 63
    assert rule["enforcementMode"] in ("bootstrap-only", "continuous")
    assert rule["nodeSelector"]


def test_the_node_pool_promises_what_the_rule_checks() -> None:
    rule = document("integrations/node-readiness.yaml", "NodeReadinessRule")["spec"]
    template = document("integrations/karpenter.yaml", "NodePool")["spec"]["template"]
    assert template["spec"]["startupTaints"] == [rule["taint"]]
    labels = template["metadata"]["labels"]
    assert labels[rule["conditions"][0]["type"]] == "Compatible"
    assert rule["nodeSelector"]["matchLabels"].items() <= labels.items()


CONDITIONS = [
    ({}, "Progressing"),
    ({"Accepted": "False", "Stalled": "True"}, "Degraded"),
    ({"Accepted": "True", "Ready": "False", "Compatible": "Unknown"}, "Progressing"),
    ({"Accepted": "True", "Ready": "True", "Compatible": "Unknown"}, "Progressing"),
    ({"Accepted": "True", "Ready": "False", "Compatible": "False"}, "Degraded"),
    ({"Accepted": "True", "Ready": "True", "Compatible": "True"}, "Healthy"),
]


@pytest.mark.skipif(LUA is None, reason="no Lua interpreter here: install lua5.4")
@pytest.mark.parametrize(("conditions", "health"), CONDITIONS, ids=str)
def test_argo_cd_shows_the_health(conditions: dict[str, str], health: str) -> None:
    written = [{"type": kind, "status": status, "message": "m"} for kind, status in conditions.items()]
    seen = {
        "metadata": {"generation": 2},
        "spec": {},
        "status": {"observedGeneration": 2, "conditions": written},
    }
    assert argo_health(seen) == health
    assert argo_health(seen | {"metadata": {"generation": 3}}) == "Progressing"
    nowhere = [
        {"type": "Ready", "status": "True", "reason": "NoMatchingNodes", "message": "m"},
        {"type": "Compatible", "status": "Unknown", "reason": "NoMatchingNodes", "message": "m"},
    ]
    empty = seen | {"status": {"observedGeneration": 2, "conditions": nowhere}}
    assert argo_health(empty) == "Healthy", "GPU nodes may be started on demand"
    assert argo_health(seen | {"spec": {"suspend": True}}) == "Suspended"
    assert argo_health({"metadata": {"generation": 1}, "spec": {}}) == "Progressing"


def argo_health(thing: dict[str, Any]) -> str:
    """What the script answers, as Argo CD would run it."""
    script = document("integrations/argocd.yaml", "ConfigMap")["data"][
        f"resource.customizations.health.{names.GROUP}_{names.ENVIRONMENT_KIND}"
    ]
    program = f"local obj = {lua(thing)}\nprint((function()\n{script}\nend)().status)"
    result = subprocess.run([str(LUA), "-"], input=program, capture_output=True, text=True, check=True)
    return result.stdout.strip()


def lua(value: Any) -> str:
    """A value as a Lua literal."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{json.dumps(key)}] = {lua(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(map(lua, value)) + "}"
    return json.dumps(value)


def paths_of(node: dict[str, Any], path: str = "") -> set[str]:
    """Dotted paths of all fields of a schema; maps count as one field."""
    found = {path} if path else set()
    for name, child in node.get("properties", {}).items():
        found |= paths_of(child, f"{path}.{name}".lstrip("."))
    if isinstance(node.get("items"), dict):
        found |= {f"{path}[]{rest}" for rest in (f".{one}" for one in paths_of(node["items"]))}
    return found


def keys_of(value: Any, path: str = "") -> set[str]:
    """Dotted paths of all fields of an object, in the spelling of :func:`paths_of`."""
    found = {path} if path else set()
    maps = ("matchLabels", "limits", "requests", "podLabels", "podAnnotations")
    if isinstance(value, dict) and not path.endswith(maps):
        for name, child in value.items():
            found |= keys_of(child, f"{path}.{name}".lstrip("."))
    if isinstance(value, list):
        for item in value:
            found |= {f"{path}[].{rest}" for rest in keys_of(item)}
    return found
