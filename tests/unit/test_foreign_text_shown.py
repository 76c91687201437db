"""Foreign text stays text in every place that shows it: commands, conditions, Events, stored reports and the log."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import unstyle
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests.support import builders
from tests.support.fake_kube import FakeKube
from tests.support.foreign import ATTACKS, FOREIGN, is_plain

from gpuenv.api.objects import NodeVerdict
from gpuenv.assess.sources.probe.probe_document import join_reports
from gpuenv.cli import main
from gpuenv.cli.output import sandbox_view
from gpuenv.cli.shared import cluster
from gpuenv.controller.kube.kinds import ENVIRONMENTS, REPORTS
from gpuenv.controller.logs import JsonFormatter, TextFormatter
from gpuenv.controller.write.events import event_body
from gpuenv.plan.actions import PostEvent
from gpuenv.plan.fleet.conditions import conditions
from gpuenv.plan.objects import records
from gpuenv_sandbox.scenario.hardware import PRODUCTS
from gpuenv_sandbox.scenario.model import SimulatedNode

FORMS = ("table", "json", "yaml", "markdown")
HARMLESS = "word"


def run(*arguments: str, text: str | None = None) -> str:
    """Run a command with a terminal's colours, and return its output without these colours."""
    result = CliRunner().invoke(main, list(arguments), input=text, color=True, prog_name="gpuenv")
    assert result.exit_code in (0, 1, 2, 3, 4), result.exception
    return unstyle(result.output)


# ---- gpuenv explain --------------------------------------------------------------------------------------


def from_error(form: str, text: str, _: Path) -> str:
    return run("explain", "--error", "-", "-o", form, text=f"RuntimeError: strange {_one_line(text)} thing")


def from_dump(form: str, text: str, _: Path) -> str:
    dump = f"PyTorch version: 2.9.1+cu128\nGPU models and configuration: GPU 0: NVIDIA L4 {_one_line(text)}\n"
    return run("explain", "--collect-env", "-", "-o", form, text=dump)


def from_nodes(form: str, text: str, _: Path) -> str:
    nodes = [
        {"name": f"a{text}", "gpu": "NVIDIA L4", "driver": "580.65.06"},
        {"name": "b", "gpu": [f"NVIDIA L4 {text}"]},
    ]
    return run(
        "explain", "--nodes", "-", "--torch", "2.9.1+cu128", "-v", "-o", form, text=_as_yaml_text(nodes)
    )


def from_each_node(form: str, text: str, _: Path) -> str:
    nodes = [
        {"name": f"a{text}", "gpu": [f"NVIDIA L4 {text}"]},
        {"name": "b", "gpu": "NVIDIA L4", f"rack {text}": "1"},
    ]
    nodes[0][f"rack {text}"] = "2"
    options = ("--torch", "2.9.1+cu128", "--torch", "2.11.0+cu131", "--by", "node")
    return run("explain", "--nodes", "-", *options, "-o", form, text=_as_yaml_text(nodes))


def from_a_change(form: str, text: str, _: Path) -> str:
    nodes = [{"name": f"a{number}{text}", "gpu": "NVIDIA L4", "driver": "580.65.06"} for number in range(2)]
    options = ("--torch", "2.9.1+cu128", "--what-if", "driver=470.82.01")
    return run("explain", "--nodes", "-", *options, "-o", form, text=_as_yaml_text(nodes))


def from_report(form: str, text: str, folder: Path) -> str:
    facts = builders.facts_report("r", torch={"version": f"2.9.1{text}", "cuda": f"12.8 {text}"})
    facts["gpus"][0]["product"] = f"NVIDIA L4 {text}"
    error = {"layer": "cuda", "name": f"odd {text}", "message": f"went wrong {text}"}
    steps = [{"name": f"x {text}", "gpu": 0, "dtype": f"fp32 {text}", "status": "Fail", "error": error}]
    path = folder / "report.json"
    path.write_text(json.dumps([facts, builders.kernels_report("r", steps=steps)]), encoding="utf-8")
    return run("explain", "--report", str(path), "-v", "-o", form)


def _one_line(text: str) -> str:
    """Return the text as a line of a pasted text, which is UTF-8 and not binary."""
    return " ".join(text.replace("\0", "").splitlines()).encode(errors="replace").decode()


def _as_yaml_text(value: object) -> str:
    return str(yaml.safe_dump(json.loads(json.dumps(value).replace("\\ud", "\\ue"))))


def from_image(form: str, text: str, folder: Path) -> str:
    torch = folder / "lib/python3.12/site-packages/torch/version.py"
    torch.parent.mkdir(parents=True, exist_ok=True)
    version = f"2.9.1+{_one_line(text)}".replace("'", "")[:100].encode("utf-8", "replace").decode()
    torch.write_text(f"__version__ = '{version}'\ncuda = '12.8'\n", encoding="utf-8")
    node = ("--driver", "580.65.06", "--gpu", "NVIDIA L4")
    return run("explain", "--image", f"dir:{folder}", "--inspect", *node, "-o", form)


