"""Options that several commands share, so that names, defaults and help texts are the same in all of them."""

import click

from gpuenv.api import names

kubeconfig = click.option(
    "--kubeconfig", help="Kubeconfig file. Default: the pod's service account, else $KUBECONFIG."
)
tables_directory = click.option(
    "--knowledge", "directory", metavar="DIR", help="Tables that replace those of the same name."
)
table_or_json = click.option(
    "-o", "--output", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)
"""The option ``--output`` of all commands except ``explain`` and ``check``.

``explain`` and ``check`` have more formats; their option is in :mod:`gpuenv.cli.output.formats`.
"""
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
