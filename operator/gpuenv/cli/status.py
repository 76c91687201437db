"""``gpuenv status``: prints the environments in a cluster and their verdicts."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import click

from gpuenv.api import names
from gpuenv.api.foreign_text import one_line
from gpuenv.api.objects import NodeVerdict, condition, held_back, node_verdict, problems
from gpuenv.cli.output.fleet import fleet_data
from gpuenv.cli.output.text import table
from gpuenv.cli.shared import cluster, durations, exit_codes, forms, options
from gpuenv.cli.shared.cluster import Object
from gpuenv.cli.shared.forms import Form
from gpuenv.controller.kube.client import Kube
from gpuenv.plan.objects.times import read_time

ABSENT: Final = "-"
"""Stands in a table for a value that is not known."""

PRODUCT_CHARACTERS: Final = 60
"""How many characters of a GPU's name the table shows. NVIDIA's longest names have about 50."""


@click.command("status")
@click.argument("environment", required=False)
@options.cluster
@forms.option(Form.TABLE, Form.WIDE, Form.JSON, Form.YAML, Form.NAME)
def command(*, environment: str | None, kubeconfig: str | None, context: str | None, form: str) -> int:
    """Show all environments, or one ENVIRONMENT with its nodes, worst first.

    Exit codes: 0 shown, 2 the cluster cannot be asked or has no such environment.
    """

    async def question(kube: Kube) -> tuple[list[Object], list[Object]]:
        if environment is None:
            return await cluster.environments(kube), []
        found = await cluster.environment(kube, environment)
        return [found], await cluster.node_reports(kube, name=environment)

    found, reports = cluster.ask(kubeconfig, context, question)
    nodes = [_node(one) for one in reports]
    if form in forms.DATA:
        click.echo(forms.DATA[form](fleet_data(found, nodes)))
    elif form == Form.NAME:
        for line in _names(found, reports):
            click.echo(one_line(line))
    elif not found:
        click.echo("no GPUEnvironment yet; apply one, such as examples/pytorch-2.9.yaml")
    else:
        click.echo(_table(ENVIRONMENT_COLUMNS, found, form))
        if environment is not None:
            missing = condition(found[0], "Ready").get("message") or "no node has an answer yet"
            click.echo("\n" + (_table(NODE_COLUMNS, nodes, form) if nodes else one_line(missing)))
        for one in found:
            if held := held_back(one):
                click.echo("\n" + one_line(f"{one['metadata']['name']}: {held}"))
    return exit_codes.OK


def _node(report: Object) -> NodeVerdict:
    return node_verdict(report)._replace(verdict=str(cluster.verdict(report)))


def _names(environments: list[Object], reports: list[Object]) -> Iterator[str]:
    for kind, objects in ((names.ENVIRONMENT_KIND, environments), (names.REPORT_KIND, reports)):
        for one in objects:
            yield f"{kind.lower()}.{names.GROUP}/{one['metadata']['name']}"


class Column(NamedTuple):
    """One column of a table: its title, how its text follows from an item, and whether only ``wide`` has it."""

    title: str
    text: Callable[[Any], str]
    wide: bool = False


def _table(columns: Sequence[Column], items: Sequence[Any], form: str) -> str:
    shown = [column for column in columns if form == Form.WIDE or not column.wide]
    rows = [[column.text(item) for column in shown] for item in items]
    return table([column.title for column in shown], rows)


def _count(name: str) -> Callable[[Object], str]:
    """Return the function for a column with one of the numbers in an environment's summary."""

    def text(environment: Object) -> str:
        return str(_summary(environment).get(name, ABSENT))

    return text


def _condition(kind: str) -> Callable[[Object], str]:
    """Return the function for a column with the status of one of an environment's conditions."""

    def text(environment: Object) -> str:
        return str(condition(environment, kind).get("status", "Unknown"))

    return text


def _summary(environment: Object) -> Object:
    return (environment.get("status") or {}).get("summary") or {}


def _compatible(environment: Object) -> str:
    summary = _summary(environment)
    return f"{summary.get('compatible', 0)}/{summary.get('selected', 0)}" if summary else ABSENT


def _problem(environment: Object) -> str:
    accepted = condition(environment, "Accepted")
    refused = accepted.get("message", "") if accepted.get("status") == "False" else ""
    return str(refused) or problems(environment)


def _age(node: NodeVerdict) -> str:
    validated = read_time(node.validation_time)
    return ABSENT if validated is None else durations.age(time.time() - validated)


# The last column is a sentence of any length, so that the columns of `wide` stand before it.
ENVIRONMENT_COLUMNS: Final = (
    Column("ENVIRONMENT", lambda one: str(one["metadata"]["name"])),
    Column("READY", _condition("Ready")),
    Column("COMPATIBLE", _compatible),
    Column("DEGRADED", _count("degraded")),
    Column("INCOMPATIBLE", _count("incompatible")),
    Column("UNKNOWN", _count("unknown")),
    Column("RUNNING", _count("running"), wide=True),
    Column("WAITING", _count("waiting"), wide=True),
    Column("CONSISTENT", _condition("Consistent"), wide=True),
    Column("PUBLISHED", _condition("Published"), wide=True),
    Column("IMAGE", lambda one: str(one["spec"].get("image", ABSENT)), wide=True),
    Column("PROBLEM", _problem),
)
NODE_COLUMNS: Final = (
    Column("NODE", lambda one: one.node),
    Column("GPU", lambda one: one_line(one.product, PRODUCT_CHARACTERS) or ABSENT),
    Column("VERDICT", lambda one: one.verdict),
    Column("REASON", lambda one: one.reason),
    Column("DRIVER", lambda one: one.driver or ABSENT, wide=True),
    Column("PYTORCH", lambda one: one.pytorch or ABSENT, wide=True),
    Column("CUDA", lambda one: one.cuda or ABSENT, wide=True),
    Column("VALIDATED", _age, wide=True),
    Column("MESSAGE", lambda one: one.message),
)
