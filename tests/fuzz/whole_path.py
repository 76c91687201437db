"""The whole path of one probe run: termination messages, assessment, statuses as they are written, and what people see.

Every function raises AssertionError if something that must always hold does not.
"""

import copy
import gc
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from tests.fuzz.choices import Choices
from tests.fuzz.probe_messages import messages
from tests.fuzz.shown import commands_show, is_shown_safely
from tests.support import builders
from tests.support.stored_status import stored
from tests.support.world import KNOWLEDGE, World

from gpuenv.api import names
from gpuenv.api.schema import statuses
from gpuenv.api.schema.fit import fit
from gpuenv.assess.model import Verdict
from gpuenv.plan.actions import Plan, SetLabel, SetNodeCondition, WriteReport, WriteStatus
from gpuenv.plan.objects.records import environment_record, pod_record, report_record
from gpuenv.plan.planner import plan
from gpuenv.plan.snapshot import Snapshot

Raw = dict[str, Any]
A = TypeVar("A")
LARGEST_DOCUMENT: Final = 32 * 1024
"""The largest size in bytes of the probe document in a node report, as JSON."""
LARGEST_STATUS: Final = 128 * 1024
"""The largest size in bytes of the whole status of a node report, as JSON."""
_DOCUMENT: Final = ("facts", "gpus", "steps", "commands", "benchmarks")
_VERDICTS: Final = {verdict.value for verdict in Verdict}
_CLOSELY_ONE_IN: Final = 4
"""How many inputs there are for one whose statuses are also validated by another implementation, and planned again."""
_SHOWN_ONE_IN: Final = 6
"""How many of these there are for one that is also shown by the commands, which takes longer than everything else."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the judging of one input cost: seconds of CPU from message to status, and the bytes of the status."""

    seconds: float
    status_bytes: int


class WholePath:
    """A cluster of one node, in which the probe pod of one environment has just ended."""

    def __init__(self) -> None:
        world = World()
        world.environment("pt", expect={"pytorch": "==2.9.*"}, publish={"nodeCondition": "Measured"})
        world.node("n1")
        world.settle()
        self._first = self._state(world)
        world.finish()
        world.settle()
        world.annotate("environments", "pt", names.ANNOTATION_REVALIDATE, "again")
        world.settle()
        self._second = self._state(world)
        self._environment, self._now = world.get("environments", "pt"), world.now

    @staticmethod
    def _state(world: World) -> tuple[Snapshot, Raw]:
        """Return the records of the cluster, and the object of its newest probe pod."""
        return world.cache.snapshot(world.settings), world.pod_of()

    def __call__(self, data: bytes) -> Cost:
        """Let the run end with the messages that ``data`` describes, and return what judging it cost."""
        choices = Choices(data)
        snapshot, pod = self._second if choices.chance(2) else self._first
        run = pod["metadata"]["annotations"][names.ANNOTATION_RUN]
        facts, kernels = messages(choices, run)
        code = choices.one_of((0, 0, 0, 1, 2, 127, 139, -1))
        ended = builders.pod_status(
            pod,
            "Failed" if code else "Succeeded",
            scheduled=self._now - 30,
            sandbox=self._now - 28,
            facts=builders.terminated(facts, at=self._now - 10),
            kernels=builders.terminated(kernels, at=self._now, code=code),
        )
        gc.disable()  # a collection would go through everything that the fuzzer itself has made
        started = time.thread_time()
        record = pod_record(ended)
        snapshot = replace(snapshot, pods={record.name: record})
        planned = plan(snapshot, self._now, KNOWLEDGE)
        seconds = time.thread_time() - started
        gc.enable()
        written = self._check_report(planned)
        if choices.chance(_CLOSELY_ONE_IN):
            kept = stored(names.REPORT_PLURAL, written.status)
            assert kept == written.status, "the API server keeps only a part of the status"
            objects = self._check_settled(snapshot, planned, written)
            if choices.chance(_SHOWN_ONE_IN):
                commands_show(*objects)
        return Cost(seconds, _bytes(written.status))

    def _check_report(self, planned: Plan) -> WriteReport:
        """Check the actions of the plan that sees the end of the run, and return the write of the node report."""
        assert not planned.faults, planned.faults
        for event in planned.events:
            assert is_shown_safely(event.message), event.message
        for label in _of(SetLabel, planned):
            assert label.value in _VERDICTS
        (written,) = _of(WriteReport, planned)
        status = written.status
        assert json.loads(json.dumps(status, allow_nan=False)) == status, "JSON does not keep the status"
        assert fit(statuses.REPORT, status) == status, "the status does not fit its schema"
        document = {key: status[key] for key in _DOCUMENT if key in status}
        assert _bytes(document) <= LARGEST_DOCUMENT
        assert _bytes(status) <= LARGEST_STATUS
        return written

    def _check_settled(self, snapshot: Snapshot, planned: Plan, written: WriteReport) -> tuple[Raw, Raw]:
        """Store what the plan writes, and check that the next plans write the environment's status and then nothing.

        Return the objects of the environment and of the node report, as they are then.
        """
        node = snapshot.nodes["n1"]
        for label in _of(SetLabel, planned):
            node = replace(node, compat={"pt": str(label.value)})
        for condition in _of(SetNodeCondition, planned):
            node = replace(node, compat_conditions={"pt": (condition.status or "", condition.reason)})
        before = snapshot.reports.get(("pt", "n1"))
        report = builders.report("pt", "n1") | {"status": written.status}
        report["metadata"] |= {"name": written.name, "uid": before.uid if before else "report-uid"}
        report["spec"]["nodeUID"] = node.uid
        after = replace(snapshot, reports={("pt", "n1"): report_record(report)}, nodes={"n1": node})
        second = plan(after, self._now, KNOWLEDGE)
        assert not second.faults, second.faults
        for kind in (WriteReport, SetLabel, SetNodeCondition):
            assert not list(_of(kind, second)), f"the next plan repeats {kind.__name__}"
        environment = copy.deepcopy(self._environment)
        change = second.environments.get("pt")
        if isinstance(change, WriteStatus):
            environment["status"] = change.status
            kept = stored(names.ENVIRONMENT_PLURAL, change.status)
            assert kept == change.status, "the API server keeps only a part of the environment's status"
            third = plan(
                replace(after, environments={"pt": environment_record(environment)}), self._now, KNOWLEDGE
            )
            assert "pt" not in third.environments, "the environment's status is written a second time"
        return environment, report


def _of(kind: type[A], planned: Plan) -> Iterator[A]:
    """Yield the actions of one kind in a plan."""
    return (one for chain in planned.validations.values() for one in chain if isinstance(one, kind))


def _bytes(document: Raw) -> int:
    return len(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())
