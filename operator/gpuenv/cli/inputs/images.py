"""Reads facts about images from options of ``gpuenv explain`` (``--image``, ``--torch``, ``--cuda`` ...)."""

from dataclasses import dataclass, field, replace

from gpuenv.assess.facts import ContainerFacts, Facts, Origin, Provenance, TorchFacts
from gpuenv.assess.policies.architecture import cudnn_number
from gpuenv.cli.inputs.given import Given
from gpuenv.cli.inputs.versions import require_version
from gpuenv.cli.shared.errors import BadInput
from gpuenv.knowledge import Knowledge
from gpuenv.knowledge.build_name import parse_build_name
from gpuenv.knowledge.versions import parse_version


@dataclass(frozen=True, slots=True)
class Image:
    """The facts about one image. It equals ``Image()`` if no option describes an image.

    ``torch`` and ``container`` are what options say. ``reference`` is the image that ``--image`` or a GPUEnvironment
    names, or "". ``found`` are the facts that its name or its content shows, and ``notes`` sentences about it.
    """

    torch: TorchFacts = field(default_factory=TorchFacts)
    container: ContainerFacts = field(default_factory=ContainerFacts)
    reference: str = ""
    found: Facts | None = None
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The text that distinguishes this image from others: its reference, or its version of PyTorch."""
        return self.reference or self.torch.version or ""


def read_images(given: Given, of_environment: str | None, knowledge: Knowledge) -> list[Image]:
    """Return one image for each ``--torch`` or ``--image``, or a single image if there is neither.

    All other options apply to each image. ``of_environment`` is the image of the GPUEnvironment that ``-f`` names; it
    counts unless ``--torch`` or a pasted text says which PyTorch there is, and other options complete it. Raises
    BadInput if the value of an option is invalid, or if options exclude each other.
    """
    if given.images and given.torches:
        raise BadInput("--image and --torch exclude each other: the image says which PyTorch it has")
    images = [_image(given, torch) for torch in given.torches or (None,)]
    pasted = given.collect_env or given.report
    counts = not given.torches and not pasted
    references = given.images or ((of_environment,) if of_environment and (counts or given.inspect) else ())
    if given.inspect and not references:
        raise BadInput("--inspect reads an image; name it with --image or -f")
    if not references:
        return images
    from gpuenv.cli.inputs.image_references import read_references  # noqa: PLC0415 - only --image and -f need it

    return [
        replace(images[0], reference=one.reference, found=_beside(images[0], one.facts), notes=one.notes)
        for one in read_references(references, knowledge, inspect=given.inspect)
    ]


def _beside(options: Image, found: Facts) -> Facts:
    """Return the facts of an image with the provenance of its values. Those that options name are given by the user."""
    given = {
        "pytorch": options.torch.version,
        "cuda": options.torch.cuda,
        "cudnn": options.torch.cudnn,
        "python": options.container.python,
    }
    kept = tuple(one for one in found.provenance if not given.get(one.value))
    return replace(
        found,
        provenance=(
            *kept,
            *(Provenance(name, Origin.GIVEN, f"--{name}") for name, value in given.items() if value),
        ),
    )


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
