"""``gpuenv revalidate``: asks the operator to validate an environment again, on all its nodes or on one."""

from datetime import UTC, datetime

import click

from gpuenv.api import names
from gpuenv.api.foreign_text import one_line
from gpuenv.cli.shared import cluster, exit_codes, options
from gpuenv.cli.shared.errors import ClusterError
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import ENVIRONMENTS, REPORTS


@click.command("revalidate")
@click.argument("environment")
@click.option("--node", metavar="NAME", help="On this node only.")
@options.cluster
def command(*, environment: str, node: str | None, kubeconfig: str | None, context: str | None) -> int:
    """Ask for a new run of ENVIRONMENT on all its nodes, or on one. Verdicts stay until the new ones are there.

    Exit codes: 0 asked, 2 the cluster cannot be asked or has no such environment or node.
    """
    token = datetime.now(UTC).isoformat()

    async def question(kube: Kube) -> None:
        await cluster.environment(kube, environment)
        path = f"{ENVIRONMENTS}/{environment}"
        if node is not None:
            path = f"{REPORTS}/{names.report_name(environment, node)}"
        try:
            await kube.merge_patch(path, {"metadata": {"annotations": {names.ANNOTATION_REVALIDATE: token}}})
        except ApiError as error:
            if error.status != 404:
                raise
            raise ClusterError(
                f"node {node} has no report of {environment}; `gpuenv status {environment}` lists those"
            ) from error

    cluster.ask(kubeconfig, context, question)
    where = f"on {node}" if node else "on all its nodes"
    asked = f"{environment}: a new run {where} was asked for; `gpuenv wait {environment}` waits for it"
    click.echo(one_line(asked))
    return exit_codes.OK
