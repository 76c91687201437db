"""``gpuenv status``: environments and their verdicts in a cluster."""

import click

from gpuenv.cli import cluster
from gpuenv.cli.cluster import Object
from gpuenv.controller.kube.client import Kube


@click.command("status")
@click.argument("environment", required=False)
@cluster.kubeconfig_option
@cluster.output_option
def command(*, environment: str | None, kubeconfig: str | None, output: str) -> None:
    """Show all environments, or one ENVIRONMENT with its nodes, worst first.

    Exit codes: 0 shown, 2 the cluster cannot be asked or has no such environment.
    """

    async def question(kube: Kube) -> tuple[list[Object], list[Object]]:
        if environment is None:
            return await cluster.environments(kube), []
        return [await cluster.environment(kube, environment)], await cluster.reports(kube, name=environment)

    found, reports = cluster.ask(kubeconfig, question)
    if output == "json":
        nodes = [
            dict(zip(("environment", "node", "verdict", "reason", "message"), _node(one), strict=True))
            for one in reports
        ]
        click.echo(cluster.as_json({"environments": [_data(one) for one in found], "nodes": nodes}))
    elif not found:
        click.echo("no GPUEnvironment yet; apply one, such as examples/pytorch-2.9.yaml")
    else:
        header = ("ENVIRONMENT", "IMAGE", "READY", "COMPATIBLE", "PROBLEM")
        click.echo(cluster.table(header, [_environment(one) for one in found]))
        if environment is not None:
            click.echo()
            click.echo(_nodes(found[0], reports))


def _environment(environment: Object) -> tuple[str, ...]:
    status = environment.get("status") or {}
    summary = status.get("summary") or {}
    accepted = cluster.condition(environment, "Accepted")
    problem = summary.get("problem", "")
    if accepted.get("status") == "False":
        problem = accepted.get("message", "")
    return (
        environment["metadata"]["name"],
        environment["spec"].get("image", ""),
        cluster.condition(environment, "Ready").get("status", "Unknown"),
        summary.get("text", "-"),
        problem,
    )


def _nodes(environment: Object, reports: list[Object]) -> str:
    if not reports:
        ready = cluster.condition(environment, "Ready")
        return ready.get("message") or "no node has an answer yet"
    rows = [(_node(one)[1], _product(one), *_node(one)[2:]) for one in reports]
    return cluster.table(("NODE", "GPU", "VERDICT", "REASON", "MESSAGE"), rows)


def _node(report: Object) -> tuple[str, str, str, str, str]:
    spec, status = report["spec"], report.get("status") or {}
    words = (status.get("reason", ""), status.get("message", ""))
    return spec["environment"], spec["nodeName"], str(cluster.verdict(report)), *words


def _product(report: Object) -> str:
    gpus = (report.get("status") or {}).get("gpus") or [{}]
    return str(gpus[0].get("product") or "-")


def _data(environment: Object) -> Object:
    """In the shape that ``gpuenv sandbox -o json`` has too."""
    return {"name": environment["metadata"]["name"], **(environment.get("status") or {})}
