"""Reads a scenario file. Every error message is one line that says where the error is and how to fix it."""

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from gpuenv.api.fields import FieldError, Fields
from gpuenv.assess.model import Verdict
from gpuenv_sandbox.scenario.hardware import PRODUCTS, Hardware, generic
from gpuenv_sandbox.scenario.model import (
    Expected,
    Fault,
    Pace,
    Platform,
    Scenario,
    SimulatedImage,
    SimulatedNode,
    is_driver,
)
from gpuenv_sandbox.scenario.yaml_files import ScenarioError, documents

DEFAULT: Final = Path(__file__).with_name("default.yaml")

MAX_NODES: Final = 10_000
TIMEOUTS: Final = ("schedulingSeconds", "setupSeconds", "pullSeconds", "runSeconds")
"""The fields of ``spec.probe.timeouts`` that a scenario may set."""
OPERATOR_SETTINGS: Final = ("maxProbes", "retrySeconds", "stuckSeconds", "writesPerSecond")
"""The operator's flags that a scenario may set, in camel case: ``maxProbes`` is the flag ``--max-probes``."""

# A node's name becomes a label value (kubernetes.io/hostname), which holds 63 characters.
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_CAPABILITY: Final = re.compile(r"\d{1,2}\.\d")
_CUDA: Final = re.compile(r"\d{1,2}\.\d{1,2}")
_ARCH: Final = re.compile(r"(sm|compute)_\d{2,3}[af]?")


def read_scenario(path: Path = DEFAULT) -> Scenario:
    """Return the scenario in the file ``path``. The default is the scenario that comes with gpuenv.

    Raises ScenarioError if the file cannot be read or is not a valid scenario.
    """
    document, *more = documents(path)
    if more:
        raise ScenarioError(f"{path}: holds {len(more) + 1} documents; a scenario is one, remove the others")
    return parse_scenario(document, path)


def parse_scenario(document: Any, path: Path) -> Scenario:
    """Return the scenario in a parsed YAML document, which was read from ``path``.

    Raises ScenarioError if the document is not a valid scenario.
    """
    try:
        return _scenario(Fields("", document), path)
    except FieldError as error:
        raise ScenarioError(f"{path}: {error}") from None


def _scenario(root: Fields, path: Path) -> Scenario:
    image = _image(root.child("image"), SimulatedImage())
    described = (node for fields in root.required_children("nodes") for node in _nodes(fields))
    nodes = tuple(islice(described, MAX_NODES + 1))
    if len(nodes) > MAX_NODES:
        root.fail("nodes", f"are more than the {MAX_NODES} that the sandbox is made for; remove some")
    names = Counter(node.name for node in nodes)
    if len(names) < len(nodes):
        root.fail(
            "nodes", f"two nodes are called {names.most_common(1)[0][0]!r}; give each a name of its own"
        )
    scenario = Scenario(
        source=str(path),
        nodes=nodes,
        image=image,
        images=_images(root.child("images"), image),
        environments=tuple((path.parent / name).resolve() for name in root.texts("environments")),
        timeouts=_numbers(root.child("timeouts"), TIMEOUTS),
        operator=_numbers(root.child("operator"), OPERATOR_SETTINGS),
        pace=_pace(root.child("pace")),
    )
    root.close()
    return scenario


def _images(fields: Fields, default: SimulatedImage) -> tuple[tuple[str, SimulatedImage], ...]:
    patterns = fields.all()
    for pattern in patterns:
        if not isinstance(pattern, str):
            fields.fail("", f"{pattern!r} is no pattern of image names; write a text in quotes")
    return tuple((pattern, _image(fields.child(pattern), default)) for pattern in patterns)


def _image(fields: Fields, default: SimulatedImage) -> SimulatedImage:
    cuda = fields.nullable_text("cuda", default.cuda)
    if cuda is not None and not _CUDA.fullmatch(cuda):
        fields.fail("cuda", f"{cuda!r} is no CUDA version; write it like 12.8")
    archs = fields.texts("archs", default.archs)
    for arch in archs:
        if not _ARCH.fullmatch(arch):
            fields.fail("archs", f"{arch!r} is no build target; write it like sm_90 or compute_120")
    image = SimulatedImage(
        torch=fields.nullable_text("torch", default.torch),
        cuda=cuda,
        cudnn=fields.integer("cudnn", default.cudnn, 1000, 999_999) if cuda else None,
        nccl=fields.nullable_text("nccl", default.nccl),
        python=fields.nullable_text("python", default.python),
        archs=archs if cuda else (),
        triton=fields.nullable_text("triton", default.triton),
        compiler=fields.nullable_text("compiler", default.compiler),
        modules=fields.texts("modules", default.modules),
        architectures=fields.texts("architectures", default.architectures),
    )
    fields.close()
    return image


