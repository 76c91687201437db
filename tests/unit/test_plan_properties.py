"""What holds for every plan, whatever the cluster goes through: histories made by chance, seeds printed."""

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support import builders
from tests.support.builders import running, terminated, waiting
from tests.support.world import KNOWLEDGE, World

from gpuenv.api import names
from gpuenv.plan.actions import (
    CreatePod,
    DeletePod,
    LeaveNode,
    Plan,
    SetLabel,
    SetNodeCondition,
    WriteReport,
    WriteStatus,
)
from gpuenv.plan.planner import plan
from gpuenv.plan.run.clocks import is_over, is_stuck, waits_from
from gpuenv.plan.snapshot import ReportRecord

ENVIRONMENTS = ("pt", "tf", "jax")
NODES = ("n1", "n2", "n3", "n4")
MAX_PROBES = 3
MAX_CONCURRENT = 2

environments = st.sampled_from(ENVIRONMENTS)
nodes = st.sampled_from(NODES)
seconds = st.sampled_from([0, 1, 10, 61, 130, 301, 4000, 90_000, 700_000])
changes: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"gpus": (8, 0)},
        {"gpus": None},
        {"driver": "580.65.06"},
        {"boot": "boot-2"},
        {"uid": "another"},
        {"unschedulable": True},
        {"ready": False},
        {"labels": {"pool": "b"}},
        {"taints": [{"key": "team", "value": "a", "effect": "NoSchedule"}]},
    ]
)
specs: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"expect": {"pytorch": "==2.8.*"}},
        {"checks": {"imports": ["vllm"]}},
        {"image": "a/b:2"},
        {"image": "makes no sense"},
        {"probe": {"runtimeClassName": "not-allowed"}},
        {"suspend": True},
        {"publish": {"nodeLabel": "None"}},
        {"publish": {"nodeCondition": "Measured"}},
        {"nodes": {"selector": {"matchExpressions": [{"key": "pool", "operator": "DoesNotExist"}]}}},
        {"benchmarks": {"floors": [{"benchmark": "MatMul", "minPercentOfPeers": 90}]}},
    ]
)


