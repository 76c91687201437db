"""``gpuenv explain``: from whatever a person has (versions, a pasted environment, an error, a saved report) to cause and cure."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import click

from gpuenv.api.environment import EnvironmentSpec, Expectations, Floor
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import ContainerFacts, DriverFacts, Facts, Gpu, NodeFacts, TorchFacts
from gpuenv.assess.model import Assessment, Verdict
from gpuenv.assess.sources.merge import merge
from gpuenv.assess.targets import local_cuda
from gpuenv.cli import output
from gpuenv.cli.inputs.values import EXAMPLE_DRIVER, MAX_FILE, is_driver, read_ends, read_file
from gpuenv.knowledge import Knowledge, KnowledgeError, load
from gpuenv.knowledge.versions import parse_version

EXIT_CODES: Final = {
    Verdict.COMPATIBLE: 0,
    Verdict.INCOMPATIBLE: 1,
    Verdict.DEGRADED: 3,
    Verdict.UNKNOWN: 4,
}
MAX_VERSION: Final = 100
WORST_FIRST: Final = (Verdict.INCOMPATIBLE, Verdict.UNKNOWN, Verdict.DEGRADED, Verdict.COMPATIBLE)


@dataclass(frozen=True, slots=True)
class Answer:
    """One image on one node, judged. ``name`` is what the person calls the node, "" for the only one."""

    name: str
    facts: Facts
    assessment: Assessment
    knowledge: Knowledge = field(default_factory=load)


@click.command(
    epilog="Exit code: 0 Compatible, 1 Incompatible, 2 wrong usage, 3 Degraded, 4 Unknown; the worst of several."
)
@click.option(
    "--torch",
    "torches",
    multiple=True,
    metavar="VERSION",
    help="PyTorch version, such as 2.9.1+cu128; several: compare.",
)
@click.option("--cuda", metavar="VERSION", help="CUDA version of the PyTorch build (torch.version.cuda).")
@click.option("--cudnn", metavar="VERSION", help="cuDNN version of the image.")
@click.option("--python", metavar="VERSION", help="Python version of the image.")
@click.option(
    "--arch-list",
    metavar="FLAGS",
    help="What torch.cuda.get_arch_list() prints, when it is no released build.",
)
@click.option(
    "--driver",
    "drivers",
    multiple=True,
    metavar="VERSION",
    help="NVIDIA driver version; several go with several --gpu.",
)
@click.option(
    "--gpu", "gpus", multiple=True, metavar="NAME", help="GPU product name as nvidia-smi -L prints it."
)
@click.option(
    "--compute-capability",
    metavar="X.Y",
    help="Compute capability of the GPU, when its name is not in the tables.",
)
@click.option(
    "--platform",
    type=click.Choice(["gfd", "gke", "eks", "aks", "openshift", "wsl"]),
    help="Where it runs, for a fitting cure.",
)
@click.option(
    "--collect-env",
    metavar="FILE",
    help="Output of python -m torch.utils.collect_env, or vLLM's; - is standard input.",
)
@click.option(
    "--error", metavar="FILE|TEXT", help="A traceback, log or warning, as file or text; - is standard input."
)
@click.option("--report", metavar="FILE", help="A report saved by gpuenv check.")
@click.option(
    "--nodes", metavar="FILE", help="Nodes as CSV or YAML (name, gpu, driver), or kubectl get nodes -o yaml."
)
@click.option("-f", "--file", "environment", metavar="FILE", help="A GPUEnvironment, for its expectations.")
@click.option("--knowledge", "directory", metavar="DIR", help="Tables that replace those of the same name.")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["table", "json", "markdown"]),
    default="table",
    show_default=True,
)
@click.option("-v", "--verbose", is_flag=True, help="Show checks that passed, and sources.")
def command(**given: Any) -> None:
    """Say whether a PyTorch image runs on a node, and if not, why and what helps.

    Give what you have; what is missing is named. Nothing here needs a GPU or a cluster.

    \b
      gpuenv explain --torch 2.9.1+cu128 --driver 535.104.05 --gpu "Tesla V100-SXM2-16GB"
      python -m torch.utils.collect_env | gpuenv explain --collect-env -
      gpuenv explain --error traceback.txt
      gpuenv explain --nodes fleet.csv --torch 2.11.0+cu130
    """
    try:
        knowledge = load(Path(given["directory"]) if given["directory"] else None)
        answers = list(_answers(given, knowledge))
    except (BadInput, KnowledgeError) as error:
        print(f"gpuenv explain: {error}", file=sys.stderr)
        sys.exit(2)
    show: Callable[[list[Answer], bool], str] = output.FORMS[given["form"]]
    click.echo(show(answers, given["verbose"]), nl=False)
    verdicts = {answer.assessment.verdict for answer in answers}
    sys.exit(EXIT_CODES[next(verdict for verdict in WORST_FIRST if verdict in verdicts)])


class BadInput(ValueError):  # noqa: N818  what a person gave, not a fault of the program
    """What was given makes no sense; the message is one line for the person."""


def _answers(given: dict[str, Any], knowledge: Knowledge) -> Iterator[Answer]:
    expect, floors = _expectations(given["environment"])
    pasted = list(_pasted(given, knowledge))
    images = [_image(given, torch) for torch in given["torches"] or (None,)]
    nodes = list(_nodes(given))
    if not pasted and not nodes and images == [(TorchFacts(), ContainerFacts())]:
        raise BadInput(
            "nothing was given to judge; give --torch, --driver and --gpu, or --collect-env, --error, --report or --nodes "
            "(see gpuenv explain --help)"
        )
    for name, driver, gpus, node in nodes or [("", DriverFacts(), (), NodeFacts(platform=given["platform"]))]:
        for torch, container in images:
            flags = Facts(
                source="flags", torch=torch, container=container, driver=driver, gpus=gpus, node=node
            )
            told = flags != Facts(source="flags", node=NodeFacts(platform=node.platform))
            facts = merge([flags, *pasted] if told or not pasted else pasted)
            if node.platform:  # whoever names the platform knows it better than a text
                facts = replace(facts, node=replace(facts.node, platform=node.platform))
            label = name if len(images) == 1 else " ".join(part for part in (name, torch.version) if part)
            yield Answer(label, facts, assess(facts, expect, floors, knowledge), knowledge)


def _image(given: dict[str, Any], torch: str | None) -> tuple[TorchFacts, ContainerFacts]:
    torch = torch.removeprefix("torch==") if torch else None
    cuda = _version(given["cuda"], "--cuda", parts=2) or _dotted(local_cuda(torch))
    flags = None
    if given["arch_list"]:
        from gpuenv.assess.sources.binary import parse_flag  # noqa: PLC0415  only here

        flags = tuple(
            word
            for word in given["arch_list"].replace(",", " ").replace("'", " ").strip("[] ").split()
            if word
        )
        wrong = next((flag for flag in flags if parse_flag(flag) is None), None)
        if wrong is not None or not flags:
            raise BadInput(
                f"--arch-list: {wrong or given['arch_list']!r} is no target such as sm_80 or compute_90"
            )
    _version(torch, "--torch", parts=2)
    cudnn = parse_version(_version(given["cudnn"], "--cudnn"))
    return (
        TorchFacts(version=torch, cuda=cuda, cudnn=_cudnn(cudnn), arch_flags=flags),
        ContainerFacts(python=_version(given["python"], "--python")),
    )


def _cudnn(version: tuple[int, ...] | None) -> int | None:
    if version is None:
        return None
    major, minor, patch = (*version, 0, 0)[:3]
    return major * 10000 + minor * 100 + patch if major >= 9 else major * 1000 + minor * 100 + patch


def _dotted(version: tuple[int, ...] | None) -> str | None:
    return ".".join(str(part) for part in version) if version else None


def _version(text: str | None, option: str, parts: int = 1) -> str | None:
    """``text`` when it starts like a version. Raises :class:`BadInput` naming the option otherwise."""
    if text is None:
        return None
    version = parse_version(text)
    if version is None or len(version) < parts or len(text) > MAX_VERSION:
        raise BadInput(
            f"{option}: {text[:60]!r} is no version such as {'2.9.1+cu128' if option == '--torch' else '12.8'}"
        )
    return text


Node = tuple[str, DriverFacts, tuple[Gpu, ...], NodeFacts]


def _nodes(given: dict[str, Any]) -> Iterator[Node]:
    capability = _capability(given["compute_capability"])
    drivers = [_driver(text) for text in given["drivers"]]
    if not given["nodes"]:
        yield from _pairs(given["gpus"], drivers, capability, given["platform"])
        return
    if given["gpus"] or capability or len(drivers) > 1:
        raise BadInput(
            "--nodes names the GPUs itself; only one --driver goes with it, to ask what if they all had it"
        )
    from gpuenv.cli.inputs.node_lists import read_nodes  # noqa: PLC0415  csv and yaml, only here

    for name, driver, gpus, node in read_nodes(_read(given["nodes"], "--nodes"), given["nodes"], BadInput):
        facts = replace(node, platform=given["platform"] or node.platform)
        if drivers:
            yield name, drivers[0], gpus, replace(facts, driver_version=None)
        else:
            yield name, driver, gpus, facts


def _pairs(
    products: tuple[str, ...],
    drivers: list[DriverFacts],
    capability: tuple[int, int] | None,
    platform: str | None,
) -> Iterator[Node]:
    """Each GPU with its driver; one of either goes with all of the other."""
    if any(not name.strip() for name in products):
        raise BadInput("--gpu: needs a product name such as 'NVIDIA L4', as nvidia-smi -L prints it")
    gpus = [(Gpu(product=name, compute_capability=capability),) for name in products]
    if capability and not gpus:
        gpus = [(Gpu(compute_capability=capability),)]
    if len(gpus) > 1 and len(drivers) > 1 and len(gpus) != len(drivers):
        raise BadInput(
            f"{len(gpus)} times --gpu and {len(drivers)} times --driver make no pairs; give equally many, or one"
        )
    count = max(len(gpus), len(drivers))
    for number in range(count):
        gpu: tuple[Gpu, ...] = gpus[number if len(gpus) > 1 else 0] if gpus else ()
        driver = drivers[number if len(drivers) > 1 else 0] if drivers else DriverFacts()
        names = [text for text in (gpu[0].product if gpu else None, driver.version) if text]
        yield ", ".join(names) if count > 1 else "", driver, gpu, NodeFacts(platform=platform)


def _driver(text: str) -> DriverFacts:
    if parse_version(text) is None or len(text) > MAX_VERSION:
        raise BadInput(f"--driver: {text[:60]!r} is no version such as {EXAMPLE_DRIVER}")
    if not is_driver(text):
        raise BadInput(
            f"--driver: {text} is no driver version such as {EXAMPLE_DRIVER}; nvidia-smi prints it beside the CUDA version"
        )
    return DriverFacts(version=text)


def _capability(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    major, dot, minor = text.partition(".")
    if (
        dot
        and major.isascii()
        and major.isdigit()
        and minor.isascii()
        and minor.isdigit()
        and 0 < int(major) < 100
        and len(minor) == 1
    ):
        return int(major), int(minor)
    raise BadInput(f"--compute-capability: {text[:60]!r} is no compute capability such as 8.0")


def _pasted(given: dict[str, Any], knowledge: Knowledge) -> Iterator[Facts]:
    if [given["collect_env"], given["error"], given["report"]].count("-") > 1:
        raise BadInput("only one file can be standard input (-)")
    if given["report"]:
        from gpuenv.cli.inputs.saved_reports import read_report  # noqa: PLC0415  only here

        yield read_report(_read(given["report"], "--report"), given["report"], BadInput)
    if given["collect_env"]:
        from gpuenv.assess.sources.collect_env import read_collect_env  # noqa: PLC0415  its patterns cost 10 ms
        from gpuenv.assess.sources.error_text import read_error_text  # noqa: PLC0415 - only who asks for it pays for it

        text = _read(given["collect_env"], "--collect-env")
        yield read_collect_env(text)
        # People paste dump and traceback together.
        yield replace(read_error_text(text, knowledge, given=False), source="collect-env")
    if given["error"]:
        from gpuenv.assess.sources.collect_env import read_collect_env  # noqa: PLC0415 - only who asks for it pays for it
        from gpuenv.assess.sources.error_text import read_error_text  # noqa: PLC0415 - only who asks for it pays for it

        text = _error_text(given["error"])
        yield read_error_text(text, knowledge)
        yield replace(read_collect_env(text), source="error-text")


def _error_text(given: str) -> str:
    """The message itself is as welcome as a file of it: text of several words that names no file is the message."""
    if len(given.split()) > 1 and not given.endswith((".txt", ".log")) and not _is_file(given):
        return given[:MAX_FILE]
    return _read(given, "--error")


def _is_file(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # longer than a name may be
        return False


def _read(path: str, option: str) -> str:
    """The text of a file or of standard input. Raises :class:`BadInput` for what is missing, too large or binary."""
    try:
        data = read_ends(sys.stdin.buffer) if path == "-" else read_file(path)
    except OSError as error:
        raise BadInput(f"{option}: {path}: {error.strerror or error}") from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    if b"\x00" in data[:8192]:
        raise BadInput(f"{option}: {path}: is binary; give a text")
    return data.decode("utf-8", "replace")


def _expectations(path: str | None) -> tuple[Expectations | None, tuple[Floor, ...]]:
    if path is None:
        return None, ()
    spec, _ = read_environment(path)
    return spec.expect, spec.floors


def read_environment(path: str) -> tuple[EnvironmentSpec, int | None]:
    """The specification in a GPUEnvironment's file, and its ``runSeconds`` where the file itself says it.

    ``-`` is standard input. Raises :class:`BadInput`.
    """
    import yaml  # noqa: PLC0415  50 ms, only for -f

    from gpuenv.api.environment import SpecError, parse  # noqa: PLC0415 - only who asks for it pays for it

    try:
        document = yaml.safe_load(_read(path, "-f"))
        if not isinstance(document, dict) or document.get("kind") != "GPUEnvironment":
            raise BadInput(f"-f: {path}: is no GPUEnvironment (kind: GPUEnvironment)")
        spec = parse(document.get("spec"))
    except (yaml.YAMLError, SpecError) as error:
        raise BadInput(f"-f: {path}: {' '.join(str(error).split())}") from None
    timeouts = (document["spec"].get("probe") or {}).get("timeouts") or {}
    return spec, spec.probe.timeouts.run if timeouts.get("runSeconds") is not None else None
