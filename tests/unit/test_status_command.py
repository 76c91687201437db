"""``gpuenv status`` and ``report``: the formats, for people and for programs."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from tests.support import builders
from tests.support.fake_kube import FakeKube

from gpuenv.cli import main
from gpuenv.cli.shared import cluster
from gpuenv.controller.kube.kinds import ENVIRONMENTS, REPORTS
from gpuenv.plan.objects.times import show_time

STATUS = {
    "summary": {"selected": 2, "compatible": 1, "degraded": 0, "incompatible": 1, "unknown": 0, "running": 7},
    "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}],
    "problems": [
        {"reason": reason, "nodeCount": 3} for reason in ("DriverTooOld", "UvmMissing", "GpuLost", "Xid")
    ],
}
VALIDATED = show_time(time.time() - 3 * 3600 - 60)
MEASURED = {
    "verdict": "Compatible",
    "reason": "",
    "gpus": [{"product": "NVIDIA L4"}],
    "versions": {"pytorch": "2.9.1+cu128", "cuda": "12.8", "driver": "570.1"},
    "validationTime": VALIDATED,
}


@pytest.fixture(autouse=True)
def kube(monkeypatch: pytest.MonkeyPatch) -> FakeKube:
    """Environments ``e``, with nodes a and b, and ``f``, which the operator has not seen yet."""
    kube = FakeKube()

    def ask(kubeconfig: str | None, context: str | None, question: Callable[[Any], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            return await question(kube)

        return asyncio.run(run())

    monkeypatch.setattr(cluster, "ask", ask)
    kube.add(ENVIRONMENTS, builders.environment("f"))
    kube.add(ENVIRONMENTS, builders.environment("e") | {"status": STATUS})
    kube.add(REPORTS, builders.report("e", "a", **MEASURED))
    kube.add(REPORTS, builders.report("e", "b", message="all GPUs are in use"))
    return kube


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def rows(text: str) -> list[dict[str, str]]:
    """Read a table by the positions of its titles."""
    head, *lines = text.splitlines()
    starts = [head.index(title) for title in head.split()] + [None]
    return [
        {
            title: line[start:end].strip()
            for title, start, end in zip(head.split(), starts, starts[1:], strict=False)
        }
        for line in lines
    ]


def test_a_second_report_of_a_node_is_not_shown(kube: FakeKube) -> None:
    """The operator ignores it, and so do the commands. A person made it, or a restore from a backup."""
    forged = builders.report("e", "a", reason="ForgedReason")
    forged["metadata"] |= {"name": "e.another", "uid": "another"}
    kube.add(REPORTS, forged)
    for command in (("status", "e"), ("report", "e"), ("report", "--node", "a")):
        assert "ForgedReason" not in shown(*command)
    assert [one["node"] for one in json.loads(shown("status", "e", "-o", "json"))["nodes"]] == ["b", "a"]


def test_the_table_counts_verdicts_and_names_the_worst_problems() -> None:
    assert rows(shown("status")) == [
        {
            "ENVIRONMENT": "e", "READY": "True", "COMPATIBLE": "1/2", "DEGRADED": "0", "INCOMPATIBLE": "1",
            "UNKNOWN": "0", "PROBLEM": "DriverTooOld (3), UvmMissing (3), GpuLost (3) and 1 more",
        },
        {
            "ENVIRONMENT": "f", "READY": "Unknown", "COMPATIBLE": "-", "DEGRADED": "-", "INCOMPATIBLE": "-",
            "UNKNOWN": "-", "PROBLEM": "",
        },
    ]  # fmt: skip


def test_wide_has_the_same_columns_and_more() -> None:
    narrow, wide = (rows(shown("status", "-o", form)) for form in ("table", "wide"))
    assert [few.items() <= many.items() for few, many in zip(narrow, wide, strict=True)] == [True, True]
    assert wide[0]["IMAGE"] == builders.IMAGE
    assert wide[0]["RUNNING"] == "7"
    nodes = rows(shown("status", "e", "-o", "wide").split("\n\n")[1])
    assert nodes == [
        {
            "NODE": "b", "GPU": "-", "VERDICT": "Unknown", "REASON": "GpusBusy", "DRIVER": "-", "PYTORCH": "-",
            "CUDA": "-", "VALIDATED": "-", "MESSAGE": "all GPUs are in use",
        },
        {
            "NODE": "a", "GPU": "NVIDIA L4", "VERDICT": "Compatible", "REASON": "", "DRIVER": "570.1",
            "PYTORCH": "2.9.1+cu128", "CUDA": "12.8", "VALIDATED": "3h", "MESSAGE": "",
        },
    ]  # fmt: skip
    assert "VALIDATED" not in shown("status", "e")


def test_names_are_those_that_kubectl_takes(kube: FakeKube) -> None:
    assert shown("status", "-o", "name").split() == [
        "gpuenvironment.gpuenv.dev/e",
        "gpuenvironment.gpuenv.dev/f",
    ]
    assert shown("status", "e", "-o", "name").split() == [
        "gpuenvironment.gpuenv.dev/e",
        "gpunodereport.gpuenv.dev/e.b",
        "gpunodereport.gpuenv.dev/e.a",
    ]
    kube.objects.clear()
    assert shown("status", "-o", "name") == ""


def test_programs_read_timestamps_and_no_ages(kube: FakeKube) -> None:
    kube.touch(
        f"{ENVIRONMENTS}/e", lambda one: one["metadata"].update(creationTimestamp="2026-01-31T12:00:00Z")
    )
    found = json.loads(shown("status", "e", "-o", "json"))
    assert found["environments"] == [{"name": "e", "creationTimestamp": "2026-01-31T12:00:00Z", **STATUS}]
    assert [node["validationTime"] for node in found["nodes"]] == ["", VALIDATED]
    assert found["nodes"][1]["driver"] == "570.1"


@pytest.mark.parametrize(
    "command",
    [["status"], ["status", "e"], ["report", "e"], ["knowledge", "reasons"], ["knowledge"]],
    ids=" ".join,
)
def test_yaml_holds_what_json_holds(command: list[str]) -> None:
    document = shown(*command, "-o", "yaml")
    assert yaml.safe_load(document) == json.loads(shown(*command, "-o", "json"))
    assert document.endswith("\n")
    assert not document.endswith("\n\n")


@pytest.mark.parametrize("more", [[], ["--torch", "2.11.0+cu130"]], ids=["one", "several"])
def test_yaml_of_an_explanation_holds_what_json_holds(more: list[str]) -> None:
    arguments = ["explain", "--torch", "2.9.1+cu128", "--driver", "535.104.05", "--gpu", "Tesla P4", *more]
    found = [CliRunner().invoke(main, [*arguments, "-o", form]).stdout for form in ("yaml", "json")]
    assert yaml.safe_load(found[0]) == json.loads(found[1])
    assert found[0].count("\n\n") == 0


def test_a_mass_change_is_shown_in_one_line_with_the_command_that_accepts_it(kube: FakeKube) -> None:
    change = {
        "id": "7f3c01aa",
        "nodeCount": 2,
        "nodes": ["a", "b"],
        "message": "2 of 2 nodes would leave Compatible: x (2)",
    }
    line = (
        "e: 2 of 2 nodes would leave Compatible: x (2); their labels are held back until somebody accepts that: "
        "kubectl annotate --overwrite genv/e gpuenv.dev/accept-change=7f3c01aa"
    )
    for arguments in (("status",), ("status", "e"), ("status", "e", "-o", "wide")):
        assert "held back" not in shown(*arguments)
    kube.add(ENVIRONMENTS, builders.environment("e") | {"status": STATUS | {"massChange": change}})
    for arguments in (("status",), ("status", "e"), ("status", "e", "-o", "wide")):
        assert shown(*arguments).splitlines()[-1] == line
    (found,) = json.loads(shown("status", "e", "-o", "json"))["environments"]
    assert found["massChange"] == change
