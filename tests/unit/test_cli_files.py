"""Files given to commands: every mistake is one line and exit code 2, never a traceback, and no file is too large."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support import builders
from tests.support.mutations import mutated

from gpuenv.cli import main
from gpuenv.controller import limits_file
from gpuenv.controller.kube.configuration import load_configuration
from gpuenv.controller.kube.kubeconfig import KubeconfigError, read_merged
from gpuenv.controller.limits_file import LimitsError
from gpuenv.files import texts
from gpuenv.knowledge import KnowledgeError, load
from gpuenv.knowledge.files import TABLES, packaged_tables
from gpuenv_sandbox.scenario.environments import read_environments
from gpuenv_sandbox.scenario.read import read_scenario
from gpuenv_sandbox.scenario.yaml_files import ScenarioError

FUZZ = settings(
    max_examples=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def explain(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["explain", *arguments], prog_name="gpuenv")


def assert_answered(result: Result) -> None:
    """Check that a command gave its answer, or refused its input in one line."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    if result.exit_code == 2:
        assert result.stdout == ""
        assert result.stderr.removesuffix("\n").isprintable()
        assert len(result.stderr) < 2100
    else:
        assert result.exit_code in (0, 1, 3, 4)
        notes = result.stderr.splitlines()
        assert all(line.startswith("note: ") and line.isprintable() and len(line) < 2100 for line in notes)


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefghijk", "bcdefghijkl", strict=True)
)
MERGE = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} [{','.join(['{<<: ' + one + '}' for one in [f'*{old}'] * 9])}]\n"
    for old, new in zip("abcdefghijk", "bcdefghijkl", strict=True)
)
ENVIRONMENT = builders.environment(
    "e",
    expect__pytorch=">=2.9",
    expect__gpu__products=["NVIDIA L4"],
    checks__imports=["vllm"],
    checks__commands=[{"name": "nccl", "command": ["true"], "timeoutSeconds": 5}],
    probe__env=[{"name": "A", "value": "b"}],
    probe__timeouts__runSeconds=60,
    nodes__selector__matchLabels={"a": "b"},
    nodes__selector__matchExpressions=[{"key": "a", "operator": "In", "values": ["b"]}],
    benchmarks__profile="Quick",
    benchmarks__floors=[{"benchmark": "MatMul", "dtype": "BF16", "minTFLOPS": 100}],
)
ROWS = [
    {
        "name": "a",
        "gpu": "NVIDIA L4; Tesla P4",
        "driver": "580.65.06",
        "compute_capability": "8.9",
        "platform": "gke",
    }
]
NODES = {
    "kind": "List",
    "items": [builders.node("n1"), builders.node("n2", labels={"nvidia.com/gpu.memory": "81920"})],
}
REPORT = {
    "facts": builders.facts_report("r", omitted=["a"], ended="sigterm"),
    "kernels": builders.kernels_report("r", commands=[{"name": "c", "exitCode": 1, "tail": "x"}]),
}
SCENARIO = {
    "nodes": [{"name": "n-##", "product": "NVIDIA L4", "driver": "570.124.06", "gpus": 2, "inUse": 1, "repeat": 2,
               "labels": {"a": "b"}, "expect": {"verdict": "Compatible"}, "platform": "gke"}],
    "image": {"torch": "2.9.1", "cuda": "12.8", "archs": ["sm_90"]},
    "images": {"*vllm*": {"python": "3.12"}},
    "environments": ["e.yaml"],
    "timeouts": {"runSeconds": 5},
    "operator": {"maxProbes": 3},
    "pace": {"pull": 0.5},
}  # fmt: skip
KUBECONFIG = {
    "current-context": "c",
    "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority": "ca"}}],
    "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    "users": [{"name": "u", "user": {"token": "t", "client-key-data": "aGk="}}],
}
LIMITS = {
    "maxEnvironments": 5, "images": ["*"], "maxResources": {"cpu": "16"}, "maxDevices": 8,
    "groups": [{"name": "a", "environments": ["a-*"], "maxEnvironments": 2, "gpuSecondsPerDay": 60}],
}  # fmt: skip


