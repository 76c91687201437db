"""``gpuenv wait`` never gives an answer that is older than what was asked, whenever its requests meet the operator's writes.

Each story is played once by the planner and the executor that ship. Then ``gpuenv wait`` is asked at every possible time.
"""

import asyncio
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support import builders
from tests.support.history import History, Replay
from tests.support.started_worlds import fleet
from tests.support.world import World

from gpuenv.api import names
from gpuenv.cli import wait
from gpuenv.cli.shared import completeness, exit_codes

NODES = 6
BROKEN = "n03"
POOL = {"selector": {"matchLabels": {"pool": "a"}}}
PLAYS = 40
"""How often each story is played with a client whose requests come at random times."""


@dataclass
class Told:
    """What a story says about itself: when everything had been asked, and the only answers that are right since then.

    ``answers`` are regular expressions.
    """

    asked_at: int
    answers: tuple[str, ...]


Story = Callable[[World, History], Told]


def answered(look: Any) -> str | None:
    """Return the answer and the exit code of a look, None if it says that something is missing."""
    if look.missing:
        return None
    older = f"; no new answer from {look.older}" if look.older else ""
    code = exit_codes.of_worst(completeness.verdicts(look.environment, look.answers))
    return f"{completeness.result(look.environment, look.answers)}{older} [{code}]"


def is_right(answer: str | None, known: Told) -> bool:
    return answer is not None and any(re.fullmatch(one, answer) for one in known.answers)


def good(count: int = NODES, total: int = NODES) -> str:
    return f"{count}/{total} compatible"


BAD_NODE = rf"{good(NODES - 1)}; TorchCpuBuild on 1 node \[1\]"


# ---- stories ---------------------------------------------------------------------------------------------


def ask(world: World, history: History, node: str = "", token: str = "now") -> int:
    """Ask for a new run on one node, or on all. Return the number of the state in which it is asked for."""
    kind, name = ("reports", names.report_name("pt", node)) if node else ("environments", "pt")
    world.annotate(kind, name, names.ANNOTATION_REVALIDATE, token)  # type: ignore[arg-type]  # one of the two kinds
    return history.now


def run(world: World, *, broken: str = "", wrong: str = "", busy: str = "") -> None:
    """Let the operator work until it rests, and end every probe.

    They end well, but for a node that finds a build without CUDA, one whose kernels compute wrong numbers, and one whose GPUs are
    busy.
    """
    for _ in range(20):
        world.settle()
        pods = world.live_pods()
        if not pods:
            return
        pod = min(pods, key=lambda pod: pod.node == busy)
        if pod.node == busy:
            words = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
            world.pod("Pending", name=pod.name, unschedulable=words)
            world.now += 121
        else:
            bad = {"torch": {"version": "2.9.1+cpu", "cpuBuild": True}} if pod.node == broken else {}
            kernels = builders.wrong_matmul(pod.run_id) if pod.node == wrong else None
            world.finish(name=pod.name, facts=builders.facts_report(pod.run_id, **bad), kernels=kernels)
        world.step()


def a_node_breaks(world: World, history: History) -> Told:
    asked = ask(world, history, BROKEN)
    run(world, broken=BROKEN)
    return Told(asked, (BAD_NODE,))


def a_node_is_repaired(world: World, history: History) -> Told:
    ask(world, history, BROKEN, "before")
    run(world, broken=BROKEN)
    asked = ask(world, history, BROKEN)
    run(world)
    return Told(asked, (rf"{good()} \[0\]",))


def a_node_breaks_and_all_are_asked(world: World, history: History) -> Told:
    asked = ask(world, history)
    run(world, broken=BROKEN)
    return Told(asked, (BAD_NODE,))


def a_value_is_replaced_during_its_run(world: World, history: History) -> Told:
    ask(world, history, BROKEN, "first")
    world.settle()
    asked = ask(world, history, BROKEN, "second")
    world.finish(node=BROKEN)
    run(world, broken=BROKEN)
    return Told(asked, (BAD_NODE,))


def a_new_image_is_applied(world: World, history: History) -> Told:
    world.environment(image="pytorch/pytorch:2.9.1-cuda13.0-cudnn9-runtime", nodes=POOL)
    asked = history.now
    run(world, broken=BROKEN)
    return Told(asked, (BAD_NODE,))