def _nodes(fields: Fields) -> Iterator[SimulatedNode]:
    """Yield the simulated nodes that one item of the field ``nodes`` describes: as many as ``repeat`` says."""
    pattern = fields.required_text("name")
    repeat = fields.integer("repeat", 1, 1, MAX_NODES)
    name = pattern if repeat == 1 else _numbered(pattern, 1, repeat)
    if not _NAME.fullmatch(name):
        fields.fail("name", f"{name!r} is no node name; use up to 63 of a-z, 0-9, '-' and '.'")
    node = _node(fields, name)
    fields.close()
    if repeat == 1:
        yield node
        return
    for number in range(1, repeat + 1):
        yield replace(node, name=_numbered(pattern, number, repeat))


def _numbered(pattern: str, number: int, repeat: int) -> str:
    """Return the name of one of several nodes, such as ``a100-07`` for the pattern ``a100-##`` and the number 7.

    The characters ``#`` are replaced by the number, padded with zeros to their length. To a pattern without ``#``, the
    number is appended, padded to the length of ``repeat``, the highest number.
    """
    hashes = re.search("#+", pattern)
    if hashes is None:
        return f"{pattern}-{number:0{len(str(repeat))}}"
    return pattern.replace(hashes.group(), f"{number:0{len(hashes.group())}}", 1)


def _node(fields: Fields, name: str) -> SimulatedNode:
    product = fields.required_text("product")
    gpus = fields.integer("gpus", 1, 1, 64)
    driver = fields.required_text("driver")
    if not is_driver(driver):
        fields.fail("driver", f"{driver!r} is no driver version; write it like 570.124.06")
    fault = fields.choice("fault", [fault.value for fault in Fault], None)
    advertised = fields.integer("advertised", gpus, 0, gpus)
    return SimulatedNode(
        name=name,
        product=product,
        gpus=gpus,
        driver=driver,
        hardware=_hardware(fields, product),
        platform=Platform(fields.choice("platform", [platform.value for platform in Platform], "gfd")),
        architecture=fields.choice("architecture", ["amd64", "arm64"], "amd64"),
        advertised=advertised,
        in_use=fields.integer("inUse", 0, 0, gpus),
        cordoned=fields.flag("cordoned", False),
        labels=tuple((str(key), str(value)) for key, value in fields.child("labels").all().items()),
        fault=Fault(fault) if fault else None,
        expect=_expected(fields.child("expect")) if fields.has("expect") else None,
    )


def _hardware(fields: Fields, product: str) -> Hardware:
    capability = fields.text("computeCapability")
    memory = fields.integer("memoryMiB", None, 1, 4 * 1024 * 1024)
    if capability is not None and not _CAPABILITY.fullmatch(capability):
        fields.fail("computeCapability", f'{capability!r} is no compute capability; write it like "8.9"')
    known = PRODUCTS.get(product)
    if known is None and (capability is None or memory is None):
        close = difflib.get_close_matches(product, PRODUCTS, 1, 0.8)
        hint = f"did you mean {close[0]!r}? Else " if close else ""
        fields.fail("product", f"{product!r} is not in the tables; {hint}add computeCapability and memoryMiB")
    major_minor = (int(capability[:-2]), int(capability[-1])) if capability else None
    if known is None:
        assert major_minor is not None
        assert memory is not None
        return generic(major_minor, memory)
    return replace(
        known,
        compute_capability=major_minor or known.compute_capability,
        memory_mib=memory or known.memory_mib,
    )


def _expected(fields: Fields) -> Expected:
    verdict = Verdict(fields.required_choice("verdict", [verdict.value for verdict in Verdict]))
    expected = Expected(verdict, fields.text("reason") or "")
    fields.close()
    return expected


def _numbers(fields: Fields, known: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Return the name and value of each field in ``known`` that is set.

    A value that is not a whole number from 1 to 86,400, and a field that is not in ``known``, raise FieldError.
    """
    values = [(field, fields.integer(field, None, 1, 86_400)) for field in known]
    fields.close()
    return tuple((field, value) for field, value in values if value is not None)


def _pace(fields: Fields) -> Pace:
    default = Pace()
    pace = Pace(
        setup=fields.number("setup", default.setup, 0, 3600),
        pull=fields.number("pull", default.pull, 0, 3600),
        facts=fields.number("facts", default.facts, 0, 3600),
        kernels=fields.number("kernels", default.kernels, 0, 3600),
    )
    fields.close()
    return pace
