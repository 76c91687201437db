"""Places for probe pods: what waits, hangs or never answers does not keep others from their turns."""

import pytest
from tests.support import builders
from tests.support.started_worlds import fleet
from tests.support.turns import FULL, ask, hang, living, names_of, occupy
from tests.support.world import World

from gpuenv.plan.run.clocks import LONG_SECONDS, PATIENCE_SECONDS

# ---- silent environments ---------------------------------------------------------------------------------


def beside_silent(count: int) -> World:
    """Return a world in which the pods of so many environments hang for long, and another environment arrives."""
    world = World()
    for index in range(count):
        world.environment(f"evil-{index}", image=f"a/b:{index}")
    for name in names_of(200):
        world.node(name)
    world.settle()
    for pod in world.live_pods():
        hang(world, pod.node, pod.environment)
    world.now += LONG_SECONDS
    world.environment("good", image="c/d:1")
    return world


def test_environments_whose_runs_hang_count_as_one() -> None:
    world = beside_silent(10)
    world.settle()
    assert living(world)["good"] == 25


def test_answers_make_a_silent_environment_equal_to_the_others() -> None:
    world = beside_silent(4)
    world.settle()
    for pod in [pod for pod in world.live_pods() if pod.environment == "evil-0"][:-1]:
        world.finish(environment="evil-0", node=pod.node)
    world.settle()
    # The share of good is a third now, not half. One more place becomes free, and evil-0 is below its share.
    world.finish(
        environment="good", node=next(pod.node for pod in world.live_pods() if pod.environment == "good")
    )
    before = living(world)["evil-0"]
    world.settle()
    assert living(world)["evil-0"] > before


@pytest.mark.parametrize(
    ("message", "share"),
    [(FULL, 4), ("0/1 nodes are available: 1 node(s) had untolerated taint", 4), ("", 2)],
)
def test_only_runs_that_took_place_make_an_environment_silent(message: str, share: int) -> None:
    """Without a message of the scheduler, the pods of ``good`` are started and end as crashes."""
    world = World(max_probes=8)
    world.environment("good", image="c/d:1")
    for name in names_of(8):
        world.node(name)
    world.settle()
    for pod in world.live_pods():
        if message:
            world.pod("Pending", environment="good", node=pod.node, unschedulable=message)
        else:
            world.pod(
                "Failed",
                environment="good",
                node=pod.node,
                scheduled=world.now,
                sandbox=world.now,
                facts=builders.terminated("", code=1, at=world.now),
            )
    world.step(200)
    world.settle()
    assert {report.verdict.value for report in world.cache.reports.values()} == {"Unknown"}
    for index in range(3):
        world.environment(f"evil-{index}", image=f"a/b:{index}")
    for name in names_of(40):
        world.node(name)
    world.environment("good", suspend=True, image="c/d:1")
    world.settle()
    for pod in world.live_pods():
        hang(world, pod.node, pod.environment)
    world.now += LONG_SECONDS
    world.environment("good", image="c/d:1")
    ask(world, "good", "now")
    world.settle()
    assert living(world)["good"] == share


# ---- pods that wait or hang ------------------------------------------------------------------------------


def test_a_busy_and_a_hanging_node_do_not_stop_the_eleven_others() -> None:
    world = fleet(13, strategy={"maxConcurrent": "10%"})
    world.settle()
    held = [pod.node for pod in world.live_pods()]
    assert len(held) == 2
    occupy(world, held[0])
    hang(world, held[1])
    others = {f"n{index:02}" for index in range(13)} - set(held)
    begun = world.now
    while {world.verdict(node=node) for node in others} != {("Compatible", "")}:
        for pod in world.live_pods():
            if pod.node in others:
                world.finish(node=pod.node)
        world.step(1)
        assert world.now < begun + 60
    assert {pod.node for pod in world.live_pods()} == set(held)


def test_the_place_of_a_waiting_pod_becomes_free_at_once_when_its_patience_ends() -> None:
    world = fleet(3, strategy={"maxConcurrent": 1})
    world.settle()
    (first,) = world.live_pods()
    begun = world.now
    assert world.plan().wake_at == begun + 120, "it may still be scheduled"
    occupy(world, first.node)
    assert world.step(PATIENCE_SECONDS - 1).wake_at == begun + PATIENCE_SECONDS
    assert len(world.live_pods()) == 1
    world.step(1)
    assert len(world.live_pods()) == 2


def test_a_pod_that_got_its_gpu_after_all_counts_again() -> None:
    world = fleet(5, strategy={"maxConcurrent": 1})
    world.settle()
    (first,) = world.live_pods()
    occupy(world, first.node)
    world.step(PATIENCE_SECONDS)
    (second,) = (pod for pod in world.live_pods() if pod.node != first.node)
    hang(world, first.node)
    world.finish(node=second.node)
    world.settle()
    assert [pod.node for pod in world.live_pods()] == [first.node]
    world.finish(node=first.node)
    world.settle()
    assert len(world.live_pods()) == 1


def test_a_pod_that_hangs_with_a_gpu_keeps_its_place_in_its_environment() -> None:
    """maxConcurrent says how many GPUs probes may take."""
    world = fleet(5, strategy={"maxConcurrent": 2})
    world.settle()
    for pod in world.live_pods():
        hang(world, pod.node)
    world.step(10 * LONG_SECONDS - 400)
    world.settle()
    assert len(world.live_pods()) == 2


@pytest.mark.parametrize(
    ("limit", "places", "expected"), [(5, 50, 10), (1000, 8, 16), (1000, 50, 100), (1, 50, 2), (1, 1, 2)]
)
def test_a_fleet_of_busy_nodes_has_a_bounded_number_of_pending_pods(
    limit: int, places: int, expected: int
) -> None:
    world = fleet(120, settings={"max_probes": places}, strategy={"maxConcurrent": limit})
    for _ in range(5):
        world.settle()
        for pod in world.live_pods():
            occupy(world, pod.node)
        world.now += PATIENCE_SECONDS
    assert len(world.live_pods()) == expected


def test_waiting_pods_of_one_environment_leave_places_to_another() -> None:
    world = fleet(200, strategy={"maxConcurrent": "100%"})
    for _ in range(4):
        world.settle()
        for pod in world.live_pods():
            occupy(world, pod.node)
        world.now += PATIENCE_SECONDS
    assert living(world) == {"pt": 100}
    world.environment("good", image="a/b:1")
    world.settle()
    world.step(LONG_SECONDS)
    assert living(world)["good"] == 25


def test_a_pod_that_no_scheduler_has_looked_at_keeps_its_place() -> None:
    """Without a scheduler, more pods would not help."""
    world = fleet(5, strategy={"maxConcurrent": 1})
    world.settle()
    world.step(PATIENCE_SECONDS + 1)
    world.settle()
    assert len(world.live_pods()) == 1
