"""Infers facts about a container image from its name and tag, by the table ``images.yaml``. Nothing else is read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gpuenv.assess.facts import ContainerFacts, Facts, Origin, Provenance, Source, TorchFacts
from gpuenv.assess.policies.architecture import cudnn_number
from gpuenv.assess.sources.images import VALUES
from gpuenv.assess.sources.images.reference import DOCKER_HUB, ImageReference, parse_reference
from gpuenv.knowledge.image_rows import ImageContents, ImageRow, pattern
from gpuenv.knowledge.model import Knowledge
from gpuenv.knowledge.versions import parse_version


@dataclass(frozen=True, slots=True)
class NamedImage:
    """What the name of an image says. ``notes`` are sentences for people.

    ``is_known`` says whether the table has the image and a pattern of its tag.
    """

    facts: Facts
    notes: tuple[str, ...]
    is_known: bool


def read_name(reference: ImageReference, knowledge: Knowledge) -> NamedImage:
    """Return what the name and the tag of an image say. Facts that they do not say stay unknown."""
    row, words = None, None
    for found, in_name in _rows(reference, knowledge):
        row = found
        in_tag = _tag_words(found, reference.tag)
        if in_tag is not None:
            words = {**in_name, **in_tag}
            break
    if row is None:
        return _unknown(f"not known: {_why_unknown(reference)}; use --inspect to read the image itself")
    if words is None:
        what = f"the tag {reference.tag!r}" if reference.tag else "an image without a tag"
        lead = f"{row.note} " if row.note else ""
        return _unknown(f"{lead}What {what} has is not known; use --inspect to read the image itself")
    contents = knowledge.images.content(row.series, words.get("release")) if row.series else None
    return _known(row, words, contents)


def _rows(reference: ImageReference, knowledge: Knowledge) -> Iterator[tuple[ImageRow, dict[str, str]]]:
    """Yield the rows that have the name of an image, and the values of the place-holders in that name."""
    full = reference.name
    short = reference.repository if reference.registry == DOCKER_HUB else full
    for row in knowledge.images.rows:
        for name in row.names:
            if "*" not in name and "{" not in name:
                if name == short:
                    yield row, {}
                continue
            match = pattern(name).fullmatch(full)
            if match is not None:
                yield row, match.groupdict()


def released_image(reference: str, release: str, cuda: str, knowledge: Knowledge) -> str:
    """Return the newest image of the same name that has a PyTorch release series and a CUDA version, or "".

    Only tags that are known to exist count.
    """
    parsed = parse_reference(reference)
    if parsed is None:
        return ""
    for row, _ in _rows(parsed, knowledge):
        for tag in reversed(row.released):
            words = _tag_words(row, tag) or {}
            torch = parse_version(words.get("torch"))
            if (
                torch
                and torch[:2] == parse_version(release)
                and parse_version(words.get("cuda")) == parse_version(cuda)
            ):
                name = reference.partition("@")[0]
                return f"{name.removesuffix(f':{parsed.tag}') if parsed.tag else name}:{tag}"
    return ""


def _tag_words(row: ImageRow, tag: str) -> dict[str, str] | None:
    for text in row.tags:
        match = pattern(text).fullmatch(tag)
        if match is not None:
            return match.groupdict()
    return None


def _why_unknown(reference: ImageReference) -> str:
    if reference.digest and not reference.tag:
        return "a digest does not say what is inside"
    return f"{reference.name} is not in the table of images"


def _unknown(note: str) -> NamedImage:
    return NamedImage(Facts(source=Source.IMAGE), (note,), is_known=False)


def _known(row: ImageRow, words: Mapping[str, str], contents: ImageContents | None) -> NamedImage:
    """Return the facts in the place-holders of name and tag, completed by what the table says about the release."""
    said = {
        "pytorch": _torch(words, row.local),
        "cuda": words.get("cuda") or _dotted(words.get("cu")),
        "cudnn": words.get("cudnn"),
        "python": words.get("python") or _python(words.get("py")),
    }
    listed = {
        "pytorch": contents.torch if contents else None,
        "cuda": contents.cuda if contents else None,
        "cudnn": contents.cudnn if contents else None,
        "python": contents.python if contents else None,
    }
    values = {name: said[name] or listed[name] for name in VALUES}
    cudnn = parse_version(values["cudnn"])
    if cudnn is None or len(cudnn) < 2:  # "cudnn9" does not say which release of cuDNN 9
        values["cudnn"] = None
    facts = Facts(
        source=Source.IMAGE,
        torch=TorchFacts(
            version=values["pytorch"],
            cuda=values["cuda"],
            cpu_build=True if "rocm" in words or row.local == "cpu" else None,
            cudnn=cudnn_number(cudnn) if values["cudnn"] else None,
            typed=any(said[name] not in (None, listed[name]) for name in ("pytorch", "cuda")) or None,
        ),
        container=ContainerFacts(python=values["python"], image_platforms=row.platforms),
        provenance=tuple(
            Provenance(
                name, Origin.INFERRED, row.source if said[name] or contents is None else contents.source
            )
            for name, value in values.items()
            if value
        ),
    )
    return NamedImage(facts, tuple(_notes(row, words, contents)), is_known=True)


def _notes(row: ImageRow, words: Mapping[str, str], contents: ImageContents | None) -> Iterator[str]:
    if row.note:
        yield row.note
    if row.series and words.get("release") and contents is None:
        yield f"The table of images has no release {words['release']}; use --inspect to read the image itself."
    if contents is not None and contents.compat:
        yield (
            f"It brings the cuda-compat libraries of driver {contents.compat}, which work on data-centre GPUs only."
        )


def _torch(words: Mapping[str, str], local: str) -> str | None:
    """Return the version of PyTorch in the place-holders of a name and a tag, or None."""
    version = words.get("torch")
    if version is None and (dashed := words.get("torch_dashed")):
        version = dashed.replace("-", ".")
    if version is None and (digits := words.get("torchd")):
        version = f"{digits[0]}.{digits[1:-1]}.{digits[-1]}"
    if rocm := words.get("rocm"):
        local = f"rocm{rocm}"
    return f"{version}+{local}" if version and local else version


def _dotted(digits: str | None) -> str | None:
    """Return ``128`` as 12.8 and ``1281`` as 12.8.1, or None if there are no digits."""
    return ".".join((digits[:2], *digits[2:])) if digits else None


def _python(digits: str | None) -> str | None:
    """Return ``312`` as 3.12, or None if there are no digits."""
    return f"{digits[0]}.{digits[1:]}" if digits else None
