"""Options that several commands share, so that names, defaults and help texts are the same in all of them."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from gpuenv.api import names
from gpuenv.cli.shared.durations import at_least

Command = TypeVar("Command", bound=Callable[..., Any])


def _kubeconfig(default: str) -> Callable[[Command], Command]:
    return click.option("--kubeconfig", metavar="FILE", help=f"Kubeconfig file. Default: {default}.")


_context = click.option(
    "--context", metavar="NAME", help="Context of the kubeconfig. Default: its current context."
)


def cluster(command: Command) -> Command:
    """Add the options ``--kubeconfig`` and ``--context``, which choose the cluster, to a command."""
    return _kubeconfig("$KUBECONFIG, else ~/.kube/config, else the pod's service account")(_context(command))


def operators_cluster(command: Command) -> Command:
    """Add the same options to the operator's command, which prefers the service account of its own pod."""
    return _kubeconfig("$KUBECONFIG, else the pod's service account, else ~/.kube/config")(_context(command))


def timeout(default: str, *, least: float = 0.0, text: str) -> Callable[[Command], Command]:
    """Return the option ``--timeout``, of at least ``least`` seconds. ``text`` says what the limit is for."""
    return click.option(
        "--timeout",
        type=at_least(least),
        default=default,
        show_default=True,
        metavar="DURATION",
        help=f"{text}: 90s, 30m, 1h30m, or a number of seconds.",
    )


tables_directory = click.option(
    "--knowledge", "directory", metavar="DIR", help="Tables that replace those of the same name."
)
verbose = click.option("-v", "--verbose", is_flag=True, help="Show checks that passed, and sources.")
probe_namespace = click.option(
    "--probe-namespace", default=names.PROBE_NAMESPACE, show_default=True, help="Where probe pods run."
)
lease_namespace = click.option(
    "--lease-namespace", default=names.OPERATOR_NAMESPACE, show_default=True, help="Where the Lease lives."
)
lease_name = click.option(
    "--lease-name", default=names.OPERATOR, show_default=True, help="Name of the Lease."
)
