"""Reads facts about images from options of ``gpuenv explain`` (``--torch``, ``--cuda``, ``--arch-list`` ...)."""

from dataclasses import dataclass, field

from gpuenv.assess.facts import ContainerFacts, TorchFacts
from gpuenv.assess.policies.architecture import cudnn_number
from gpuenv.cli.inputs.given import Given
from gpuenv.cli.inputs.versions import require_version
from gpuenv.cli.shared.errors import BadInput
from gpuenv.knowledge.build_name import parse_build_name
from gpuenv.knowledge.versions import parse_version


@dataclass(frozen=True, slots=True)
class Image:
    """The facts about one image. It equals ``Image()`` if no option describes an image."""

    torch: TorchFacts = field(default_factory=TorchFacts)
    container: ContainerFacts = field(default_factory=ContainerFacts)


def read_images(given: Given) -> list[Image]:
    """Return one image for each ``--torch``, or a single image if there is no ``--torch``.

    All other options apply to each image. Raises BadInput if the value of an option is invalid.
    """
    return [_image(given, torch) for torch in given.torches or (None,)]


def _image(given: Given, text: str | None) -> Image:
    torch = require_version(
        text.removeprefix("torch==") if text else None, "--torch", parts=2, example="2.9.1+cu128"
    )
    cuda = require_version(given.cuda, "--cuda", parts=2)
    facts = TorchFacts(
        version=torch,
        cuda=cuda or _dotted(parse_build_name(torch).cuda),
        cudnn=cudnn_number(parse_version(require_version(given.cudnn, "--cudnn"))),
        arch_flags=_arch_flags(given.arch_list) if given.arch_list else None,
    )
    return Image(facts, ContainerFacts(python=require_version(given.python, "--python")))


def _dotted(version: tuple[int, ...] | None) -> str | None:
    return ".".join(str(part) for part in version) if version else None


def _arch_flags(text: str) -> tuple[str, ...]:
    from gpuenv.assess.binary_compatibility import parse_flag  # noqa: PLC0415 - few people give --arch-list

    flags = tuple(text.replace(",", " ").replace("'", " ").strip("[] ").split())
    wrong = next((flag for flag in flags if parse_flag(flag) is None), None)
    if wrong is not None or not flags:
        raise BadInput(f"--arch-list: {wrong or text!r} is no target such as sm_80 or compute_90")
    return flags
