"""``gpuenv explain`` as people call it, in this process."""

import json
from typing import Any

from click.testing import CliRunner, Result

from gpuenv.cli import main

CSV = "name,gpu,driver\n# a comment\na,NVIDIA L4,535.104.05\nb,Tesla V100-SXM2-16GB,470.57.02\n"
"""A fleet of two nodes, of which the second is too old for recent builds."""


def explain(*arguments: str, text: str | None = None) -> Result:
    """Run the command, with ``text`` as its standard input."""
    return CliRunner().invoke(main, ["explain", *arguments], input=text, prog_name="gpuenv")


def as_json(*arguments: str, text: str | None = None) -> dict[str, Any]:
    """Run the command with ``-o json``, and return its output, decoded."""
    found = explain(*arguments, "-o", "json", text=text)
    document = json.loads(found.stdout)
    assert isinstance(document, dict)
    return document
