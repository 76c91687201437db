"""Places for probe pods: environments take turns, and pods that wait or hang do not hold up free nodes."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.support.turns import ask, hang, living, names_of
from tests.support.world import World

from gpuenv.api.limits.groups import Group
from gpuenv.api.limits.limits import Limits
from gpuenv.plan.actions import CreatePod
from gpuenv.plan.demand import demand
from gpuenv.plan.run.clocks import LONG_SECONDS

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


def held_for_long(environments: int, *, places: int) -> World:
    """Return a world in which so many environments want five nodes, and pods have held all places for long."""
    world = World(max_probes=places)
    for index in range(environments):
        world.environment(f"e{index}", image=f"a/b:{index}", strategy={"maxConcurrent": 2})
    for name in names_of(5):
        world.node(name)
    world.settle()
    for pod in world.live_pods():
        hang(world, pod.node, pod.environment)
    assert len(world.live_pods()) == places
    world.step(LONG_SECONDS + 1)
    world.settle()
    return world


def test_long_runs_within_the_share_are_waited_for() -> None:
    """Otherwise an administrator's limit would not be one."""
    assert living(held_for_long(2, places=2)) == {"e0": 1, "e1": 1}


def test_with_more_environments_than_places_nobody_waits_for_long_runs() -> None:
    assert living(held_for_long(3, places=2)) == {"e0": 1, "e1": 1, "e2": 1}


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


class Team:
    """Environments in groups, which ask for new runs on all nodes again and again. Their runs end in any order."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.nodes = names_of(data.draw(st.integers(1, 6), label="nodes"))
        self.groups = [f"g{index}" for index in range(data.draw(st.integers(1, 3), label="groups"))]
        count = data.draw(st.integers(2, 5), label="environments")
        owners = [data.draw(st.sampled_from(self.groups), label="group") for _ in range(count)]
        self.owner = {f"{owner}-e{index}": owner for index, owner in enumerate(owners)}
        self.places = data.draw(st.integers(1, 6), label="places")
        limits = Limits(groups=tuple(Group(name, (f"{name}-*",)) for name in self.groups))
        self.world = World(max_probes=self.places, limits=limits)
        self.most = {name: data.draw(st.integers(1, 6), label=f"limit of {name}") for name in self.owner}
        for index, (name, most) in enumerate(self.most.items()):
            self.world.environment(name, image=f"a/b:{index}", strategy={"maxConcurrent": most})
        for name in self.nodes:
            self.world.node(name)

    def rounds(self, count: int) -> Iterator[list[str]]:
        """Yield the environments of the probe pods that each plan starts."""
        for round_ in range(count):
            for name in self.owner:
                if self.data.draw(st.booleans(), label=f"{name} asks"):
                    ask(self.world, name, f"round-{round_}")
            for planned in [self.world.step(), self.world.step()]:
                yield [one.environment for one in planned.actions if isinstance(one, CreatePod)]
            pods = sorted(self.world.live_pods(), key=lambda pod: pod.name)
            some = (
                self.data.draw(st.lists(st.sampled_from(pods), unique_by=id), label="ended") if pods else []
            )
            for pod in pods:
                if pod in some or self.world.now - pod.created_at > LONG_SECONDS / 2:
                    self.world.finish(environment=pod.environment, node=pod.node)
            self.world.now += self.data.draw(st.integers(1, 20), label="seconds")

    def wants(self, environment: str, node: str) -> bool:
        """Return whether a run of the environment is due on the node and not under way."""
        if any((pod.environment, pod.node) == (environment, node) for pod in self.world.live_pods()):
            return False
        report = self.world.report(environment, node)
        token = self.world.cache.environments[environment].revalidate
        return report is None or demand(token, "").asks_beyond(report.observed_demand)

    def waiting(self) -> set[str]:
        """Return the environments that could start a run on a node without a probe pod."""
        free = set(self.nodes) - {pod.node for pod in self.world.live_pods()}
        held = living(self.world)
        return {
            name
            for name, most in self.most.items()
            if held[name] < most and any(self.wants(name, node) for node in free)
        }

    def active(self) -> set[str]:
        """Return the environments that run something, or want to."""
        held = living(self.world)
        return {name for name in self.owner if held[name] or any(self.wants(name, one) for one in self.nodes)}


@settings(max_examples=60, deadline=None, phases=[Phase.generate])
@given(data=st.data())
def test_nobody_is_given_more_than_a_share_while_another_waits_for_one(data: st.DataObject) -> None:
    """It holds for groups among each other, and for the environments of a group."""
    team = Team(data)
    for begun in team.rounds(12):
        held, active, waiting = living(team.world), team.active(), team.waiting()
        in_group = Counter(team.owner[pod.environment] for pod in team.world.live_pods())
        share = team.places / len({team.owner[name] for name in active}) if active else 0.0
        for name, other in itertools.product(begun, waiting):
            mine, others = team.owner[name], team.owner[other]
            if mine != others and in_group[others] < math.floor(share):
                assert in_group[mine] <= math.ceil(share), (name, other)
            own = share / sum(team.owner[one] == mine for one in active)
            if mine == others and held[other] < math.floor(own):
                assert held[name] <= math.ceil(own), (name, other)
        assert len(team.world.live_pods()) <= team.places
        assert len(team.world.live_pods()) == team.places or not waiting, "no place is left empty"


@settings(max_examples=15, deadline=None, phases=[Phase.generate])
@given(data=st.data())
def test_no_environment_waits_for_more_than_a_bounded_number_of_runs_of_others(data: st.DataObject) -> None:
    team = Team(data)
    waited: Counter[str] = Counter()
    largest = max(Counter(team.owner.values()).values())
    for begun in team.rounds(25):
        waiting, held = team.waiting(), living(team.world)
        for name in team.owner:
            waited[name] = waited[name] + len(begun) if name in waiting and not held[name] else 0
            # Each turn of its group is a turn of each group, and each of the group's environments may come first once,
            # and once more on each node.
            assert waited[name] <= len(team.groups) * largest * (1 + len(team.nodes)), name


# ---- groups ----------------------------------------------------------------------------------------------


def grouped(*groups: str) -> World:
    """Return a world with 200 nodes, these groups, and ten environments of the group ``evil``."""
    world = World(limits=Limits(groups=tuple(Group(name, (f"{name}-*",)) for name in groups)))
    for index in range(10):
        world.environment(f"evil-{index}", image=f"a/b:{index}")
    for name in names_of(200):
        world.node(name)
    return world


def test_groups_share_the_places_however_many_environments_they_have() -> None:
    world = grouped("evil", "good")
    world.environment("good-1", image="c/d:1")
    world.settle()
    assert living(world)["good-1"] == 25


def test_environments_that_no_group_names_are_one_group() -> None:
    world = grouped("good")
    world.environment("good-1", image="c/d:1")
    world.environment("good-2", image="c/d:2")
    world.settle()
    found = living(world)
    assert found["good-1"] + found["good-2"] == 25


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
