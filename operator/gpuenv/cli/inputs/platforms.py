"""The platforms that ``--platform`` and files of nodes may name: the rows of platforms.yaml."""

import click

from gpuenv.cli.shared.errors import BadInput
from gpuenv.knowledge import Knowledge, load


def require_platform(name: str | None, knowledge: Knowledge) -> None:
    """Raise BadInput if ``name`` is not None and no platform of the tables has this name."""
    names = [row.name for row in knowledge.platforms]
    if name is not None and name not in names:
        raise BadInput(
            f"--platform: {name[:40]!r} is not a platform; write one of {', '.join(sorted(names))}"
        )


def complete(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Return the names of platforms that begin with ``typed``, for completion in the shell."""
    return sorted(row.name for row in load().platforms if row.name.startswith(typed))
