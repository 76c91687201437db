"""``gpuenv uninstall``: removes labels, conditions, probe pods and finalizers that the operator has made."""

import asyncio

import click

from gpuenv.api.foreign_text import one_line
from gpuenv.cli.shared import durations, exit_codes, options
from gpuenv.cli.shared.errors import CommandError
from gpuenv.controller.kube.errors import ApiError


@click.command("uninstall")
@options.cluster
@options.probe_namespace
@options.lease_namespace
@options.lease_name
@click.option(
    "--deployment",
    help="The operator's Deployment, which is scaled to nothing first. Default: it is stopped.",
)
@options.timeout("4m", least=1, text="How long everything may take")
def command(
    *,
    kubeconfig: str | None,
    context: str | None,
    probe_namespace: str,
    lease_namespace: str,
    lease_name: str,
    deployment: str | None,
    timeout: float,
) -> int:
    """Remove gpuenv's labels, conditions, probe pods and finalizers; environments and reports stay.

    The chart does this on `helm uninstall`. Exit code 1: not everything could be removed.
    """
    # Imported only here: importing kubernetes takes half a second, and `--help` does not need it.
    from gpuenv.controller.kube.client import Kube  # noqa: PLC0415 - see above
    from gpuenv.controller.kube.kinds import Scope  # noqa: PLC0415 - see above
    from gpuenv.controller.kube.kubeconfig import KubeconfigError  # noqa: PLC0415 - see above
    from gpuenv.controller.write.uninstall import Uninstall  # noqa: PLC0415 - see above

    async def run() -> str:
        async with await Kube.from_environment(kubeconfig, context) as kube, asyncio.timeout(timeout):
            work = Uninstall(kube, Scope(probe_namespace), lease_namespace, lease_name)
            return str(await work.run(deployment))

    try:
        click.echo(one_line(asyncio.run(run())))
    except TimeoutError:
        raise CommandError(
            f"not done after {durations.show(timeout)}; is an operator still holding the Lease?"
        ) from None
    except (ApiError, KubeconfigError) as error:
        raise CommandError(str(error)) from error
    return exit_codes.OK
