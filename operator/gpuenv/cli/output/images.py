"""Lines about images: which of their values were read, which were inferred from the name, and which are not known."""

from collections.abc import Iterator

from gpuenv.api.foreign_text import one_line
from gpuenv.assess.facts import Origin
from gpuenv.assess.sources.images import VALUES
from gpuenv.cli.output import text
from gpuenv.cli.output.answer import Answer

_HOW = {Origin.READ: "read from it", Origin.INFERRED: "inferred from its name", Origin.GIVEN: "given"}


def image_lines(answer: Answer) -> Iterator[str]:
    """Yield a line that says how each value of the answer's image is known, and the sentences about the image."""
    if answer.image is None:
        return
    lead = f"image {one_line(answer.image.reference, text.MAX_NAME)}"
    platforms = one_line(", ".join(answer.facts.container.image_platforms), text.MAX_NAME)
    lead += f" ({platforms})" if platforms else ""
    known = answer.facts.provenance
    groups: dict[Origin, list[str]] = {}
    for one in known:
        if one.value in VALUES:
            groups.setdefault(one.origin, []).append(VALUES[one.value])
    parts = [f"{_listed(names)} {_HOW[origin]}" for origin, names in groups.items()]
    found = {one.value for one in known}
    missing = [name for value, name in VALUES.items() if value not in found]
    if known and missing:
        parts.append(f"{_listed(missing)} not known")
    if parts:
        yield f"{lead}: {'; '.join(parts)}"
    for note in answer.image.notes:
        yield f"    {one_line(note, text.MAX_CELL)}" if parts else one_line(f"{lead}: {note}", text.MAX_CELL)


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
