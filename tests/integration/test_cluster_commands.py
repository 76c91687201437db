"""``gpuenv status``, ``report``, ``wait`` and ``revalidate`` on the real API server."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.support.builders import environment
from tests.support.cluster import Kubectl

from gpuenv.api import names
from gpuenv.cli import main
from gpuenv.plan.demand import demand
from gpuenv_sandbox.control_plane.admin_client import RestClient
from gpuenv_sandbox.control_plane.cluster import ControlPlane

ENVIRONMENTS = "/apis/gpuenv.dev/v1alpha1/gpuenvironments"
REPORTS = "/apis/gpuenv.dev/v1alpha1/gpunodereports"
NAME = "asked-about"
LONG_NODE = "-".join(["a-node-with-a-long-name"] * 4)
CHECK = {
    "name": "architecture",
    "status": "Fail",
    "reason": "ArchNotInBuild",
    "message": "sm_61 is not among the build's targets",
    "remedies": [{"action": "ChangeImage", "message": "use the image for CUDA 12.6"}],
    "source": "https://example.com/rule",
}


@pytest.fixture
def ask(installed: ControlPlane) -> Iterator[Any]:
    """Runs a command against the cluster; an environment with two nodes is there."""
    admin = installed.admin
    admin.create(ENVIRONMENTS, environment(NAME))
    summary = {"selected": 2, "compatible": 1, "incompatible": 1, "degraded": 0, "unknown": 0}
    set_status(admin, summary, [{"reason": "ArchNotInBuild", "nodeCount": 1}], Ready="True")
    for node, verdict in (("good", "Compatible"), (LONG_NODE, "Incompatible")):
        path = f"{REPORTS}/{names.report_name(NAME, node)}"
        labels = {names.LABEL_ENVIRONMENT: NAME, names.LABEL_NODE: names.shorten(node)}
        spec = {"environmentName": NAME, "nodeName": node, "nodeUID": "1"}
        admin.create(
            REPORTS,
            {
                "apiVersion": "gpuenv.dev/v1alpha1",
                "kind": "GPUNodeReport",
                "spec": spec,
                "metadata": {"name": names.report_name(NAME, node), "labels": labels},
            },
        )
        status = {
            "verdict": verdict,
            "checks": [{"name": "driver-version", "status": "Pass"}],
            "gpus": [{"product": "NVIDIA GeForce GTX 1080 Ti"}],
            "versions": {"pytorch": "2.9.1+cu128", "cuda": "12.8", "driver": "570.1"},
        }
        if verdict == "Incompatible":
            status |= {
                "reason": CHECK["reason"],
                "message": CHECK["message"],
                "checks": [CHECK, *status["checks"]],
            }  # type: ignore[misc]  # a list
        admin.merge(f"{path}/status", {"status": status})

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--kubeconfig", str(installed.admin_kubeconfig)])

    yield run
    admin.delete(f"{ENVIRONMENTS}/{NAME}")
    for node in ("good", LONG_NODE):
        admin.delete(f"{REPORTS}/{names.report_name(NAME, node)}")


def report_path(node: str) -> str:
    return f"{REPORTS}/{names.report_name(NAME, node)}"


def set_status(
    admin: RestClient, summary: dict[str, Any], problems: list[dict[str, Any]], **conditions: str
) -> None:
    written = [
        {
            "type": kind, "status": status, "reason": "Test", "message": f"{kind} is {status}",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
        }
        for kind, status in conditions.items()
    ]  # fmt: skip
    status = {"conditions": written, "summary": summary, "problems": problems, "observedGeneration": 1}
    admin.merge(f"{ENVIRONMENTS}/{NAME}/status", {"status": status})


def test_status_lists_environments(ask: Any) -> None:
    result = ask("status")
    assert result.exit_code == 0, result.stderr
    (row,) = [line.split() for line in result.stdout.splitlines() if line.startswith(NAME)]
    assert row[1:6] == ["True", "1/2", "0", "1", "0"]
    assert " ".join(row[6:]) == "ArchNotInBuild (1)"


def test_status_of_one_lists_its_nodes_worst_first(ask: Any) -> None:
    lines = ask("status", NAME).stdout.splitlines()
    assert lines[3].split()[:2] == ["NODE", "GPU"]
    assert lines[4].startswith(LONG_NODE)
    assert "Incompatible  ArchNotInBuild  sm_61 is not" in lines[4]
    assert lines[5].startswith("good")


def test_status_as_json(ask: Any) -> None:
    data = json.loads(ask("status", NAME, "-o", "json").stdout)
    assert data["environments"][0]["name"] == NAME
    assert data["environments"][0]["summary"]["compatible"] == 1
    assert [node["verdict"] for node in data["nodes"]] == ["Incompatible", "Compatible"]


def test_names_of_status_are_names_for_kubectl(ask: Any, kubectl: Kubectl) -> None:
    found = ask("status", NAME, "-o", "name").stdout.split()
    assert len(found) == 3
    assert kubectl("get", *found, "-o", "name").split() == found


def test_report_shows_what_failed_and_what_helps(ask: Any) -> None:
    text = ask("report", NAME, "--node", LONG_NODE).stdout
    assert "Incompatible: ArchNotInBuild" in text
    assert "✗ architecture     ArchNotInBuild: sm_61 is not" in text
    assert "→ use the image for CUDA 12.6" in text
    assert "driver-version" not in text
    assert text.count("sm_61 is not") == 1
    assert "PyTorch 2.9.1+cu128 (CUDA 12.8), driver 570.1, NVIDIA GeForce GTX 1080 Ti" in text
    assert "https://example.com/rule" in ask("report", NAME, "-v").stdout
    assert len(json.loads(ask("report", NAME, "-o", "json").stdout)["reports"]) == 2


@pytest.mark.parametrize(
    ("conditions", "verdicts", "code"),
    [
        ({"Ready": "True"}, ["Compatible", "Compatible"], 0),
        ({"Ready": "True"}, ["Compatible", "Incompatible"], 1),
        ({"Ready": "True"}, ["Compatible", "Degraded"], 3),
        ({"Ready": "True"}, ["Compatible", "Unknown"], 4),
        ({"Accepted": "False"}, [], 1),
        ({"Accepted": "True", "Ready": "False"}, [], 4),
        ({}, [], 4),
    ],
    ids=str,
)
def test_wait_ends_with_the_worst_verdict(
    ask: Any, admin: RestClient, conditions: dict[str, str], verdicts: list[str], code: int
) -> None:
    none = dict.fromkeys(("compatible", "incompatible", "degraded", "unknown"), 0)
    counts = {verdict.lower(): verdicts.count(verdict) for verdict in verdicts}
    for node, verdict in zip(("good", LONG_NODE), verdicts, strict=False):
        admin.merge(f"{report_path(node)}/status", {"status": {"verdict": verdict}})
    set_status(admin, none | counts, [], **conditions)
    result = ask("wait", NAME, "--timeout", "1")
    assert result.exit_code == code, result.output


def test_wait_believes_no_answer_about_another_generation(ask: Any, admin: RestClient) -> None:
    admin.merge(f"{ENVIRONMENTS}/{NAME}", {"spec": {"suspend": True}})
    assert ask("wait", NAME, "--timeout", "1").exit_code == 4


def test_revalidate_asks_and_wait_waits_for_the_answer(ask: Any, admin: RestClient) -> None:
    assert ask("revalidate", NAME).exit_code == 0
    token = admin.get(f"{ENVIRONMENTS}/{NAME}")["metadata"]["annotations"][names.ANNOTATION_REVALIDATE]
    assert ask("wait", NAME, "--timeout", "1").exit_code == 4
    observed = {"internal": {"observedEnvironmentRevalidate": demand(token, "").environment}}
    for node in ("good", LONG_NODE):
        admin.merge(f"{report_path(node)}/status", {"status": observed})
    admin.merge(f"{ENVIRONMENTS}/{NAME}/status", {"status": {"observedRevalidate": token}})
    assert ask("wait", NAME, "--timeout", "1").exit_code == 1


def test_revalidate_on_one_node(ask: Any, admin: RestClient) -> None:
    assert ask("revalidate", NAME, "--node", LONG_NODE).exit_code == 0
    report = admin.get(report_path(LONG_NODE))
    assert report["metadata"]["annotations"][names.ANNOTATION_REVALIDATE]
    assert names.ANNOTATION_REVALIDATE not in admin.get(f"{ENVIRONMENTS}/{NAME}")["metadata"].get(
        "annotations", {}
    )
    token = report["metadata"]["annotations"][names.ANNOTATION_REVALIDATE]
    result = ask("wait", NAME, "--timeout", "1")
    assert result.exit_code == 4
    assert f"not answered yet: {LONG_NODE}" in result.stderr
    admin.merge(f"{report_path(LONG_NODE)}/status", {"status": {"observedRevalidate": token}})
    assert ask("wait", NAME, "--timeout", "1").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("status", "nowhere"), "there is no GPUEnvironment nowhere"),
        (("report", "nowhere"), "there is no GPUEnvironment nowhere"),
        (("report",), "name an ENVIRONMENT, a --node, or both"),
        (
            ("report", NAME, "--node", "nowhere"),
            "there is no report of environment asked-about and node nowhere",
        ),
        (("wait", "nowhere"), "there is no GPUEnvironment nowhere"),
        (("revalidate", NAME, "--node", "nowhere"), "node nowhere has no report"),
        (("wait", NAME, "--timeout", "-1"), "--timeout"),
    ],
)
def test_bad_input_is_one_line(ask: Any, arguments: tuple[str, ...], words: str) -> None:
    result = ask(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.strip().count("\n") == 0


def test_a_cluster_without_gpuenv_or_without_an_answer_is_one_line() -> None:
    with ControlPlane(controllers=False) as bare:
        config = str(bare.admin_kubeconfig)
        result = CliRunner().invoke(main, ["status", "--kubeconfig", config])
        assert result.exit_code == 2
        assert "this cluster has no gpuenv: install the chart" in result.stderr
    result = CliRunner().invoke(main, ["status", "--kubeconfig", config])
    assert result.exit_code == 2
    assert result.stderr.strip().count("\n") == 0


def test_a_second_report_that_the_api_server_cannot_refuse_is_not_shown(
    ask: Any, installed: ControlPlane
) -> None:
    """The name of a long node is cut and has a hash, which CEL cannot compute."""
    node = "n" * 250
    forged = {
        "apiVersion": "gpuenv.dev/v1alpha1",
        "kind": "GPUNodeReport",
        "spec": {"environmentName": NAME, "nodeName": node, "nodeUID": "1"},
        "metadata": {"name": f"{NAME}.forged", "labels": {names.LABEL_ENVIRONMENT: NAME}},
    }
    installed.admin.create(REPORTS, forged)
    try:
        for command in ("status", "report"):
            result = ask(command, NAME)
            assert result.exit_code == 0, result.output
            assert node not in result.stdout
    finally:
        installed.admin.delete(f"{REPORTS}/{NAME}.forged")
