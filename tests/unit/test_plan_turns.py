"""Places for probe pods: environments take turns, and pods that wait or hang do not hold up free nodes."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.support import builders
from tests.support.started_worlds import fleet
from tests.support.world import World

from gpuenv.api import names
from gpuenv.plan.actions import CreatePod
from gpuenv.plan.run.clocks import LONG_SECONDS, PATIENCE_SECONDS

FULL = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


def names_of(count: int) -> list[str]:
    return [f"n{index:03}" for index in range(count)]


def ask(world: World, environment: str, token: str) -> None:
    world.annotate("environments", environment, names.ANNOTATION_REVALIDATE, token)


def occupy(world: World, node: str, environment: str = "pt") -> None:
    """Let the probe pod wait for a GPU that a workload uses."""
    world.pod("Pending", environment=environment, node=node, unschedulable=FULL)


def hang(world: World, node: str, environment: str = "pt") -> None:
    """Let the probe pod get its GPU and never report."""
    at = world.now
    world.pod(
        "Running", environment=environment, node=node, scheduled=at, sandbox=at, facts=builders.running(at)
    )


def living(world: World) -> Counter[str]:
    return Counter(pod.environment for pod in world.live_pods())


# ---- environments take turns -----------------------------------------------------------------------------


def crowd(nodes: int, **settings: int) -> World:
    """Return a world in which environment ``evil`` has an answer on every node and may probe them all at once."""
    world = World(**settings)
    world.environment("evil", strategy={"maxConcurrent": "100%"})
    for name in names_of(nodes):
        world.node(name)
    world.settle()
    while world.live_pods():
        world.finish_all()
    return world


def test_runs_on_demand_of_one_environment_leave_half_of_the_places_to_the_first_runs_of_another() -> None:
    world = crowd(200)
    ask(world, "evil", "now")
    world.environment("good", image="a/b:1")
    world.settle()
    assert living(world) == {"evil": 25, "good": 25}


def test_an_environment_that_is_alone_takes_all_places_and_gives_back_each_that_becomes_free() -> None:
    world = crowd(200)
    ask(world, "evil", "now")
    world.settle()
    assert living(world) == {"evil": 50}
    world.environment("good", image="a/b:1")
    world.settle()
    assert living(world) == {"evil": 50}
    for pod in world.live_pods()[:10]:
        world.finish(environment="evil", node=pod.node)
    world.settle()
    assert living(world) == {"evil": 40, "good": 10}


def test_an_environment_below_its_share_does_not_wait_for_the_long_runs_of_one_above_it() -> None:
    world = crowd(200)
    ask(world, "evil", "now")
    world.settle()
    for pod in world.live_pods():
        hang(world, pod.node, "evil")
    begun = world.now
    world.environment("good", image="a/b:1")
    world.settle()
    assert living(world) == {"evil": 50}
    assert world.plan().wake_at == begun + LONG_SECONDS
    world.now = begun + LONG_SECONDS
    world.settle()
    assert living(world) == {"evil": 50, "good": 25}
    for pod in [pod for pod in world.live_pods() if pod.environment == "evil"][:30]:
        world.finish(environment="evil", node=pod.node)
    world.settle()
    assert living(world) == {"evil": 25, "good": 25}


def test_long_runs_within_the_share_are_waited_for() -> None:
    """Otherwise an administrator's limit would not be one."""
    world = World(max_probes=2)
    for index, name in enumerate(("a", "b", "c")):
        world.environment(name, image=f"a/b:{index}", strategy={"maxConcurrent": 1})
    for name in names_of(5):
        world.node(name)
    world.settle()
    for pod in world.live_pods():
        hang(world, pod.node, pod.environment)
    world.step(LONG_SECONDS + 1)
    world.settle()
    assert len(world.live_pods()) == 2
    assert max(living(world).values()) == 1


