"""Errors that a person sees: one line on standard error, and an exit code.

A command returns its exit code when it has an answer. Otherwise it raises one of these errors.
"""

import click

from gpuenv.cli import exit_codes


class CommandError(click.ClickException):
    """The command could not do its work. The message says in one line what happened and what to do next."""

    exit_code = exit_codes.FAILED

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.ctx = click.get_current_context(silent=True)
        """The line begins with the name of the command that was running (``gpuenv check: ...``)."""


class BadInput(CommandError):  # noqa: N818 - it names what a person gave, not a fault of the program
    """An option, an argument or a file makes no sense."""

    exit_code = exit_codes.USAGE


class ClusterError(CommandError):
    """The cluster cannot be asked, or it has no such object."""

    exit_code = exit_codes.USAGE


class Interrupted(CommandError):  # noqa: N818 - Ctrl-C is no fault of the program
    """A person ended the command with Ctrl-C. The message says what was saved."""

    exit_code = exit_codes.INTERRUPTED