class Cluster(RuleBasedStateMachine):
    """A cluster that people, kubelets and schedulers do all sorts of things to between two plans."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(max_probes=MAX_PROBES)

    # ---- what happens ------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        for name in ENVIRONMENTS[:2]:
            self.world.environment(name, strategy={"maxConcurrent": MAX_CONCURRENT})
        for name in NODES:
            self.world.node(name)
        self.check(self.world.step())

    @rule(after=seconds)
    def plan(self, after: int) -> None:
        reports = dict(self.world.cache.reports)
        planned = self.world.step(after)
        self.check(planned)
        self.check_ready(planned, reports)

    @rule(name=environments, spec=specs)
    def apply(self, name: str, spec: dict[str, Any]) -> None:
        before = self.world.objects("environments").get(name, {"metadata": {}})
        if not before["metadata"].get("deletionTimestamp"):
            self.world.environment(name, **{"strategy": {"maxConcurrent": MAX_CONCURRENT}, **spec})

    @rule(name=environments)
    def delete(self, name: str) -> None:
        if name in self.world.objects("environments"):
            self.world.delete("environments", name)

    @rule(name=nodes, change=changes)
    def change(self, name: str, change: dict[str, Any]) -> None:
        self.world.node(name, **change)

    @rule(name=nodes)
    def lose(self, name: str) -> None:
        if name in self.world.objects("nodes"):
            self.world.gone("nodes", name)

    @rule(name=environments, token=st.sampled_from(["", "a", "b"]))
    def ask(self, name: str, token: str) -> None:
        if name in self.world.objects("environments"):
            self.world.annotate("environments", name, names.ANNOTATION_REVALIDATE, token)

    @rule(name=environments, node=nodes, token=st.sampled_from(["", "a", "b"]))
    def ask_on_one_node(self, name: str, node: str, token: str) -> None:
        report = names.report_name(name, node)
        if report in self.world.objects("reports"):
            self.world.annotate("reports", report, names.ANNOTATION_REVALIDATE, token)

    @rule(refused=st.sampled_from(["nothing", "pods", "results", "details"]))
    def refuse(self, refused: str) -> None:
        kube = self.world.kube
        kube.hooks.clear()
        match refused:
            case "pods":
                kube.deny("POST", "/pods$", 403, "Forbidden", "forbidden")
            case "results":
                kube.deny("PATCH", "/gpunodereports/.*/status$", 422, "Invalid", "no", when=_has("checks"))
            case "details":
                kube.deny(
                    "PATCH", "/gpuenvironments/.*/status$", 422, "Invalid", "no", when=_has("placement")
                )

    def _has_pods(self) -> bool:
        return bool(self.world.objects("pods"))

    def _has_running_pods(self) -> bool:
        return bool(self.world.live_pods())

    @precondition(_has_running_pods)
    @rule(
        data=st.data(),
        how=st.sampled_from(["good", "wrong", "crash", "garbage", "pull", "full", "run", "evicted"]),
    )
    def live(self, data: st.DataObject, how: str) -> None:
        world, now = self.world, self.world.now
        pods = {pod.name: pod for pod in world.live_pods()}
        name = data.draw(st.sampled_from(sorted(pods)))
        run, where = pods[name].run_id, {"name": name}
        facts = terminated(builders.facts_report(run), at=now)
        match how:
            case "good":
                world.finish(**where)
            case "wrong":
                world.finish(kernels=builders.wrong_matmul(run), **where)
            case "garbage":
                world.finish(kernels="\x00garbage", **where)
            case "crash":
                world.pod("Failed", **where, scheduled=now, facts=facts, kernels=terminated(code=139, at=now))
            case "pull":
                world.pod("Pending", **where, scheduled=now, sandbox=now, facts=waiting("ErrImagePull", "?"))
            case "full":
                world.pod("Pending", **where, unschedulable="1 Insufficient nvidia.com/gpu")
            case "run":
                world.pod("Running", **where, scheduled=now, facts=facts, kernels=running(now))
            case "evicted":
                world.pod("Failed", **where, reason="Evicted", message="low on disk")

    @precondition(_has_pods)
    @rule(data=st.data(), vanish=st.booleans())
    def kill(self, data: st.DataObject, vanish: bool) -> None:
        self.world.delete_pod(data.draw(st.sampled_from(sorted(self.world.objects("pods")))), vanish=vanish)

    @rule(data=st.data())
    def remove_a_report(self, data: st.DataObject) -> None:
        if self.world.objects("reports"):
            self.world.gone("reports", data.draw(st.sampled_from(sorted(self.world.objects("reports")))))

    @rule()
    def restart(self) -> None:
        """A new operator reads everything anew."""
        self.world.restart()

    # ---- what must hold ----------------------------------------------------------------------------------

    def check(self, planned: Plan) -> None:
        """One plan that has just been carried out."""
        actions = planned.actions
        for action in actions:
            if isinstance(action, SetLabel) and action.value is None:
                record = self.world.cache.environments[action.environment]
                assert record.spec is not None
                assert record.spec.node_label == "None", (
                    "labels go by LeaveNode and Cleanup, or because nobody wants them"
                )
            if isinstance(action, CreatePod):
                assert action.manifest["metadata"]["annotations"][names.ANNOTATION_NODE] == action.node
                assert self._holding_places(action.environment) <= MAX_CONCURRENT
        for environment in ENVIRONMENTS:
            for node in NODES:
                self._check_order(planned, environment, node)
        assert planned.wake_at is None or planned.wake_at > self.world.now

    def _holding_places(self, environment: str) -> int:
        """Return how many pods of the environment run, will run, or have not waited for a GPU for long."""
        world = self.world
        return sum(
            pod.environment == environment
            and not is_stuck(pod, world.settings, world.now)
            and world.now < waits_from(pod)
            for pod in world.live_pods()
        )

    def check_ready(self, planned: Plan, reports: Mapping[tuple[str, str], ReportRecord]) -> None:
        """No plan says Ready of an environment whose results it has yet to write."""
        ready = {
            action.environment
            for action in planned.actions
            if isinstance(action, WriteStatus)
            and any((one["type"], one["status"]) == ("Ready", "True") for one in action.status["conditions"])
        }
        for action in planned.actions:
            if isinstance(action, SetLabel | SetNodeCondition):
                assert action.environment not in ready, action
            elif isinstance(action, WriteReport) and action.environment in ready:
                before, after = reports[action.environment, action.node], action.record
                assert (before.verdict, before.reason) == (after.verdict, after.reason), action

    def _check_order(self, planned: Plan, environment: str, node: str) -> None:
        """Report before label before deletion of its pod before the next run."""
        ranks = {WriteReport: 0, SetLabel: 1, DeletePod: 2, CreatePod: 3}
        mine = [
            ranks[type(action)]
            for action in planned.actions
            if isinstance(action, WriteReport | SetLabel | CreatePod)
            and (action.environment, action.node) == (environment, node)
            # After a refusal of the report, the label does not wait.
            and not (isinstance(action, SetLabel) and action.value == "Unknown")
        ]
        assert mine == sorted(mine)

    @invariant()
    def one_probe_a_node_and_within_all_caps(self) -> None:
        live = [pod for pod in self.world.cache.pods.values() if not is_over(pod)]
        assert len({pod.node for pod in live}) == len(live)
        moving = [pod for pod in live if not is_stuck(pod, self.world.settings, self.world.now)]
        assert len(moving) <= 3 * MAX_PROBES, "twice the places at most, and pods that wait for a GPU"
        for name in ENVIRONMENTS:
            assert sum(pod.environment == name for pod in moving) <= 2 * MAX_CONCURRENT

    @invariant()
    def the_memo_changes_nothing(self) -> None:
        seen = self.world.cache.snapshot(self.world.settings)
        with_memo = plan(seen, self.world.now, KNOWLEDGE, self.world.memo)
        assert with_memo == plan(seen, self.world.now, KNOWLEDGE, None)

    @invariant()
    def nothing_goes_because_a_cache_is_empty(self) -> None:
        seen = self.world.cache.snapshot(self.world.settings)
        seen = type(seen)(**{name: getattr(seen, name) for name in seen.__slots__} | {"nodes": {}})
        for action in plan(seen, self.world.now, KNOWLEDGE).actions:
            assert not isinstance(action, SetLabel | DeletePod) or action.name in self._unwanted(), action
            assert not isinstance(action, LeaveNode) or action.gone

    def _unwanted(self) -> set[str]:
        """Pods of environments that make no sense."""
        records = self.world.cache.environments
        return {
            pod.name
            for pod in self.world.cache.pods.values()
            if pod.environment in records and records[pod.environment].spec is None
        }

    def teardown(self) -> None:
        """Left alone, the cluster comes to rest: a plan with nothing to do, and the same again."""
        world = self.world
        if not world.objects("environments") and not world.objects("nodes"):
            return
        for plan_ in world.settle(limit=30):
            self.check(plan_)
        for name in ("environments", "nodes", "reports"):
            for raw in world.objects(name).values():
                world.put(name, raw)
        assert world.step().actions == ()
        assert world.plan() == world.plan()
        self._check_labels()
        deleted = [
            name
            for name, raw in world.objects("environments").items()
            if "deletionTimestamp" in raw["metadata"]
        ]
        assert not deleted

    def _check_labels(self) -> None:
        """At rest, a label says what the stored report says, which is never an earlier result than that of a refused one."""
        for (environment, node), report in self.world.cache.reports.items():
            record = self.world.cache.environments[environment]
            labels = self.world.cache.nodes[node].compat if node in self.world.cache.nodes else {}
            if record.spec is not None and environment in labels:
                assert labels[environment] == report.verdict.value


def _has(field: str) -> Callable[[Any], bool]:
    """Return a function that says whether a write of a status contains a field."""
    return lambda body: field in body[-1]["value"]


TestCluster = Cluster.TestCase
TestCluster.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
