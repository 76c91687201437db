"""What holds of labels whatever a fleet goes through: histories made by chance, with the guard against mass changes."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.support import builders
from tests.support.mass_changes import CPU_BUILD, accept, good_fleet, node

from gpuenv.api import names
from gpuenv.plan.actions import SetLabel

COUNT = 8
ALLOWED = 2
"""How many of the nodes may leave Compatible: 30 %, rounded down."""

some = st.sets(st.integers(0, COUNT - 1), min_size=1)
drivers = st.sampled_from(["570.86.15", "580.65.06", "590.1"])
specs: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"image": "a/b:2"}, {"expect": {"pytorch": "==2.8.*"}}, {"suspend": True}, {"image": "no-tag"}]
)


class Fleet(RuleBasedStateMachine):
    """A fleet in which drivers, devices, runs and the environment change, and the operator comes to rest in between."""

    def __init__(self) -> None:
        super().__init__()
        self.boots = 0

    @initialize()
    def begin(self) -> None:
        self.world = good_fleet(COUNT)
        self.nodes: dict[int, dict[str, Any]] = {index: {} for index in range(COUNT)}

    # ---- what happens ------------------------------------------------------------------------------------

    def change(self, indexes: set[int], **changes: Any) -> None:
        for index in indexes:
            self.nodes[index] |= changes
            self.world.node(node(index), **self.nodes[index])

    @rule(indexes=some, driver=drivers)
    def roll_out(self, indexes: set[int], driver: str) -> None:
        self.change(indexes, driver=driver)
        self.settle()

    @rule(indexes=some, allocatable=st.sampled_from([0, 8]))
    def devices(self, indexes: set[int], allocatable: int) -> None:
        self.change(indexes, gpus=(8, allocatable))
        self.settle()

    @rule(indexes=some)
    def reboot(self, indexes: set[int]) -> None:
        self.boots += 1
        self.change(indexes, boot=f"boot-{self.boots}")
        self.settle(excused={node(index) for index in indexes})

    @rule(indexes=some, good=st.booleans())
    def end_runs(self, indexes: set[int], good: bool) -> None:
        for pod in self.world.live_pods():
            if pod.node in map(node, indexes):
                facts = builders.facts_report(pod.run_id, **({} if good else {"torch": CPU_BUILD}))
                self.world.finish(node=pod.node, name=pod.name, facts=facts)
        self.settle()

    @rule(token=st.sampled_from(["a", "b", "c"]))
    def ask(self, token: str) -> None:
        self.world.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, token)
        self.settle()

    @rule(seconds=st.sampled_from([61, 4000, 50_000, 90_000]))
    def wait(self, seconds: int) -> None:
        self.world.now += seconds
        self.settle()

    @rule(spec=specs)
    def apply(self, spec: dict[str, Any]) -> None:
        self.world.environment(**spec)
        self.settle(excused=set(map(node, range(COUNT))))

    @rule()
    def restart(self) -> None:
        before = self.labels()
        self.world.restart()
        self.settle()
        assert self.labels() == before

    @rule()
    def accept(self) -> None:
        if "massChange" not in self.world.status() or not self.is_valid():
            return
        accept(self.world)
        assert "massChange" not in self.world.status(), "all of it goes through"
        self.check()

    # ---- what must hold ----------------------------------------------------------------------------------

    def is_valid(self) -> bool:
        return self.world.cache.environments["pt"].spec is not None

    def labels(self) -> dict[str, str]:
        return {name: one.compat["pt"] for name, one in self.world.cache.nodes.items() if "pt" in one.compat}

    def settle(self, excused: set[str] | None = None) -> None:
        before = self.labels()
        taken = set()
        for planned in self.world.settle(limit=40):
            taken |= {
                one.node
                for one in planned.actions
                if isinstance(one, SetLabel) and one.value != "Compatible" == before.get(one.node)
            }
        if not self.is_valid():
            excused = taken  # nothing is validated until somebody changes the environment again
        assert len(taken - (excused or set())) <= ALLOWED, "more have left than may without being asked for"
        self.check()

    def check(self) -> None:
        """At rest, a label is that of the report, unless the status says how many are not."""
        found = self.labels()
        reports = {one.node: one.verdict.value for one in self.world.cache.reports.values()}
        differing = {name for name, label in found.items() if label != reports[name]}
        if not self.is_valid():
            return
        change = self.world.status().get("massChange", {"nodes": [], "nodeCount": 0})
        assert (sorted(differing), len(differing)) == (change["nodes"], change["nodeCount"])
        assert all(found[name] == "Compatible" for name in differing), (
            "only what says Compatible is held back"
        )
        if differing:
            bad = [name for name, verdict in reports.items() if verdict != "Compatible"]
            assert len(bad) > ALLOWED, "a small change goes through"
            assert self.world.condition("Published") == ("False", "MassChange")


TestFleet = Fleet.TestCase
TestFleet.settings = settings(
    max_examples=40,
    stateful_step_count=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
