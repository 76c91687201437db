"""Errors that end a command with a message to the user: one line on standard error, and an exit code.

A command that did its work returns an exit code. Otherwise it raises one of these errors.
"""

import click

from gpuenv.cli.shared import exit_codes


class CommandError(click.ClickException):
    """Base of the errors that end a command. The message says in one line what happened and what to do next."""

    exit_code = exit_codes.FAILED

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.ctx = click.get_current_context(silent=True)
        """The click context of the running command, with whose name the error line begins (``gpuenv check: ...``)."""


class BadInput(CommandError):  # noqa: N818 - the user's input is wrong, not the program
    """An option, an argument or an input file is invalid."""

    exit_code = exit_codes.USAGE


class ClusterError(CommandError):
    """A request to the cluster failed, or an object that the user named does not exist."""

    exit_code = exit_codes.USAGE


class Interrupted(CommandError):  # noqa: N818 - Ctrl-C is no fault of the program
    """The user ended the command with Ctrl-C. The message says where the probe reports were saved, if they were."""

    exit_code = exit_codes.INTERRUPTED