# ---- the mistakes that were once tracebacks, or without an end -------------------------------------------------

ONCE = {
    "digits": ("-f", "kind: GPUEnvironment\nspec: {image: a, probe: {timeouts: {runSeconds: " + "9" * 5000 + "}}}"),
    "date": ("-f", "kind: GPUEnvironment\nmetadata: {creationTimestamp: 2026-99-99}\nspec: {image: a, x: 1}"),
    "nested": ("-f", "kind: GPUEnvironment\nspec: " + "[" * 3000 + "]" * 3000),
    "bomb": ("-f", f"{LAUGHS}kind: GPUEnvironment\nspec: {{image: a:1, benchmarks: {{profile: *l}}}}"),
    "merge": ("-f", f"{MERGE}kind: GPUEnvironment\nspec: {{image: a:1, benchmarks: {{profile: *l}}}}"),
    "bomb-nodes": ("--nodes", f"x:\n{LAUGHS}nodes: [{{gpu: *l}}]"),
    "merge-nodes": ("--nodes", f"x:\n{MERGE}nodes: [{{gpu: *l}}]"),
    "digits-nodes": ("--nodes", "- {name: a, gpu: L4, driver: " + "9" * 5000 + "}"),
    "date-nodes": ("--nodes", "- {name: 2026-99-99, gpu: L4, driver: }\n- {driver: 2026-99-99}"),
    "nested-nodes": ("--nodes", "[" * 3000 + "]" * 3000),
    "metadata": ("--nodes", "items:\n- metadata: [1]"),
    "label": ("--nodes", "items:\n- metadata: {name: a, labels: {nvidia.com/gpu.product: [a]}}"),
    "memory": ("--nodes", "items:\n- metadata: {name: a, labels: {nvidia.com/gpu.memory: {}}}"),
    "capacity": ("--nodes", "items:\n- metadata: {name: a, labels: {}}\n  status: {capacity: [1]}"),
    "cell": ("--nodes", "name,gpu,driver\na," + "x" * 200_000 + ",580.65.06\n"),
    "columns": ("--nodes", "name,gpu,driver" + "," * 500_000 + "\n" + "a\n" * 1000),
    "rows": ("--nodes", "name,gpu\n" + "a,L4\n" * 30_000),
    "stage": ("--report", '[{"stage": [1]}]'),
    "exponent": ("--report", '{"stage": "facts", "torch": {"cudnn": 1e400}}'),
    "nan": ("--report", '{"stage": "facts", "torch": {"cudnn": NaN}}'),
    "long": ("--report", '{"stage": "facts", "torch": {"cudnn": ' + "1" * 400 + "}}"),
    "nested-report": ("--report", '{"stage": "facts", "torch": ' + "[" * 3000 + "]" * 3000 + "}"),
    "compact": ("--report", "gpuenv-report/1:" + "x" * 100_000),
    "large": ("-f", "#" * 1_000_001),
    "large-report": ("--report", "[" + " " * 1_000_000),
    "large-nodes": ("--nodes", "#" * 20_000_001),
    "binary": ("--error", "a\0b"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", ONCE)
def test_each_known_mistake_is_one_line(mistake: str, tmp_path: Path) -> None:
    option, text = ONCE[mistake]
    path = tmp_path / "given"
    path.write_text(text, encoding="utf-8")
    result = explain(option, str(path))
    assert result.exit_code == 2, result.output
    assert_answered(result)
    assert result.stderr.startswith(f"gpuenv explain: {option}: {path}: ")


@pytest.mark.parametrize("option", ["-f", "--nodes", "--report", "--error", "--collect-env"])
@pytest.mark.parametrize("path", ["/dev/zero", "/", "/nowhere", "/dev/full", "a\0b"])
def test_what_is_no_file_is_one_line(option: str, path: str) -> None:
    result = explain(option, path)
    assert result.exit_code == 2, result.output
    assert_answered(result)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_full_disk_under_the_output_is_one_line() -> None:
    command = [
        sys.executable,
        "-m",
        "gpuenv",
        "explain",
        "--gpu",
        "NVIDIA A100-SXM4-80GB",
        "--driver",
        "580.65.06",
    ]
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "gpuenv: the output cannot be written: No space left on device; free some space, or write elsewhere\n"
    )


@pytest.mark.parametrize("option", ["-f", "--nodes", "--report", "--error", "--collect-env"])
def test_a_pipe_without_a_writer_is_one_line(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "FIRST_BYTE_SECONDS", 0.1)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    result = explain(option, str(path))
    assert result.exit_code == 2, result.output
    assert_answered(result)
    assert f"{path}: is a pipe or device from which nothing came in 0.1 seconds" in result.stderr


@pytest.mark.parametrize("option", ["-f", "--nodes", "--report", "--error", "--collect-env"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_every_encoding_of_windows_is_read(option: str, encoding: str, tmp_path: Path) -> None:
    given = {
        "-f": json.dumps(ENVIRONMENT), "--nodes": "name,gpu,driver\na,NVIDIA L4,580.65.06\n", "--report": json.dumps(REPORT),
        "--error": "RuntimeError: CUDA out of memory", "--collect-env": "PyTorch version: 2.9.1+cu128\n",
    }[option]  # fmt: skip
    path = tmp_path / "given"
    path.write_bytes(given.encode(encoding))
    result = (
        explain(option, str(path), "--gpu", "NVIDIA L4") if option == "-f" else explain(option, str(path))
    )
    assert result.exit_code != 2, result.stderr
    assert_answered(result)


def test_numbers_as_labels_say_what_to_write(tmp_path: Path) -> None:
    path = tmp_path / "nodes.yaml"
    path.write_text("items:\n- metadata: {labels: {nvidia.com/gpu.memory: 81920}}", encoding="utf-8")
    assert explain("--nodes", str(path)).stderr == (
        f"gpuenv explain: --nodes: {path}: row 1: metadata.labels: is a mapping; "
        "write a mapping of texts, numbers in quotes\n"
    )


# ---- any other mistake -------------------------------------------------------------------------------------

DOCUMENTS = {
    "-f": ENVIRONMENT, "--nodes": ROWS, "--nodes ": NODES, "--report": REPORT,
}  # fmt: skip


@pytest.mark.parametrize("option", DOCUMENTS)
@FUZZ
@given(data=st.data(), form=st.sampled_from(["table", "json", "markdown"]))
def test_changed_documents_are_answered_or_refused(
    option: str, data: st.DataObject, form: str, tmp_path: Path
) -> None:
    document = data.draw(mutated(DOCUMENTS[option]))
    path = tmp_path / "given"
    path.write_text(json.dumps(document), encoding="utf-8")
    facts = ["--torch", "2.9.1+cu128", "--driver", "580.65.06"]
    facts += ["--gpu", "NVIDIA L4"] if option.strip() != "--nodes" else []
    assert_answered(explain(option.strip(), str(path), "-o", form, *facts))


TEXTS = {
    "-f": yaml.safe_dump(ENVIRONMENT),
    "--nodes": "name,gpu,driver\na,8x NVIDIA L4,580.65.06\n\"b\",\"Tesla P4\",470.57\n",
    "--report": json.dumps(REPORT),
    "--error": "RuntimeError: CUDA error: no kernel image is available for execution on the device\nXid (PCI:0000:3b:00): 79",
    "--collect-env": "PyTorch version: 2.9.1+cu128\nGPU 0: NVIDIA L4\nNvidia driver version: 580.65.06\n",
}  # fmt: skip
PIECES = [
    "",
    "\0",
    "\n",
    "\r",
    ",",
    '"',
    "'",
    ":",
    "-",
    "{",
    "[",
    "*a",
    "&a ",
    "<<: ",
    "!!x ",
    "---\n",
    "\x1b[31m",
    "\ufeff",
    "9" * 50,
    "é",
]


@pytest.mark.parametrize("option", TEXTS)
@FUZZ
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 20), st.sampled_from(PIECES)), min_size=1, max_size=4
    )
)
def test_changed_texts_are_answered_or_refused(
    option: str, changes: list[tuple[float, int, str]], tmp_path: Path
) -> None:
    text = TEXTS[option]
    for place, removed, piece in changes:
        start = int(place * len(text))
        text = text[:start] + piece + text[start + removed :]
    path = tmp_path / "given"
    path.write_bytes(text.encode())
    facts = ["--torch", "2.9.1+cu128"] if option in ("-f", "--nodes") else []
    assert_answered(explain(option, str(path), *facts))


