"""The work of ``gpuenv explain``: it joins all inputs into facts and assesses each image on each node."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from gpuenv.api.spec.environment import EnvironmentSpec, Expectations
from gpuenv.assess.case import make_case
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import Facts, NodeFacts, Source
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.cli.inputs.environment_file import read_environment
from gpuenv.cli.inputs.given import Given
from gpuenv.cli.inputs.images import Image, read_images
from gpuenv.cli.inputs.nodes import Node, read_nodes
from gpuenv.cli.inputs.pasted import Texts, facts_in, read_texts
from gpuenv.cli.inputs.platforms import require_platform
from gpuenv.cli.output.answer import AboutImage, Answer
from gpuenv.cli.output.places import SAVED, VERSIONS, in_place, with_images
from gpuenv.cli.shared.errors import BadInput
from gpuenv.knowledge import Knowledge

if TYPE_CHECKING:
    from gpuenv.assess.questions.answer import OpenAnswer
    from gpuenv.cli.inputs.what_if import WhatIf

MOST_OPEN: Final = 64
"""How many different open questions are answered. A list of nodes may hold thousands."""


def answers(given: Given, knowledge: Knowledge) -> Iterator[Answer]:
    """Assess each image on each node and yield the answers. Raises BadInput if an input is invalid or none is given."""
    yield from answers_to(given, read_texts(given), knowledge)


def answers_to(given: Given, texts: Texts, knowledge: Knowledge) -> Iterator[Answer]:
    """Yield the same as :func:`answers`, with ``texts`` in place of the texts that options name."""
    require_platform(given.platform, knowledge)
    spec = read_environment(given.environment)[0] if given.environment is not None else None
    what_if = _what_if(given)
    pasted = list(facts_in(texts, knowledge))
    images = read_images(given, spec.image if spec else None, knowledge)
    nodes = read_nodes(given, knowledge)
    if not pasted and not nodes and images == [Image()]:
        raise BadInput(
            "nothing was given to judge; give --torch or --image, --driver and --gpu, "
            "or --collect-env, --error, --report or --nodes (see gpuenv explain --help)"
        )
    judge = _Judge(spec, knowledge)
    for number, node in enumerate(nodes or [Node(facts=NodeFacts(platform=given.platform))]):
        for column, image in enumerate(images):
            facts = _joined(image, node, pasted)
            several = image.label if len(images) > 1 else ""
            name = " ".join(part for part in (node.name, several) if part)
            assessment, opened = judge.judged(facts, (column, False), image.reference)
            answer = Answer(
                name,
                facts,
                assessment,
                knowledge,
                opened,
                _about(image),
                node=node.facts.name or "",
                node_number=number,
                build=image.label,
            )
            yield answer if what_if is None else _changed(answer, what_if, judge, column)


def _what_if(given: Given) -> "WhatIf | None":
    if given.what_if is None:
        return None
    from gpuenv.cli.inputs.what_if import read_what_if  # noqa: PLC0415 - few people ask what if

    return read_what_if(given.what_if, given)


def _changed(answer: Answer, what_if: "WhatIf", judge: "_Judge", column: int) -> Answer:
    """Return the answer with a change of its facts. It contains the answer without the change."""
    facts = what_if.applied(answer.facts)
    assessment, opened = judge.judged(facts, (column, True))
    return replace(
        answer, facts=facts, assessment=assessment, open=opened, before=answer, change=what_if.words
    )


@dataclass(slots=True)
class _Judge:
    """Assesses facts. Nodes of a fleet that differ in nothing but their names are assessed once."""

    spec: EnvironmentSpec | None
    knowledge: Knowledge
    _known: dict[object, tuple[Assessment, "OpenAnswer | None"]] = field(default_factory=dict)
    _opened: int = 0

    def judged(
        self, facts: Facts, image: object, reference: str = ""
    ) -> tuple[Assessment, "OpenAnswer | None"]:
        """Return the assessment, and the answer to the question that the facts leave open, or None if there is none.

        ``image`` distinguishes the images, with or without a change, so that all else in the facts follows from it.
        Cures name other tags of the image ``reference``, if it is given.
        """
        key = (image, facts.driver, facts.gpus, replace(facts.node, name=None))
        if key not in self._known:
            found = self.assessed(facts)
            if reference:
                found = with_images(found, reference, self.knowledge)
            self._known[key] = (found, self._open(facts))
        return self._known[key]

    def assessed(self, facts: Facts) -> Assessment:
        """Return the assessment of facts, with cures in the words of this place."""
        return in_place(self._assessed(facts), SAVED if facts.source == Source.PROBE else VERSIONS)

    def _assessed(self, facts: Facts) -> Assessment:
        spec = self.spec
        if spec is None:
            return assess(facts, None, (), self.knowledge)
        return assess(facts, spec.expect, spec.floors, self.knowledge, tried=spec.checks)

    def _open(self, facts: Facts) -> "OpenAnswer | None":
        case = make_case(facts, None, (), self.knowledge, None)
        complete = case.devices and case.runtime is not None and case.knows_driver
        if complete or case.observed:
            return None
        self._opened += 1
        from gpuenv.assess.questions.answer import open_answer  # noqa: PLC0415 - only open questions need it

        if self._opened > MOST_OPEN:
            return None
        # What else the environment expects, no driver, build or GPU changes: it stays a check of its own.
        rule = Expectations(driver_rule=self.spec.expect.driver_rule) if self.spec else None
        return open_answer(
            case, partial(assess, expect=rule, floors=(), knowledge=self.knowledge, cures=False)
        )


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
    facts = replace(facts, torch=replace(facts.torch, typed=_is_typed(facts, image, found) or None))
    python = image.container.python
    if python is not None and all(one.container.python != python for one in found):
        facts = replace(facts, container=replace(facts.container, python_typed=True))
    if node.facts.platform:  # --platform takes precedence over the platform that a pasted text names
        facts = replace(facts, node=replace(facts.node, platform=node.facts.platform))
    return facts


def _is_typed(facts: Facts, image: Image, found: list[Facts]) -> bool:
    """Return whether the version of PyTorch is only what a person typed, as an option or in the tag of an image."""
    version = facts.torch.version
    seen = [one for one in found if one.torch.version == version]
    return version is not None and all(one.torch.typed for one in seen) and bool(seen or image.torch.version)
