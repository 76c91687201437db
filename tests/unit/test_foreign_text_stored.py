"""Foreign text stays text in what the operator writes: node reports, statuses, node conditions and Events."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from tests.support import builders
from tests.support.foreign import ATTACKS, FOREIGN, is_plain
from tests.support.started_worlds import first_run, fleet
from tests.support.world import World

TAIL = "tail"
"""Key of a command's last lines, the only stored text with line breaks."""


def texts_of(value: object, key: str = "") -> Iterator[str]:
    """Yield every line of text in an object, keys included."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from (name, *texts_of(inner, name))
    elif isinstance(value, list):
        for inner in value:
            yield from texts_of(inner, key)
    elif isinstance(value, str):
        yield from value.split("\n") if key == TAIL else [value]


def odd_texts(world: World) -> list[str]:
    """Return the texts that the operator wrote and that are more than a line of visible characters."""
    statuses = [
        one.get("status", {}) for kind in ("reports", "environments") for one in world.objects(kind).values()
    ]
    nodes = [
        (one["metadata"]["labels"], one["status"]["conditions"]) for one in world.objects("nodes").values()
    ]
    events = [(event.reason, event.message) for event in world.events]
    written = [*statuses, *(part for pair in (*nodes, *events) for part in pair)]
    return [text for text in texts_of(written) if not is_plain(text)]


def hostile(run: str, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the reports of a run with the text in every place that the probe's encoder has."""
    text = text.encode("utf-8", "replace").decode()
    facts = builders.facts_report(run, omitted=[text])
    facts["container"] |= {
        "python": text,
        "machine": text,
        "notes": [text],
        "env": {"CUDA_VISIBLE_DEVICES": text},
    }
    facts["driver"] |= {"version": f"570.86.15{text}"}
    facts["torch"] |= {"version": f"2.9.1{text}", "cuda": f"12.8{text}"}
    facts["gpus"][0] |= {"product": f"NVIDIA L4{text}", "uuid": text, "health": {"error": text}}
    error = {"layer": "cuda", "name": text, "message": text}
    steps = [{"name": f"a{text}", "gpu": 0, "dtype": text, "status": "Fail", "error": error, "detail": text}]
    commands = [{"name": f"c{text}", "exitCode": 1, "tail": f"{text}\n{text}"}]
    return facts, builders.kernels_report(run, steps=steps, commands=commands)


@settings(max_examples=25, deadline=None)
@given(text=FOREIGN)
def test_texts_of_reports_are_stored_as_lines(text: str) -> None:
    world = fleet(2)
    world.settle()
    for number, node in enumerate(("n00", "n01")):
        facts, kernels = hostile(world.run_id(node=node), text if number else f"x{text}")
        world.finish(node=node, facts=facts, kernels=kernels)
    world.settle()
    assert world.label(node="n00") == "Incompatible"
    assert odd_texts(world) == []


def crash(world: World, text: str) -> None:
    world.pod(
        "Failed",
        scheduled=world.now,
        sandbox=world.now,
        facts=builders.terminated(text, code=1, at=world.now),
    )


def not_started(world: World, text: str) -> None:
    world.pod("Pending", scheduled=world.now, facts=builders.waiting("CreateContainerConfigError", text))


def refused_by_kubelet(world: World, text: str) -> None:
    world.pod("Failed", reason="UnexpectedAdmissionError", message=text)


def other_reason(world: World, text: str) -> None:
    world.pod("Failed", reason=f"OutOf{text}", message="")


def not_scheduled(world: World, text: str) -> None:
    world.pod("Pending", unschedulable=f"0/1 nodes are available: {text}")


def no_report(world: World, text: str) -> None:
    world.finish(facts=f"x{text}", kernels=text)


ENDS = (crash, not_started, refused_by_kubelet, other_reason, not_scheduled, no_report)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@pytest.mark.parametrize("text", ATTACKS)
def test_words_of_kubelets_and_schedulers_are_stored_as_lines(
    end: Callable[[World, str], None], text: str
) -> None:
    world = first_run()
    end(world, text.encode("utf-8", "replace").decode())
    for _ in range(3):
        world.settle()
        world.now += 400
    world.settle()
    assert world.report() is not None
    assert odd_texts(world) == []