EXPLAINED = {
    "error": from_error,
    "dump": from_dump,
    "nodes": from_nodes,
    "each node": from_each_node,
    "a change": from_a_change,
    "report": from_report,
    "image": from_image,
}


def assert_same_shape(shown: str, harmless: str) -> None:
    """Compare the output with that for a harmless text: as many lines, and nothing that is not ours."""
    lines = shown.split("\n")
    assert [line for line in lines if not is_plain(line)] == []
    assert len(lines) == len(harmless.split("\n"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", EXPLAINED)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=FOREIGN)
def test_explain_shows_text_only(place: str, form: str, tmp_path: Path, text: str) -> None:
    # The text is between two words, so that no text is absent.
    explained = EXPLAINED[place]
    assert_same_shape(explained(form, f"<{text}>", tmp_path), explained(form, f"<{HARMLESS}>", tmp_path))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", EXPLAINED)
@pytest.mark.parametrize("text", ATTACKS)
def test_explain_shows_each_attack_as_text(place: str, form: str, text: str, tmp_path: Path) -> None:
    explained = EXPLAINED[place]
    assert_same_shape(explained(form, f"<{text}>", tmp_path), explained(form, f"<{HARMLESS}>", tmp_path))


def test_a_step_makes_no_html_and_no_link(tmp_path: Path) -> None:
    shown = from_report("markdown", "| <img src=https://evil/> [click](https://evil/)", tmp_path)
    assert "<img" not in shown
    assert "](https://evil/)" not in shown.replace("\\]", "")
    cells = {line.replace("\\|", "").count("|") for line in shown.splitlines() if line.startswith("|")}
    assert cells == {5}


def test_values_of_json_and_yaml_are_unchanged(tmp_path: Path) -> None:
    text = "a\u202eb\x1b[31m\n"
    for form, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        data = load(from_nodes(form, text, tmp_path))
        assert data["results"][0]["name"] == f"a{text}".strip()


@pytest.mark.parametrize("text", ["\x1b]0;title\x07", "a\n✓ b", "\u202etxt\u2066", "\udcff"])
def test_error_messages_are_one_line(text: str) -> None:
    for arguments in (
        ["explain", "--driver", text],
        ["explain", "--nodes", text],
        ["explain", "--image", text],
        ["explain", "--image", f"dir:{text}", "--inspect"],
        ["explain", text],
    ):
        shown = run(*arguments)
        assert is_plain(shown.removesuffix("\n")), arguments


# ---- commands with a cluster -------------------------------------------------------------------------------


@pytest.fixture
def kube(monkeypatch: pytest.MonkeyPatch) -> FakeKube:
    kube = FakeKube()

    def ask(kubeconfig: str | None, context: str | None, question: Callable[[Any], Awaitable[Any]]) -> Any:
        async def answer() -> Any:
            return await question(kube)

        return asyncio.run(answer())

    monkeypatch.setattr(cluster, "ask", ask)
    return kube


def fill(kube: FakeKube, text: str) -> None:
    """Put one environment with two node reports into the cluster, with the text wherever a status has a text."""
    kube.objects.clear()
    ready = {"type": "Ready", "status": "False", "message": text, "reason": "ValidationRunning"}
    refused = {"type": "Accepted", "status": "True", "message": text}
    problems = [{"reason": text, "nodeCount": 1}]
    status = {"summary": {"selected": 2}, "conditions": [ready, refused], "problems": problems}
    kube.add(ENVIRONMENTS, builders.environment("e", image=f"image{text}") | {"status": status})
    checks = [
        {"name": text, "status": "Fail", "reason": text, "message": text, "source": text,
         "remedies": [{"action": "Wait", "message": text}]},
        {"name": "kernels", "status": "Unknown", "message": text},
    ]  # fmt: skip
    gpus = [{"product": text}, {"product": f"{text}2"}]
    versions = dict.fromkeys(("pytorch", "cuda", "driver"), text)
    full: dict[str, Any] = {
        "verdict": "Incompatible",
        "reason": text,
        "message": text,
        "validationTime": text,
    }
    kube.add(REPORTS, builders.report("e", "a", gpus=gpus, versions=versions, checks=checks, **full))
    remedies = [{"action": "Wait", "message": text}]
    kube.add(REPORTS, builders.report("e", "b", message=f"{text} is new", remedies=remedies))


CLUSTER_COMMANDS = [
    ("status",),
    ("status", "-o", "wide"),
    ("status", "e"),
    ("status", "e", "-o", "wide"),
    ("status", "e", "-o", "name"),
    ("status", "e", "-o", "json"),
    ("status", "e", "-o", "yaml"),
    ("report", "e"),
    ("report", "e", "-v"),
    ("report", "e", "-o", "json"),
    ("report", "e", "-o", "yaml"),
    ("wait", "e", "--timeout", "0s"),
]


@pytest.mark.parametrize("arguments", CLUSTER_COMMANDS, ids=" ".join)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=FOREIGN)
def test_objects_of_a_cluster_are_shown_as_text_only(
    arguments: tuple[str, ...], kube: FakeKube, text: str
) -> None:
    fill(kube, f"<{HARMLESS}>")
    harmless = run(*arguments)
    fill(kube, f"<{text}>")
    assert_same_shape(run(*arguments), harmless)


@pytest.mark.parametrize("arguments", CLUSTER_COMMANDS, ids=" ".join)
def test_objects_of_a_cluster_are_shown_as_text_in_each_attack(
    arguments: tuple[str, ...], kube: FakeKube
) -> None:
    fill(kube, f"<{HARMLESS}>")
    harmless = run(*arguments)
    for text in ATTACKS:
        fill(kube, f"<{text}>")
        assert_same_shape(run(*arguments), harmless)


def test_a_gpu_makes_up_no_row_and_no_column(kube: FakeKube) -> None:
    fill(kube, "L4    Compatible\nnode-7  NVIDIA H100    Compatible")
    _, rows = run("status", "e").split("\n\n")
    head, first, _ = rows.rstrip("\n").split("\n")
    assert head.split() == ["NODE", "GPU", "VERDICT", "REASON", "MESSAGE"]
    assert first[head.index("VERDICT") :].split()[0] == "Incompatible"
    assert first[: head.index("GPU")].strip() == "a"
    gpu = first[head.index("GPU") : head.index("VERDICT")]
    assert gpu.strip() == "L4 Compatible node-7 NVIDIA H100 Compatible"


def test_wide_letters_keep_the_columns_aligned(kube: FakeKube) -> None:
    fill(kube, "日本語")
    head, *rows = run("status", "e").split("\n\n")[1].splitlines()
    # Each of the three letters takes two columns, and is one character.
    assert rows[0].index("Incompatible") == head.index("VERDICT") - 3


# ---- the sandbox's view ------------------------------------------------------------------------------------


def view(text: str) -> str:
    node = SimulatedNode(
        name="n", product=f"NVIDIA {text}", gpus=2, driver=text, hardware=next(iter(PRODUCTS.values()))
    )
    environments = [builders.environment("e", image=text), builders.environment("f", image=text)]
    rows = [NodeVerdict(name, "n", "Incompatible", reason=text) for name in ("e", "f")]
    out = StringIO()
    console = Console(file=out, width=2000, highlight=False)
    console.print(sandbox_view.table(environments, rows, [node], elapsed=1.0))
    return out.getvalue()


@settings(max_examples=50, deadline=None)
@given(text=FOREIGN)
def test_the_view_of_a_sandbox_shows_text_only(text: str) -> None:
    assert_same_shape(view(f"<{text}>"), view(f"<{HARMLESS}>"))


def test_the_view_of_a_sandbox_takes_no_brackets_for_styles() -> None:
    assert "[bold red]x[/] [link=https://evil/]y[/link]" in view(
        "[bold red]x[/] [link=https://evil/]y[/link]"
    )


# ---- what the operator writes ------------------------------------------------------------------------------


@given(text=FOREIGN)
def test_a_condition_is_one_line(text: str) -> None:
    record = replace(records.environment_record(builders.environment()), spec=None, spec_error=f"x{text}")
    found = conditions(record, None, None, builders.NOW)
    assert [one for one in found if not is_plain(one["message"])] == []


@given(text=FOREIGN)
def test_an_event_is_one_line(text: str) -> None:
    event = PostEvent("GPUEnvironment", "e", "u", "Normal", "Ready", f"x{text}")
    assert is_plain(event_body(event, builders.NOW, "i")["message"])


@settings(deadline=None)
@given(text=FOREIGN)
def test_texts_of_a_probe_report_are_stored_as_one_line(text: str) -> None:
    facts = builders.facts_report("r", ended=text, omitted=[text], torch={"version": text, text: [text]})
    facts["gpus"][0]["product"] = text
    steps = [{"name": text, "status": "Fail", "error": {"name": text, "message": text}}]
    document = join_reports(facts, builders.kernels_report("r", steps=steps))
    assert [found for found in texts_of(document) if not is_plain(found)] == []


def test_the_output_of_a_command_keeps_its_lines() -> None:
    commands = [{"name": "a\nb", "tail": "one\x1b[31m\ntwo"}]
    document = join_reports(None, builders.kernels_report("r", commands=commands))
    assert document["commands"] == [{"name": "a b", "tail": "one\ntwo"}]


def texts_of(value: object) -> list[str]:
    if isinstance(value, dict):
        return [found for pair in value.items() for part in pair for found in texts_of(part)]
    if isinstance(value, list):
        return [found for item in value for found in texts_of(item)]
    return [value] if isinstance(value, str) else []


@given(text=FOREIGN, failed=st.booleans())
def test_each_record_of_the_log_is_one_line(text: str, failed: bool) -> None:
    trouble = (ValueError, ValueError(text), None) if failed else None
    record = logging.LogRecord("gpuenv", logging.INFO, "x.py", 1, "%s", (text,), trouble)
    assert is_plain(TextFormatter().format(record))
    line = JsonFormatter().format(record)
    assert is_plain(line)
    assert json.loads(line)["level"] == "info"
