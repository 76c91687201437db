"""``gpuenv operator``: runs the operator, the process that validates nodes in a cluster."""

from pathlib import Path
from typing import Final, get_args

import click

from gpuenv.cli.shared import options
from gpuenv.controller.monitoring.bind_address import BindAddress, parse
from gpuenv.controller.options import LogFormat, LogLevel, Options
from gpuenv.plan.settings import UserNamespaces

DEFAULTS: Final = Options()


def bind_address(text: str) -> BindAddress | None:
    """Return the address that the value of an option stands for, or None if the value is ``0``."""
    try:
        return parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("operator")
@options.operators_cluster
@options.probe_namespace
@options.lease_namespace
@options.lease_name
@click.option(
    "--max-probes",
    default=DEFAULTS.max_probes,
    show_default=True,
    type=click.IntRange(min=1),
    help="Probe pods at a time, over all environments.",
)
@click.option(
    "--node-label-selector",
    default=DEFAULTS.node_label_selector,
    help="Label selector: look at these nodes only (for example nvidia.com/gpu.present=true). Default: all.",
)
@click.option(
    "--writes-per-second",
    default=DEFAULTS.writes_per_second,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Limit of requests that change something; 0: none.",
)
@click.option(
    "--sweep-seconds",
    default=DEFAULTS.sweep_seconds,
    show_default=True,
    type=click.FloatRange(min=1),
    help="Between full lists that check on the watch.",
)
@click.option(
    "--retry-seconds",
    default=DEFAULTS.retry_seconds,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="First pause after a probe that could not run; doubles, up to an hour.",
)
@click.option(
    "--stuck-seconds",
    default=DEFAULTS.stuck_seconds,
    show_default=True,
    type=click.FloatRange(min=1),
    help="How long a deleted probe pod may take to go; after that its node is probed no more until it is gone.",
)
@click.option(
    "--user-namespaces",
    default=DEFAULTS.user_namespaces,
    show_default=True,
    type=click.Choice(get_args(UserNamespaces)),
    help="Probe pods with hostUsers: false: Never, or WhereSupported by a node's container runtime. NVIDIA's container "
    "toolkit does not support such pods.",
)
@click.option(
    "--mass-change-percent",
    default=DEFAULTS.mass_change_percent,
    show_default=True,
    type=click.IntRange(min=0, max=100),
    help="If more than this percentage of an environment's nodes would leave Compatible, their labels are held back until "
    "somebody accepts the change; 0: never. See docs/mass-change.md.",
)
@click.option(
    "--mass-change-min-nodes",
    default=DEFAULTS.mass_change_min_nodes,
    show_default=True,
    type=click.IntRange(min=1),
    help="Fewer nodes than this may always leave Compatible.",
)
@click.option(
    "--mass-change-window-seconds",
    default=DEFAULTS.mass_change_window_seconds,
    show_default=True,
    type=click.FloatRange(min=1),
    help="For how long a node that has left Compatible counts.",
)
@click.option(
    "--knowledge",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory with knowledge tables of your own.",
)
@click.option(
    "--limits",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with limits of what environments may ask for; see docs/limits.md, which also has the defaults.",
)
@click.option(
    "--metrics-bind-address",
    default=str(DEFAULTS.metrics_bind_address),
    show_default=True,
    metavar="ADDRESS",
    type=bind_address,
    help="Where /metrics is served, such as :8080 (all addresses) or 127.0.0.1:8080; 0: nowhere.",
)
@click.option(
    "--health-probe-bind-address",
    default=str(DEFAULTS.health_probe_bind_address),
    show_default=True,
    metavar="ADDRESS",
    type=bind_address,
    help="Where /healthz and /readyz are served; 0: nowhere.",
)
@click.option(
    "--log-format", default=DEFAULTS.log_format, show_default=True, type=click.Choice(get_args(LogFormat))
)
@click.option(
    "--log-level", default=DEFAULTS.log_level, show_default=True, type=click.Choice(get_args(LogLevel))
)
def command(**flags: object) -> int:
    """Run the operator until SIGTERM. In a pod, its service account comes before ~/.kube/config.

    Exit codes: 0 stopped by a signal, 1 to be restarted (another operator holds the Lease, or a part failed),
    2 cannot start (flags, kubeconfig, a port in use). If the cluster lacks something (CRDs, permissions), the log
    says so and the operator waits for it.
    """
    # Imported only here: importing kopf and kubernetes takes a second, and `--help` needs neither.
    from gpuenv.controller.run import main  # noqa: PLC0415 - see above

    return main(Options(**flags))  # type: ignore[arg-type]  # click has checked each against its option