def a_new_image_fails_on_another_node(world: World, history: History) -> Told:
    """The number of nodes with each verdict is the same before and after."""
    world.node("n00", labels={"pool": "a"}, driver="450.80.02")
    run(world, wrong="n00")
    world.environment(image="pytorch/pytorch:2.9.1-cuda13.0-cudnn9-runtime", nodes=POOL)
    asked = history.now
    run(world, broken=BROKEN)
    return Told(asked, (BAD_NODE,))


def other_expectations_are_applied(world: World, history: History) -> Told:
    world.environment(expect={"pytorch": "==2.8.*"}, nodes=POOL)
    asked = history.now
    run(world)
    return Told(asked, (f"{good(0)}; ExpectationMismatch on {NODES} nodes \\[1\\]",))


def a_finding_needs_a_second_run(world: World, history: History) -> Told:
    asked = ask(world, history, BROKEN)
    run(world, wrong=BROKEN)
    return Told(asked, (f"{good(NODES - 1)}; WrongResult on 1 node \\[1\\]",))


def an_unknown_verdict_is_replaced_by_one_that_needs_a_second_run(world: World, history: History) -> Told:
    """The first of the two runs leads to Unknown, too, so that the environment's counts stay the same."""
    world.node(BROKEN, labels={"pool": "a"}, boot="boot-2")
    run(world, busy=BROKEN)
    asked = ask(world, history, BROKEN)
    run(world, wrong=BROKEN)
    return Told(asked, (rf"{good(NODES - 1)}; WrongResult on 1 node \[1\]",))


def a_node_joins_meanwhile(world: World, history: History) -> Told:
    asked = ask(world, history, BROKEN)
    world.settle()
    world.node("n99", labels={"pool": "a"})
    run(world, broken=BROKEN)
    return Told(asked, (rf"{good(NODES, NODES + 1)}; TorchCpuBuild on 1 node \[1\]",))


def a_node_leaves_meanwhile(world: World, history: History) -> Told:
    asked = ask(world, history, BROKEN)
    world.node("n00", labels={"pool": "none"})
    run(world, broken=BROKEN)
    world.step(301)
    world.settle()
    return Told(asked, (rf"{good(NODES - 2, NODES - 1)}; TorchCpuBuild on 1 node \[1\]",))


def a_node_leaves_that_was_asked(world: World, history: History) -> Told:
    """Its own run is never answered, and is not waited for: the node is not selected any more."""
    ask(world, history, "n00")
    world.node("n00", labels={"pool": "none"})
    asked = history.now
    run(world)
    world.step(301)
    world.settle()
    return Told(asked, (rf"{good(NODES - 1, NODES - 1)} \[0\]",))


def a_report_is_deleted_by_hand(world: World, history: History) -> Told:
    world.delete("reports", names.report_name("pt", BROKEN))
    asked = history.now
    run(world, broken=BROKEN)
    return Told(asked, (BAD_NODE,))


def the_operator_starts_anew(world: World, history: History) -> Told:
    asked = ask(world, history, BROKEN)
    ask(world, history, "n00")
    world.step()
    world.restart()
    world.finish(node="n00")
    run(world, broken=BROKEN)
    return Told(asked, (BAD_NODE,))


def the_gpus_of_a_node_are_busy(world: World, history: History) -> Told:
    asked = ask(world, history)
    run(world, busy=BROKEN)
    why = rf"no new answer from {BROKEN} \(GpusBusy, the run ended without a result\)"
    return Told(asked, (rf"{good(NODES - 1)}; {why} \[4\]",))


def a_node_is_cordoned_and_all_are_asked(world: World, history: History) -> Told:
    world.node(BROKEN, unschedulable=True, labels={"pool": "a"})
    world.settle()
    asked = ask(world, history)
    run(world)
    world.node(BROKEN, labels={"pool": "a"})
    run(world, broken=BROKEN)
    held = rf"{good(NODES - 1)}; no new answer from {BROKEN} \(the node is cordoned\) \[4\]"
    return Told(asked, (held, BAD_NODE))


