"""``gpuenv report``: prints the checks in the node reports of a cluster, with their remedies."""

from collections.abc import Iterator

import click

from gpuenv.api.foreign_text import one_line
from gpuenv.api.objects import NodeVerdict, node_verdict, products
from gpuenv.api.remedies import read_remedies
from gpuenv.assess.model import Check, Status
from gpuenv.cli.output import text
from gpuenv.cli.shared import cluster, exit_codes, forms, options
from gpuenv.cli.shared.cluster import Object
from gpuenv.cli.shared.errors import ClusterError
from gpuenv.cli.shared.forms import Form
from gpuenv.controller.kube.client import Kube


@click.command("report")
@click.argument("environment", required=False)
@click.option("--node", metavar="NAME", help="Only this node; without ENVIRONMENT, all that is known of it.")
@options.verbose
@options.cluster
@forms.option(Form.TABLE, Form.JSON, Form.YAML)
def command(
    *,
    environment: str | None,
    node: str | None,
    verbose: bool,
    kubeconfig: str | None,
    context: str | None,
    form: str,
) -> int:
    """Show the checks behind the verdicts of an ENVIRONMENT, of a node, or of both; worst first.

    Exit codes: 0 shown, 2 wrong usage, or the cluster cannot be asked or has no such report.
    """
    if environment is None and node is None:
        raise click.UsageError("name an ENVIRONMENT, a --node, or both")

    async def question(kube: Kube) -> list[Object]:
        if environment is not None:
            await cluster.environment(kube, environment)
        return await cluster.node_reports(kube, name=environment, node=node)

    found = cluster.ask(kubeconfig, context, question)
    if form in forms.DATA:
        reports = [{"spec": one["spec"], "status": one.get("status") or {}} for one in found]
        click.echo(forms.DATA[form]({"reports": reports}))
    elif not found:
        names = (environment and f"environment {environment}", node and f"node {node}")
        of = " and ".join(filter(None, names))
        raise ClusterError(f"there is no report of {of} yet; `gpuenv status` says what is under way")
    else:
        click.echo("\n\n".join("\n".join(_lines(one, verbose)) for one in found))
    return exit_codes.OK


def _lines(report: Object, verbose: bool) -> Iterator[str]:
    node, status = node_verdict(report), report.get("status") or {}
    headline = text.headline(str(cluster.verdict(report)), node.reason)
    yield f"{one_line(node.environment)} on {one_line(node.node)}  {headline}"
    if subject := one_line(", ".join(_subject(node, status))):
        yield subject
    checks = [_check(one) for one in status.get("checks") or []]
    if status.get("message") and status["message"] not in [one.message for one in checks]:
        yield one_line(status["message"])
        yield from text.remedy_lines(read_remedies(status.get("remedies")))
    for check in checks:
        if verbose or check.status not in (Status.PASS, Status.SKIPPED):
            yield from text.check_lines(check, source=verbose)


def _subject(node: NodeVerdict, status: Object) -> Iterator[str]:
    found = dict.fromkeys(products(status))
    yield from text.subject(node.pytorch, node.cuda, node.driver, list(found))
    if node.validation_time:
        yield f"validated at {node.validation_time}"


def _check(raw: Object) -> Check:
    reason, message, source = (raw.get(word) or "" for word in ("reason", "message", "source"))
    return Check(
        raw["name"], Status(raw["status"]), reason, message, read_remedies(raw.get("remedies")), source
    )
