"""``gpuenv operator``: the process that runs in the cluster."""

from pathlib import Path

import click

from gpuenv.cli import options

LEVELS = ("debug", "info", "warning", "error")


@click.command("operator")
@options.kubeconfig
@click.option("--probe-namespace", default="gpuenv-probes", show_default=True, help="Where probe pods run.")
@click.option("--lease-namespace", default="gpuenv-system", show_default=True, help="Where the Lease lives.")
@click.option("--lease-name", default="gpuenv-operator", show_default=True, help="Name of the Lease.")
@click.option(
    "--max-probes",
    default=50,
    show_default=True,
    type=click.IntRange(min=1),
    help="Probe pods at a time, over all environments.",
)
@click.option(
    "--node-selector",
    default="",
    help="Label selector: look at these nodes only (for example nvidia.com/gpu.present=true). Default: all.",
)
@click.option(
    "--writes-per-second",
    default=20.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Limit of requests that change something; 0: none.",
)
@click.option(
    "--sweep-seconds",
    default=600.0,
    show_default=True,
    type=click.FloatRange(min=1),
    help="Between full lists that check on the watch.",
)
@click.option(
    "--retry-seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="First pause after a probe that could not run; doubles, up to an hour.",
)
@click.option(
    "--stuck-seconds",
    default=120.0,
    show_default=True,
    type=click.FloatRange(min=1),
    help="How long a deleted probe pod may take to go; after that its node is probed no more until it is gone.",
)
@click.option(
    "--knowledge",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory with knowledge tables of your own.",
)
@click.option(
    "--metrics-port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: off."
)
@click.option(
    "--health-port",
    default=8081,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="For /healthz and /readyz; 0: off.",
)
@click.option("--log-format", default="text", show_default=True, type=click.Choice(["text", "json"]))
@click.option("--log-level", default="info", show_default=True, type=click.Choice(LEVELS))
def command(**flags: object) -> int:
    """Run the operator until SIGTERM.

    Exit codes: 0 stopped by a signal, 1 to be restarted (another operator holds the Lease, or a part failed),
    2 cannot start (flags, kubeconfig, a port in use). What is missing in the cluster (CRDs, permissions) is
    said in the log and waited for.
    """
    # Imported here: kopf and kubernetes take a second, and `--help` needs neither.
    from gpuenv.controller.run import main  # noqa: PLC0415 - see above
    from gpuenv.controller.settings import Options  # noqa: PLC0415 - see above

    return main(Options(**flags))  # type: ignore[arg-type]  # click has checked each against its option
