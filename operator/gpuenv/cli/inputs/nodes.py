"""Reads nodes from the options of ``gpuenv explain``: ``--gpu`` and ``--driver``, or ``--nodes`` with a file."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import click

from gpuenv.api.foreign_text import one_line
from gpuenv.assess.facts import DriverFacts, Gpu, NodeFacts
from gpuenv.cli.inputs.files import read_text
from gpuenv.cli.inputs.given import Given
from gpuenv.cli.inputs.versions import require_compute_capability, require_driver
from gpuenv.cli.shared.errors import BadInput
from gpuenv.knowledge import Knowledge

MOST_OF_NOTE: Final = 1000
"""Longest note about a file in characters. It quotes what the file says."""
_MOST_NAMED: Final = 8


@dataclass(frozen=True, slots=True)
class Node:
    """The facts about one node.

    ``name`` comes from the file of nodes or is made of GPU and driver. It is "" for the only node, given by options.
    """

    name: str = ""
    driver: DriverFacts = field(default_factory=DriverFacts)
    gpus: tuple[Gpu, ...] = ()
    facts: NodeFacts = field(default_factory=NodeFacts)


def read_nodes(given: Given, knowledge: Knowledge) -> list[Node]:
    """Return the nodes that the options describe, or an empty list if no option describes a node.

    The tables tell which GPU is meant by a short name. A note on standard error names columns that are not understood.
    Raises BadInput if a value is invalid, or if options exclude each other.
    """
    capability = require_compute_capability(given.compute_capability)
    drivers = [require_driver(text) for text in given.drivers]
    if not given.nodes:
        return list(_from_options(given, drivers, capability, knowledge))
    if given.gpus or capability or len(drivers) > 1:
        raise BadInput(
            "--nodes names the GPUs itself; only one --driver goes with it, to ask what if they all had it"
        )
    return list(_from_file(given.nodes, drivers, given.platform, knowledge))


def _from_file(path: str, drivers: list[str], platform: str | None, knowledge: Knowledge) -> Iterator[Node]:
    """Yield the nodes in the file ``path``.

    ``drivers`` contains at most one driver, which replaces the driver of every node. ``platform`` replaces the platform
    of every node, unless it is None.
    """
    from gpuenv.cli.inputs.fleet.gpu_names import GpuNames  # noqa: PLC0415 - see below
    from gpuenv.cli.inputs.fleet.node_lists import MAX_BYTES, parse_nodes  # noqa: PLC0415 - csv and yaml take 50 ms

    found = parse_nodes(read_text(path, "--nodes", MAX_BYTES), path, GpuNames(knowledge))
    if found.unread:
        read, unread = ", ".join(found.read), ", ".join(found.unread)
        note = f"note: --nodes: {path}: read the columns {read}; not understood: {unread}"
        click.echo(one_line(note, MOST_OF_NOTE), err=True)
    if found.without_gpu:
        number, named = len(found.without_gpu), ", ".join(found.without_gpu[:_MOST_NAMED])
        note = f"note: --nodes: {path}: left out, because they have no GPU: {number} nodes ({named})"
        click.echo(one_line(note, MOST_OF_NOTE), err=True)
    if found.unread_lines:
        number, named = len(found.unread_lines), "; ".join(found.unread_lines[:_MOST_NAMED])
        click.echo(
            one_line(f"note: --nodes: {path}: {number} lines not understood: {named}", MOST_OF_NOTE), err=True
        )
    for node in found.nodes:
        facts = replace(node.facts, platform=platform or node.facts.platform)
        if drivers:
            facts = replace(facts, driver_version=None)
            yield Node(node.name, DriverFacts(version=drivers[0]), node.gpus, facts)
        else:
            yield replace(node, facts=facts)


def _from_options(
    given: Given, drivers: list[str], capability: tuple[int, int] | None, knowledge: Knowledge
) -> Iterator[Node]:
    """Yield one node for the first ``--gpu`` and the first ``--driver``, one for the second of each, and so on.

    If only one ``--gpu`` is given, all nodes have this GPU. If only one ``--driver`` is given, all have this driver.
    ``capability`` is the compute capability of every GPU, or None if the option was not given. Raises BadInput if
    several of both are given, but not equally many.
    """
    if any(not name.strip() for name in given.gpus):
        raise BadInput("--gpu: needs a product name such as 'NVIDIA L4', as nvidia-smi -L prints it")
    gpus = [_gpu(name, capability, knowledge) for name in given.gpus]
    if capability and not gpus:
        gpus = [Gpu(compute_capability=capability)]
    if len(gpus) > 1 and len(drivers) > 1 and len(gpus) != len(drivers):
        raise BadInput(
            f"{len(gpus)} times --gpu and {len(drivers)} times --driver make no pairs; "
            "give equally many, or one"
        )
    count = max(len(gpus), len(drivers))
    for number in range(count):
        gpu = gpus[number if len(gpus) > 1 else 0] if gpus else None
        driver = drivers[number if len(drivers) > 1 else 0] if drivers else None
        title = [text for text in (gpu.product if gpu else None, driver) if text]
        yield Node(
            ", ".join(title) if count > 1 else "",
            DriverFacts(version=driver),
            (gpu,) if gpu else (),
            NodeFacts(platform=given.platform),
        )


def _gpu(name: str, capability: tuple[int, int] | None, knowledge: Knowledge) -> Gpu:
    if capability is not None or knowledge.model(name) is not None:
        return Gpu(product=name, compute_capability=capability)
    from gpuenv.cli.inputs.fleet.gpu_names import GpuNames  # noqa: PLC0415 - only for names that are not in the tables

    return GpuNames(knowledge).gpu(name)
