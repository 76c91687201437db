"""Reads facts about the images that ``--image`` or a GPUEnvironment names."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import click

from gpuenv.api.foreign_text import one_line
from gpuenv.assess.facts import Facts
from gpuenv.assess.sources.images.named import read_name
from gpuenv.assess.sources.images.reference import parse_reference
from gpuenv.cli.shared.errors import BadInput
from gpuenv.knowledge import Knowledge

PLACES: Final = ("oci:", "docker-archive:", "oci-archive:", "dir:", "docker://", "/", "./", "../")
"""Beginnings of places that only ``--inspect`` reads."""


@dataclass(frozen=True, slots=True)
class FoundImage:
    """One image: the reference as it was given, the facts about it, and sentences about it for people."""

    reference: str
    facts: Facts
    notes: tuple[str, ...]


def read_references(
    references: Sequence[str], knowledge: Knowledge, *, inspect: bool
) -> Iterator[FoundImage]:
    """Yield what is known about each image: with ``inspect`` from its content, else from its name and tag.

    Raises BadInput if a reference is invalid, or if an image cannot be read.
    """
    for text in references:
        yield _inspected(text) if inspect else _named(text, knowledge)


def _named(text: str, knowledge: Knowledge) -> FoundImage:
    if text.startswith(PLACES):
        raise BadInput(f"--image: {text[:200]}: only --inspect reads an image from there")
    reference = parse_reference(text)
    if reference is None:
        raise BadInput(
            f"--image: {text[:200]!r} is no image; write registry/name:tag or name@sha256:<digest>"
        )
    named = read_name(reference, knowledge)
    return FoundImage(text, named.facts, named.notes)


def _inspected(text: str) -> FoundImage:
    from gpuenv.assess.sources.images.contents import read_contents  # noqa: PLC0415 - only --inspect needs it
    from gpuenv.cli.inspect.limits import ImageError  # noqa: PLC0415 - only for --inspect
    from gpuenv.cli.inspect.read import read_image  # noqa: PLC0415 - only for --inspect

    try:
        found = read_contents(read_image(text, _progress))
    except ImageError as error:
        raise BadInput(f"--image: {one_line(text, 200)}: {error}") from None
    return FoundImage(text, found.facts, found.notes)


def _progress(line: str) -> None:
    """Show what is being read, if somebody is there to see it."""
    if sys.stderr.isatty():
        click.echo(f"gpuenv: {line}", err=True)
