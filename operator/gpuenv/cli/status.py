"""``gpuenv status``: prints the environments in a cluster and their verdicts."""

import click

from gpuenv.api.objects import condition, node_verdict, problems
from gpuenv.cli.output.fleet import fleet_json
from gpuenv.cli.output.text import table
from gpuenv.cli.shared import cluster, exit_codes, options
from gpuenv.cli.shared.cluster import Object
from gpuenv.controller.kube.client import Kube


@click.command("status")
@click.argument("environment", required=False)
@options.cluster
@options.table_or_json
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
    if form == "json":
        click.echo(fleet_json(found, [node_verdict(one) for one in reports]))
    elif not found:
        click.echo("no GPUEnvironment yet; apply one, such as examples/pytorch-2.9.yaml")
    else:
        header = ("ENVIRONMENT", "IMAGE", "READY", "COMPATIBLE", "PROBLEM")
        click.echo(table(header, [_environment_row(one) for one in found]))
        if environment is not None:
            click.echo()
            click.echo(_nodes(found[0], reports))
    return exit_codes.OK


def _environment_row(environment: Object) -> tuple[str, ...]:
    status = environment.get("status") or {}
    summary = status.get("summary") or {}
    accepted = condition(environment, "Accepted")
    problem = problems(environment)
    if accepted.get("status") == "False":
        problem = accepted.get("message", "")
    return (
        environment["metadata"]["name"],
        environment["spec"].get("image", ""),
        condition(environment, "Ready").get("status", "Unknown"),
        f"{summary['compatible']}/{summary['selected']}" if summary else "-",
        problem,
    )


def _nodes(environment: Object, reports: list[Object]) -> str:
    if not reports:
        ready = condition(environment, "Ready")
        return ready.get("message") or "no node has an answer yet"
    rows = []
    for report in reports:
        node = node_verdict(report)
        rows.append((node.node, _product(report), node.verdict, node.reason, node.message))
    return table(("NODE", "GPU", "VERDICT", "REASON", "MESSAGE"), rows)


def _product(report: Object) -> str:
    gpus = (report.get("status") or {}).get("gpus") or [{}]
    return str(gpus[0].get("product") or "-")
