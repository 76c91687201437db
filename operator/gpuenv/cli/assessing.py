"""The work of ``gpuenv explain``: it joins all inputs into facts and assesses each image on each node."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from gpuenv.assess.case import make_case
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import Facts, NodeFacts, Source
from gpuenv.assess.model import Assessment
from gpuenv.assess.questions.answer import OpenAnswer, open_answer
from gpuenv.assess.questions.what_if import Judge
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.cli.inputs.environment_file import read_environment
from gpuenv.cli.inputs.given import Given
from gpuenv.cli.inputs.images import Image, read_images
from gpuenv.cli.inputs.nodes import Node, read_nodes
from gpuenv.cli.inputs.pasted import read_pasted
from gpuenv.cli.inputs.platforms import require_platform
from gpuenv.cli.output.answer import AboutImage, Answer
from gpuenv.cli.shared.errors import BadInput
from gpuenv.knowledge import Knowledge


def answers(given: Given, knowledge: Knowledge) -> Iterator[Answer]:
    """Assess each image on each node and yield the answers. Raises BadInput if an input is invalid or none is given."""
    require_platform(given.platform, knowledge)
    spec = read_environment(given.environment)[0] if given.environment is not None else None
    expect, floors, tried = (spec.expect, spec.floors, spec.checks) if spec else (None, (), None)
    pasted = list(read_pasted(given, knowledge))
    images = read_images(given, spec.image if spec else None, knowledge)
    nodes = read_nodes(given, knowledge)
    if not pasted and not nodes and images == [Image()]:
        raise BadInput(
            "nothing was given to judge; give --torch or --image, --driver and --gpu, "
            "or --collect-env, --error, --report or --nodes (see gpuenv explain --help)"
        )

    def judge(facts: Facts, *, cures: bool = True) -> Assessment:
        return assess(facts, expect, floors, knowledge, tried=tried, cures=cures)

    what_if = partial(judge, cures=False)

    for node in nodes or [Node(facts=NodeFacts(platform=given.platform))]:
        for image in images:
            facts = _joined(image, node, pasted)
            several = image.label if len(images) > 1 else ""
            name = " ".join(part for part in (node.name, several) if part)
            yield Answer(
                name, facts, judge(facts), knowledge, _open(facts, what_if, knowledge), _about(image)
            )


def _open(facts: Facts, judge: Judge, knowledge: Knowledge) -> OpenAnswer | None:
    """Return the answer to the question that the facts leave open, or None if there is none."""
    case = make_case(facts, None, (), knowledge, None)
    if case.devices and case.runtime is not None and (case.driver is not None or case.api is not None):
        return None
    return open_answer(case, judge)


def _about(image: Image) -> AboutImage | None:
    return AboutImage(image.reference, image.notes) if image.reference else None


def _joined(image: Image, node: Node, pasted: list[Facts]) -> Facts:
    """Return the facts about one image on one node. Command-line options take precedence over pasted texts."""
    options = Facts(
        source=Source.FLAGS,
        torch=image.torch,
        container=image.container,
        driver=node.driver,
        gpus=node.gpus,
        node=node.facts,
    )
    nothing = Facts(source=Source.FLAGS, node=NodeFacts(platform=node.facts.platform))
    found = [image.found, *pasted] if image.found is not None else pasted
    facts = merge(found if found and options == nothing else [options, *found])
    if node.facts.platform:  # --platform takes precedence over the platform that a pasted text names
        facts = replace(facts, node=replace(facts.node, platform=node.facts.platform))
    return facts
