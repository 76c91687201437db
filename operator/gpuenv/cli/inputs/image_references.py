"""Reads facts about the images that ``--image`` or a GPUEnvironment names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gpuenv.assess.facts import Facts
from gpuenv.assess.sources.images.named import read_name
from gpuenv.assess.sources.images.reference import parse_reference
from gpuenv.cli.shared.errors import BadInput
from gpuenv.knowledge import Knowledge


@dataclass(frozen=True, slots=True)
class FoundImage:
    """One image: the reference as it was given, the facts about it, and sentences about it for people."""

    reference: str
    facts: Facts
    notes: tuple[str, ...]


def read_references(references: Sequence[str], knowledge: Knowledge) -> Iterator[FoundImage]:
    """Yield what is known about each image. Only names and tags are looked at.

    Raises BadInput if a reference is invalid.
    """
    for text in references:
        reference = parse_reference(text)
        if reference is None:
            raise BadInput(
                f"--image: {text[:200]!r} is no image; write registry/name:tag or name@sha256:<digest>"
            )
        named = read_name(reference, knowledge)
        yield FoundImage(text, named.facts, named.notes)
