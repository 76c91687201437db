"""A fleet whose clocks are set at random moments: limits hold at each instant, no verdict changes, all is renewed."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.builders import facts_report, running, terminated
from tests.support.world import KNOWLEDGE, World

from gpuenv.plan.planner import plan
from gpuenv.plan.run.clocks import is_over

NODES = ("n1", "n2", "n3", "n4", "n5")
ENVIRONMENTS = ("pt", "tf")
MAX_PROBES = 2
MAX_CONCURRENT = 2
PERIOD = 3600.0
RUN_SECONDS = 20.0
LONGEST_PERIOD = 1.1 * PERIOD

errors = st.sampled_from([0.0, 3600.0, -600.0, 40.0, -3600.0, 31_536_000.0, -31_536_000.0])
small_errors = st.sampled_from([0.0, 300.0, -300.0])
pauses = st.sampled_from([1.0, 30.0, 400.0, 3000.0])


class Fleet(RuleBasedStateMachine):
    """Healthy nodes with runs of twenty seconds, and clocks that somebody sets."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(max_probes=MAX_PROBES)
        self.began: dict[str, float] = {}

    @initialize(server=small_errors, node=small_errors)
    def begin(self, server: float, node: float) -> None:
        world = self.world
        world.server_error, world.node_error = server, node
        for name in NODES:
            world.node(name)
        for name in ENVIRONMENTS:
            world.environment(
                name,
                strategy={"maxConcurrent": MAX_CONCURRENT, "revalidationPeriodSeconds": int(PERIOD)},
                probe={"timeouts": {"runSeconds": 60}},
            )
        self.work(60 * len(NODES) * len(ENVIRONMENTS))
        assert {world.label(env, node) for env in ENVIRONMENTS for node in NODES} == {"Compatible"}

    @rule(error=errors)
    def set_the_operators_clock(self, error: float) -> None:
        self.world.clock_error = error

    @rule(error=small_errors)
    def set_the_api_servers_clock(self, error: float) -> None:
        self.world.server_error = error

    @rule(error=small_errors)
    def set_the_nodes_clocks(self, error: float) -> None:
        self.world.node_error = error

    @rule(seconds=pauses)
    def let_time_pass(self, seconds: float) -> None:
        self.work(seconds)

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @rule(error=errors)
    def jump_for_half_a_minute(self, error: float) -> None:
        before, self.world.clock_error = self.world.clock_error, error
        self.work(30)
        self.world.clock_error = before

    @invariant()
    def limits_hold_and_no_verdict_changes(self) -> None:
        world = self.world
        live = [pod for pod in world.cache.pods.values() if not is_over(pod)]
        assert len({pod.node for pod in live}) == len(live) <= MAX_PROBES
        for name in ENVIRONMENTS:
            assert sum(pod.environment == name for pod in live) <= MAX_CONCURRENT
        for (environment, node), report in world.cache.reports.items():
            assert (report.verdict.value, report.attempt) == ("Compatible", None)
            assert world.label(environment, node) == "Compatible"

    @invariant()
    def the_memo_changes_nothing(self) -> None:
        seen = self.world.cache.snapshot(self.world.settings)
        with_memo = plan(seen, self.world.wall, KNOWLEDGE, self.world.memo)
        assert with_memo == plan(seen, self.world.wall, KNOWLEDGE, None)

    def work(self, seconds: float) -> None:
        """Let the operator and the kubelets work for so long."""
        world, end = self.world, self.world.now + seconds
        while world.now < end:
            before = world.now
            world.turn()
            world.now = min(world.now, before + RUN_SECONDS / 2, max(end, before + 1))
            self.run_pods()
            self.limits_hold_and_no_verdict_changes()

    def run_pods(self) -> None:
        """Let each pod begin its second stage at once, and end well after some time."""
        world = self.world
        for pod in world.live_pods():
            if world.objects("pods")[pod.name]["metadata"].get("deletionTimestamp"):
                raise AssertionError(f"a run of a healthy node was ended: {pod}")
            began = self.began.setdefault(pod.name, world.now)
            if world.now >= began + RUN_SECONDS:
                world.finish(name=pod.name)
            elif began == world.now:
                facts = terminated(facts_report(pod.run_id), at=world.node_time)
                world.pod(
                    "Running",
                    name=pod.name,
                    scheduled=world.server_time,
                    sandbox=world.node_time,
                    facts=facts,
                    kernels=running(world.node_time),
                )

    def teardown(self) -> None:
        """With clocks that are right again, everything is renewed within the period and the time in the queue."""
        world = self.world
        if not world.cache.reports:
            return
        world.clock_error = world.server_error = world.node_error = 0.0
        right_since = world.now
        queue = 3 * RUN_SECONDS * len(NODES) * len(ENVIRONMENTS) / MAX_PROBES
        self.work(LONGEST_PERIOD + queue)
        for report in world.cache.reports.values():
            assert report.result is not None
            assert right_since <= report.result.validated_at <= world.now
        wake_at = world.plan().wake_at
        assert wake_at is not None
        assert wake_at <= world.now + LONGEST_PERIOD


TestClocks = Fleet.TestCase
TestClocks.settings = settings(
    max_examples=15,
    stateful_step_count=12,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