def test_three_environments_rotate_over_two_places() -> None:
    world = World(max_probes=2)
    for index, name in enumerate(("a", "b", "c")):
        world.environment(name, image=f"a/b:{index}")
    for name in names_of(20):
        world.node(name)
    rounds: list[set[str]] = []
    for _ in range(20):
        world.settle()
        assert len(world.live_pods()) == 2
        rounds.append(set(living(world)))
        assert len(rounds[-1]) == 2
        world.now += 10
        world.finish_all()
    assert all(one | other == {"a", "b", "c"} for one, other in pairwise(rounds))


def test_turns_continue_after_a_restart_of_the_operator() -> None:
    """Whose turn it is follows from reports and pods alone."""
    world = World(max_probes=1)
    for index, name in enumerate(("a", "b", "c")):
        world.environment(name, image=f"a/b:{index}")
    for name in names_of(20):
        world.node(name)
    order = []
    for _ in range(9):
        world.restart()
        world.settle()
        order += list(living(world))
        world.now += 10
        for pod in world.live_pods():
            world.finish(environment=pod.environment, node=pod.node)
    assert Counter(order) == {"a": 3, "b": 3, "c": 3}
    assert order == order[:3] * 3


@settings(max_examples=15, deadline=None, phases=[Phase.generate])
@given(data=st.data())
def test_no_environment_waits_for_more_than_a_bounded_number_of_runs_of_others(data: st.DataObject) -> None:
    """Every environment asks for a new run as soon as it has an answer, and runs end in any order."""
    count = data.draw(st.integers(2, 5), label="environments")
    nodes = names_of(data.draw(st.integers(1, 6), label="nodes"))
    world = World(max_probes=data.draw(st.integers(1, 4), label="places"))
    environments = [f"e{index}" for index in range(count)]
    for index, name in enumerate(environments):
        limit = data.draw(st.integers(1, 3), label=f"limit of {name}")
        world.environment(name, image=f"a/b:{index}", strategy={"maxConcurrent": limit})
    for name in nodes:
        world.node(name)
    waited: Counter[str] = Counter()
    for round_ in range(25):
        for name in environments:
            ask(world, name, f"round-{round_}")
        for planned in [world.step(), world.step()]:
            begun = [one.environment for one in planned.actions if isinstance(one, CreatePod)]
            for name in environments:
                waited[name] = 0 if living(world)[name] else waited[name] + len(begun)
                # Each of the others may come first once, and once more on each node.
                assert waited[name] <= (count - 1) * (1 + len(nodes)), (name, round_)
        pods = sorted(world.live_pods(), key=lambda pod: pod.name)
        for pod in data.draw(st.lists(st.sampled_from(pods), min_size=1, unique_by=id), label="ended"):
            world.finish(environment=pod.environment, node=pod.node)
        world.now += data.draw(st.integers(1, 20), label="seconds")


# ---- environments take turns on a node -------------------------------------------------------------------


def test_environments_alternate_on_a_node_that_both_want() -> None:
    world = World()
    world.environment("a")
    world.node()
    world.settle()
    world.finish_all()
    world.environment("z", image="a/b:1")
    order = []
    for token in range(6):
        ask(world, "a", f"again-{token}")
        world.settle()
        order += [pod.environment for pod in world.live_pods()]
        world.now += 30
        ask(world, "z", f"again-{token}")
        world.finish(environment=order[-1])
    assert order == ["z", "a", "z", "a", "z", "a"]


def test_an_environment_whose_runs_leave_no_trace_does_not_keep_the_node() -> None:
    """Its image changes during each run, so that the run is forgotten."""
    world = World()
    world.environment("a", image="a/a:0")
    world.environment("z", image="a/z:1")
    world.node()
    world.settle()
    if "a" not in living(world):
        world.finish_all()
        ask(world, "z", "again")
    for number in range(1, 3):
        world.now += 30
        world.environment("a", image=f"a/a:{number}")
        for name in [name for name, raw in world.objects("pods").items() if "a/a" in str(raw)]:
            world.delete_pod(name, vanish=True)
        world.settle()
        assert living(world) == {"z": 1}
        world.finish_all()
        assert living(world) == {"a": 1}
        ask(world, "z", f"again-{number}")
        world.settle()


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