def a_node_is_cordoned_that_was_asked(world: World, history: History) -> Told:
    world.node(BROKEN, unschedulable=True, labels={"pool": "a"})
    world.settle()
    asked = ask(world, history, BROKEN)
    run(world)
    world.node(BROKEN, labels={"pool": "a"})
    run(world, broken=BROKEN)
    return Told(asked, (BAD_NODE,))


def it_is_suspended_and_asked(world: World, history: History) -> Told:
    world.environment(suspend=True, nodes=POOL)
    world.settle()
    asked = ask(world, history)
    world.settle()
    world.environment(nodes=POOL)
    run(world, broken=BROKEN)
    named = r"n0. \(spec.suspend is true\)(, n0. \(spec.suspend is true\))*( and 1 more)?"
    return Told(asked, (rf"./6 compatible(; \w+ on 1 node)?; no new answer from {named} \[4\]", BAD_NODE))


STORIES: list[Story] = [
    a_node_breaks,
    a_node_is_repaired,
    a_node_breaks_and_all_are_asked,
    a_value_is_replaced_during_its_run,
    a_new_image_is_applied,
    a_new_image_fails_on_another_node,
    other_expectations_are_applied,
    a_finding_needs_a_second_run,
    an_unknown_verdict_is_replaced_by_one_that_needs_a_second_run,
    a_node_joins_meanwhile,
    a_node_leaves_meanwhile,
    a_node_leaves_that_was_asked,
    a_report_is_deleted_by_hand,
    the_operator_starts_anew,
    the_gpus_of_a_node_are_busy,
    a_node_is_cordoned_and_all_are_asked,
    a_node_is_cordoned_that_was_asked,
    it_is_suspended_and_asked,
]


def told(story: Story, seed: int) -> tuple[History, Told]:
    """Play a story in a fleet whose nodes are all compatible and labelled ``pool=a``."""
    world = fleet(0, nodes=POOL)
    for number in range(NODES):
        world.node(f"n{number:02}", labels={"pool": "a"})
    run(world)
    assert world.condition("Ready")[0] == "True"
    history = History(world, random.Random(seed))
    return history, story(world, history)


# ---- readings --------------------------------------------------------------------------------------------


def looked(history: History, times: Callable[[], int]) -> str | None:
    kube = Replay(history, times)
    return answered(asyncio.run(wait._look(kube, "pt")))  # type: ignore[arg-type]  # a stand-in


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_look_at_any_two_times_gives_no_older_answer(story: Story) -> None:
    """The environment is read at one time, the node reports at any later one, and nodes then or at the end."""
    history, known = told(story, seed=1)
    seen: set[str] = set()
    for first in range(known.asked_at, history.now + 1):
        for second in range(first, history.now + 1):
            for third in {second, history.now}:
                times = iter([first, second, third, third, third, third, third, third])
                answer = looked(history, times.__next__)
                if answer is not None:
                    assert is_right(answer, known), (first, second, third)
                    seen.add(answer)
    for pattern in known.answers:
        assert any(re.fullmatch(pattern, one) for one in seen), "each answer that is right is also given"


def at_random(history: History, start: int, rng: random.Random) -> Callable[[], int]:
    """Return the times of requests that come at a random pace."""
    times, pace = start, rng.choice([0.1, 0.3, 0.6])

    def later() -> int:
        nonlocal times
        while times < history.now and rng.random() > pace:
            times += 1
        return times

    return later


def plays(history: History, known: Told, seed: int) -> Iterator[tuple[int, str | None]]:
    for number in range(seed, seed + PLAYS):
        rng = random.Random(number)
        kube = Replay(history, at_random(history, rng.randint(known.asked_at, history.now), rng))
        look = asyncio.run(wait._wait(kube, "pt", 60))  # type: ignore[arg-type]  # a stand-in
        yield number, answered(look)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_the_command_ends_with_an_answer_that_is_right(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(wait, "PAUSE_FACTOR", 0)
    for seed in (100, 200, 300):
        history, known = told(story, seed)
        for number, answer in plays(history, known, seed):
            assert is_right(answer, known), f"seed {seed}, play {number}: {answer}"
