"""The ``gpuenv`` command.

The module of a subcommand is imported only when that subcommand runs. ``gpuenv explain`` takes a tenth of a second,
because it does not import kopf, kubernetes or rich.
"""

import errno
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

from gpuenv.api.foreign_text import one_line
from gpuenv.cli.shared import exit_codes

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
    "uninstall": ("gpuenv.cli.uninstall", "Remove what the operator put on nodes and environments."),
}
"""Maps the name of each subcommand to its module and its line in ``gpuenv --help``.

The module defines the subcommand as ``command``.
"""

NOT_INSTALLED: Final[dict[str, str]] = {
    "cryptography": "`pip install cryptography`, or install gpuenv with its extra, gpuenv[sandbox]",
    "gpuenv_sandbox": "the operator's image has none; on a Linux machine run `make sandbox` in a checkout of gpuenv",
}
"""Maps each Python module that an installation may lack to the instruction how to install it."""

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of the system that only a write can have. Of the commands, all write to standard output alone."""
MESSAGE_CHARACTERS: Final = 2000
"""Longest error message of a command, in characters. Some quote what a file says, or an API server."""


class LazyGroup(click.Group):
    """A click group that imports the module of a subcommand when the subcommand runs.

    A subcommand returns its exit code, or raises an error of :mod:`gpuenv.cli.shared.errors`.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands in the order of :data:`COMMANDS`."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand and return it, or return None if there is none with this name.

        Raises ClickException if a package that the subcommand needs is not installed.
        """
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
        """Run a subcommand and exit with the code that it returns. An error is one line on standard error.

        Without ``standalone_mode``, return the code instead, and let errors propagate to the caller.
        """
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, standalone_mode=False, **extra)
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            path = context.command_path if context is not None else "gpuenv"
            click.echo(f"{path}: {one_line(error.format_message(), MESSAGE_CHARACTERS)}", err=True)
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(exit_codes.INTERRUPTED)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            words = f"the output cannot be written: {error.strerror}; free some space, or write elsewhere"
            click.echo(f"gpuenv: {words}", err=True)
            sys.exit(exit_codes.USAGE)
        sys.exit(code if isinstance(code, int) else exit_codes.OK)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of subcommands of ``--help`` without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group("gpuenv", cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gpuenv")
def main() -> None:
    """Can this node run this PyTorch-CUDA image, and if not, exactly why and what fixes it?"""