@FUZZ
@given(document=mutated(SCENARIO))
def test_changed_scenarios_are_read_or_refused(document: Any, tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert_one_line(lambda: read_scenario(path), ScenarioError)


@FUZZ
@given(document=mutated([ENVIRONMENT]))
def test_changed_environments_of_a_sandbox_are_read_or_refused(document: Any, tmp_path: Path) -> None:
    path = tmp_path / "environments.yaml"
    documents = document if isinstance(document, list) else [document]
    path.write_text("\n---\n".join(map(json.dumps, documents)), encoding="utf-8")
    assert_one_line(lambda: read_environments([path], {"runSeconds": 5}), ScenarioError)


@FUZZ
@given(document=mutated(LIMITS))
def test_changed_limits_are_read_or_refused(document: Any, tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert_one_line(lambda: limits_file.read(path), LimitsError)


@FUZZ
@given(document=mutated(KUBECONFIG))
def test_changed_kubeconfigs_are_read_or_refused(document: Any, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert_one_line(lambda: read_merged([path]), KubeconfigError)
    assert_one_line(lambda: asyncio.run(load_configuration(str(path))), KubeconfigError)


@pytest.mark.parametrize("table", TABLES)
@settings(FUZZ, max_examples=10)
@given(data=st.data())
def test_changed_tables_are_read_or_refused(table: str, data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / f"{table}.yaml"
    path.write_text(json.dumps(data.draw(mutated(packaged_tables()[table]))), encoding="utf-8")
    assert_one_line(lambda: load(tmp_path), KnowledgeError)


def assert_one_line(read: Any, kind: type[Exception]) -> None:
    try:
        read()
    except kind as error:
        assert "\n" not in str(error)


def test_a_scenario_of_many_nodes_is_refused_before_they_are_made(tmp_path: Path) -> None:
    node = {"name": "n-#####", "product": "NVIDIA L4", "driver": "570.124.06", "repeat": 10_000}
    nodes = [node | {"name": f"n{number}-#####"} for number in range(3000)]
    path = tmp_path / "scenario.yaml"
    path.write_text(json.dumps({"nodes": nodes}), encoding="utf-8")
    with pytest.raises(ScenarioError, match="nodes: are more than the 10000 that the sandbox is made for"):
        read_scenario(path)


def test_names_of_fields_are_shown_as_text(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text('{"a\\nb\\u001b[31m": null}', encoding="utf-8")
    with pytest.raises(LimitsError) as caught:
        limits_file.read(path)
    assert str(caught.value).startswith(f"{path}: a b: has no value")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--gpu", "NVIDIA L4", "--compute-capability", "5" * 5000 + ".0"), "is no compute capability"),
        (("-f", ""), "-f"),
        (("-f", "long-number.yaml"), "spec.expect.driver: has 5002 characters; write at most 128"),
        (("-f", "metadata.yaml"), "metadata: is no mapping"),
    ],
    ids=["a long number", "no name", "a long number in a file", "metadata"],
)
def test_long_numbers_and_empty_names_are_refused_in_one_line(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = {"image": "a:1", "expect": {"driver": ">=" + "9" * 5000}}
    for name, document in (
        ("long-number", {"kind": "GPUEnvironment", "spec": spec}),
        ("metadata", {"kind": "GPUEnvironment", "metadata": [1], "spec": {"image": "a:1"}}),
    ):
        Path(f"{name}.yaml").write_text(json.dumps(document), encoding="utf-8")
    result = explain(*arguments, "--torch", "2.9.1+cu128")
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.output
