"""``gpuenv report``: every check behind a verdict, with what helps."""

from collections.abc import Iterator

import click

from gpuenv.assess.model import Status
from gpuenv.cli import cluster
from gpuenv.cli.cluster import ClusterError, Object
from gpuenv.cli.output import COLOURS, MARKS
from gpuenv.controller.kube.client import Kube


@click.command("report")
@click.argument("environment", required=False)
@click.option("--node", metavar="NAME", help="Only this node; without ENVIRONMENT, all that is known of it.")
@click.option("-v", "--verbose", is_flag=True, help="Show checks that passed, and sources.")
@cluster.kubeconfig_option
@cluster.output_option
def command(
    *, environment: str | None, node: str | None, verbose: bool, kubeconfig: str | None, output: str
) -> None:
    """Show the checks behind the verdicts of an ENVIRONMENT, of a node, or of both; worst first.

    Exit codes: 0 shown, 2 wrong usage, or the cluster cannot be asked or has no such report.
    """
    if environment is None and node is None:
        raise click.UsageError("name an ENVIRONMENT, a --node, or both")

    async def question(kube: Kube) -> list[Object]:
        if environment is not None:
            await cluster.environment(kube, environment)
        return await cluster.reports(kube, name=environment, node=node)

    found = cluster.ask(kubeconfig, question)
    if output == "json":
        click.echo(
            cluster.as_json(
                {"reports": [{"spec": one["spec"], "status": one.get("status") or {}} for one in found]}
            )
        )
    elif not found:
        of = " and ".join(
            filter(None, (environment and f"environment {environment}", node and f"node {node}"))
        )
        raise ClusterError(f"there is no report of {of} yet; `gpuenv status` says what is under way")
    else:
        click.echo("\n\n".join("\n".join(_lines(one, verbose)) for one in found))


def _lines(report: Object, verbose: bool) -> Iterator[str]:
    spec, status = report["spec"], report.get("status") or {}
    verdict = str(cluster.verdict(report))
    reason = f": {status['reason']}" if status.get("reason") else ""
    yield f"{spec['environment']} on {spec['nodeName']}  {click.style(verdict + reason, fg=COLOURS[verdict], bold=True)}"
    if summary := ", ".join(_summary(status)):
        yield summary
    checks = status.get("checks") or []
    if status.get("message") and status["message"] not in [one.get("message") for one in checks]:
        yield status["message"]
        if status.get("remediation"):
            yield f"    → {status['remediation']}"
    for check in checks:
        if verbose or check["status"] not in (Status.PASS, Status.SKIPPED):
            yield from _check(check, verbose)


def _summary(status: Object) -> Iterator[str]:
    facts = status.get("facts") or {}
    torch, driver = facts.get("torch") or {}, facts.get("driver") or {}
    if torch.get("version"):
        yield f"PyTorch {torch['version']}" + (f" (CUDA {torch['cuda']})" if torch.get("cuda") else "")
    if driver.get("version"):
        yield f"driver {driver['version']}"
    yield from dict.fromkeys(one["product"] for one in status.get("gpus") or [] if one.get("product"))
    if status.get("validatedAt"):
        yield f"validated at {status['validatedAt']}"


def _check(check: Object, verbose: bool) -> Iterator[str]:
    status = Status(check["status"])
    mark, colour = MARKS[status]
    code = f"{check['reason']}: " if check.get("reason") else ""
    yield f"{click.style(mark, fg=colour)} {check['name']:<16} {code}{check.get('message', '')}".rstrip()
    if check.get("remediation") and status not in (Status.PASS, Status.NOTE):
        yield f"    → {check['remediation']}"
    if check.get("source") and verbose:
        yield f"    {click.style(check['source'], dim=True)}"
