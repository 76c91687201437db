"""What all commands have in common: one list of formats, exit codes, and errors in one line."""

from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from gpuenv.assess.model import Verdict
from gpuenv.cli import COMMANDS, main
from gpuenv.cli.output.formats import FORMATS
from gpuenv.cli.shared import exit_codes, forms
from gpuenv.cli.shared.errors import BadInput, ClusterError, CommandError, Interrupted


def option(command: str, name: str) -> click.Option:
    found = import_module(COMMANDS[command][0]).command
    return next(one for one in found.params if isinstance(one, click.Option) and name in one.opts)


@pytest.mark.parametrize("command", ["explain", "check"])
def test_the_formats_stand_in_one_list(command: str) -> None:
    kind = option(command, "--output").type
    assert isinstance(kind, click.Choice)
    assert list(kind.choices) == list(FORMATS)


@pytest.mark.parametrize("form", [form.value for form in FORMATS])
def test_every_format_shows_one_answer_and_several(form: str) -> None:
    arguments = ["explain", "--torch", "2.9.1+cu128", "--gpu", "Tesla P100-PCIE-16GB", "-o", form]
    for more in ([], ["--gpu", "NVIDIA L4"]):
        shown = CliRunner().invoke(main, [*arguments, *more]).stdout
        assert "Incompatible" in shown or "✗ ArchNotInBuild" in shown  # a table of kinds of nodes has signs
        assert "ArchNotInBuild" in shown
        assert ("NVIDIA L4" in shown) is bool(more)


@pytest.mark.parametrize("command", ["report", "knowledge", "sandbox"])
def test_commands_that_list_things_print_a_table_for_people_and_data_for_programs(command: str) -> None:
    kind = option(command, "--output").type
    assert isinstance(kind, click.Choice)
    assert list(kind.choices) == ["table", *forms.DATA]


def test_status_has_every_format_of_kubectl() -> None:
    kind = option("status", "--output").type
    assert isinstance(kind, click.Choice)
    assert list(kind.choices) == ["table", "wide", "json", "yaml", "name"]


@pytest.mark.parametrize("command", ["status", "report", "wait", "revalidate", "uninstall"])
def test_commands_that_reach_a_cluster_take_a_kubeconfig_and_a_context(command: str) -> None:
    for name in ("--kubeconfig", "--context"):
        assert option(command, name).help == option("status", name).help


def test_the_operator_prefers_the_account_of_its_own_pod_and_says_so() -> None:
    order = ["$KUBECONFIG", "the pod's service account", "~/.kube/config"]
    text = str(option("operator", "--kubeconfig").help)
    assert sorted(order, key=text.index) == order
    assert option("operator", "--context").help == option("status", "--context").help


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], 4),
        ([Verdict.COMPATIBLE], 0),
        ([Verdict.COMPATIBLE, Verdict.DEGRADED], 3),
        ([Verdict.DEGRADED, Verdict.UNKNOWN], 4),
        ([Verdict.UNKNOWN, Verdict.INCOMPATIBLE, Verdict.COMPATIBLE], 1),
    ],
)
def test_the_worst_verdict_is_the_exit_code(verdicts: list[Verdict], code: int) -> None:
    assert exit_codes.of_worst(verdicts) == code


def test_a_command_that_returns_an_error_says_which_one_and_ends_with_its_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = {CommandError: 1, BadInput: 2, ClusterError: 2, Interrupted: 130}
    for error, code in errors.items():

        def fail(directory: str | None, error: type[CommandError] = error) -> None:
            raise error("tables\nare missing")

        monkeypatch.setattr("gpuenv.cli.knowledge.read_tables", fail)
        found = CliRunner().invoke(main, ["knowledge"])
        assert (found.exit_code, found.stderr) == (code, "gpuenv knowledge: tables are missing\n")


def test_the_code_that_a_command_returns_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("gpuenv.cli.knowledge").command, "callback", lambda **_: 3)
    assert CliRunner().invoke(main, ["knowledge"]).exit_code == 3
