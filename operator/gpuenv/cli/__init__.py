"""The ``gpuenv`` command.

Each subcommand's module is imported when it is called, not before: ``gpuenv explain`` answers in a tenth of a second
because it never pays for kopf, kubernetes or rich.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "explain": (
        "gpuenv.cli.explain",
        "Say whether an image runs on a node, from whatever is known; needs no GPU.",
    ),
    "check": ("gpuenv.cli.check", "Run the probe on this very machine and judge what it finds."),
    "knowledge": ("gpuenv.cli.knowledge", "Print the tables that verdicts follow from, with their sources."),
    "status": ("gpuenv.cli.status", "Show environments and their verdicts in a cluster."),
    "report": ("gpuenv.cli.report", "Show what is known of one node or one environment in a cluster."),
    "wait": ("gpuenv.cli.wait", "Wait until an environment has its answers."),
    "revalidate": ("gpuenv.cli.revalidate", "Ask for a new run of an environment."),
    "sandbox": ("gpuenv.cli.sandbox", "Run a real control plane with simulated GPU nodes on this machine."),
    "operator": ("gpuenv.cli.operator", "Run the operator."),
    "uninstall": ("gpuenv.cli.uninstall", "Take back what the operator put on nodes and environments."),
}
"""Subcommands: the module that holds each as ``command``, and the line that ``gpuenv --help`` shows."""

NOT_INSTALLED: Final[dict[str, str]] = {
    "cryptography": "`pip install cryptography`, or install gpuenv with its extra, gpuenv[sandbox]",
    "gpuenv_sandbox": "the operator's image has none; on a Linux machine run `make sandbox` in a checkout of gpuenv",
}
"""Parts that an installation may lack, and what to do about each."""

USAGE_ERROR: Final = 2


class LazyGroup(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command. Raises a usage error where a part that it needs is not installed."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        try:
            command = import_module(COMMANDS[cmd_name][0]).command
        except ModuleNotFoundError as error:
            cure = NOT_INSTALLED.get(error.name or "")
            raise click.ClickException(
                f"{cmd_name} needs the module {error.name}, which is not installed"
                + (f": {cure}" if cure else "")
            ) from error
        assert isinstance(command, click.Command)
        return command

    def main(  # type: ignore[override]  # click's own overloads depend on standalone_mode
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs a command. Wrong usage is one line on standard error and exit code 2, never a page."""
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, standalone_mode=False, **extra)
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            path = context.command_path if context is not None else "gpuenv"
            click.echo(f"{path}: {' '.join(error.format_message().split())}", err=True)
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(130)
        sys.exit(code if isinstance(code, int) else 0)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``--help``, without importing anything."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gpuenv")
def main() -> None:
    """Can this node run this PyTorch-CUDA image, and if not, exactly why and what fixes it?"""
