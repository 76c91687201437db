"""The part of the oracle that never sleeps: it watches the API server directly and checks each change as it happens.

* a node has at most one live probe pod, and environments and the cluster have no more than their limits
* a label changes only to what a run has found on this machine in this state, or to Unknown
* no label disappears while its environment selects the node
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.soak.truth import Machine, Truth, selects, verdicts
from tests.soak.world import ENVIRONMENTS, MAX_PROBES, NODES, PODS, World

from gpuenv.api import names
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError

Object = dict[str, Any]
Breach = Callable[[str, str], None]

REACTION_SECONDS = 10.0
"""How long an operator that works may take until it knows of a change. Its own faults and outages come on top."""
LIMIT_SECONDS = 20.0
"""For how long after a change of a limit the old one may still have been in force when a pod was created."""
SEEN_LATE_SECONDS = 2.0
"""By how much the harness may see a pod before or after its simulated kubelet does."""
ENDED = ("Succeeded", "Failed")
MEDDLING_SECONDS = 5.0


@dataclass
class Run:
    """A probe pod. ``bound`` and ``ended`` are monotonic times, 0 before."""

    environment: str
    node: str
    image: str
    created: float
    bound: float = 0.0
    ended: float = 0.0
    waits: bool = False
    """Whether the scheduler has found no place for the pod, which then holds no device."""


@dataclass
class Watcher:
    """Follows nodes, environments and probe pods. ``breach`` is called with the kind and a line for each breach."""

    world: World
    kube: Kube
    breach: Breach
    runs: dict[str, Run] = field(default_factory=dict)
    labels: dict[tuple[str, str], str] = field(default_factory=dict)
    label_changes: int = 0
    most_pods: int = 0
    _live: dict[str, Run] = field(default_factory=dict)
    """The probe pods that may hold a device, by uid."""
    _of: dict[tuple[str, str], list[Run]] = field(default_factory=dict)
    _uids: dict[str, str] = field(default_factory=dict)
    _away: dict[str, float] = field(default_factory=dict)

    @property
    def truth(self) -> Truth:
        return self.world.truth

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Watcher"]:
        """Check everything during the block."""
        tasks = [
            asyncio.create_task(work)
            for work in (
                self._follow(NODES, self._node),
                self._follow(PODS, self._pod),
                self._follow(ENVIRONMENTS, self._environment),
            )
        ]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result

    async def _follow(self, path: str, see: Callable[[Object, bool], None]) -> None:
        known: dict[str, Object] = {}
        while True:
            try:
                version, present = "", set()
                async for page in self.kube.pages(path):
                    version = page["metadata"]["resourceVersion"]
                    for found in page["items"]:
                        present.add(found["metadata"]["uid"])
                        known[found["metadata"]["uid"]] = found
                        see(found, True)
                for uid in known.keys() - present:
                    see(known.pop(uid), False)
                async for event in self.kube.watch(path, {"resourceVersion": version}):
                    found = event["object"]
                    if event["type"] == "DELETED":
                        known.pop(found["metadata"]["uid"], None)
                        see(found, False)
                    elif event["type"] != "BOOKMARK":
                        known[found["metadata"]["uid"]] = found
                        see(found, True)
            except ApiError as error:
                if error.status == 404:  # the kind is away
                    while known:
                        see(known.popitem()[1], False)
                await asyncio.sleep(0.1)

    # ---- probe pods ----------------------------------------------------------------------------------------

    def _pod(self, found: Object, present: bool) -> None:
        metadata, status, at = found["metadata"], found.get("status") or {}, time.monotonic()
        environment = (metadata.get("labels") or {}).get(names.LABEL_ENVIRONMENT)
        node = (metadata.get("annotations") or {}).get(names.ANNOTATION_NODE)
        if not environment or not node:
            return
        new = metadata["uid"] not in self.runs
        if new:
            run = Run(environment, node, found["spec"]["containers"][0]["image"], at)
            self.runs[metadata["uid"]] = self._live[metadata["uid"]] = run
            self._of.setdefault((node, environment), []).append(run)
        run = self.runs[metadata["uid"]]
        scheduled = next((one for one in status.get("conditions") or [] if one["type"] == "PodScheduled"), {})
        run.waits = scheduled.get("status") == "False"
        if found["spec"].get("nodeName") and not run.bound:
            run.bound = at
        if (not present or status.get("phase") in ENDED) and not run.ended:
            run.ended = at
            del self._live[metadata["uid"]]
        if new and not run.ended:
            self._limits(run, metadata["name"])

    def _limits(self, new: Run, name: str) -> None:
        live = list(self._live.values())
        self.most_pods = max(self.most_pods, len(live))
        here = [run for run in live if run.node == new.node]
        if len(here) > 1:
            self.breach("one pod a node", f"{new.node} has {len(here)} live probe pods, the newest is {name}")
        holding = [run for run in live if not run.waits]
        if len(holding) > MAX_PROBES:
            self.breach("--max-probes", f"{len(holding)} probe pods with {name}, allowed are {MAX_PROBES}")
        specs = self.truth.specs[new.environment].during(new.created - LIMIT_SECONDS, new.created)
        limit = max((spec["strategy"]["maxConcurrent"] for spec in specs if spec is not None), default=0)
        count = sum(run.environment == new.environment for run in holding)
        if count > limit:
            self.breach(
                "maxConcurrent", f"{count} probe pods of {new.environment} with {name}, allowed are {limit}"
            )

    # ---- labels --------------------------------------------------------------------------------------------

    def _environment(self, found: Object, present: bool) -> None:
        name = found["metadata"]["name"]
        if not present or found["metadata"].get("deletionTimestamp"):
            self._away[name] = time.monotonic()

    def _node(self, found: Object, present: bool) -> None:
        node, uid = found["metadata"]["name"], found["metadata"]["uid"]
        if not present:
            return
        again = self._uids.get(node) not in {None, uid}
        self._uids[node] = uid
        start = f"{names.COMPAT_PREFIX}/"
        carried = found["metadata"].get("labels") or {}
        shown = {key.removeprefix(start): value for key, value in carried.items() if key.startswith(start)}
        for environment in {*shown, *(known for name, known in self.labels if name == node)}:
            before = None if again else self.labels.get((node, environment))
            after = shown.get(environment)
            if after is None:
                self.labels.pop((node, environment), None)
            else:
                self.labels[node, environment] = after
            if before == after or self._touched(node, environment):
                continue
            self.label_changes += 1
            if after is None:
                self._removed(node, environment)
            elif after != "Unknown":
                self._published(node, environment, after)

    def _touched(self, node: str, environment: str) -> bool:
        """Return whether the harness itself has just changed the label."""
        return time.monotonic() - self.truth.meddled.get((node, environment), -60) < MEDDLING_SECONDS

    def _since(self, at: float) -> float:
        """Return from when on the operator must have known everything at a time."""
        start = at - REACTION_SECONDS
        for _ in range(4):  # a longer time may contain more disturbances
            start = at - REACTION_SECONDS - self.truth.disturbed(start, at)
        return start

    def _removed(self, node: str, environment: str) -> None:
        at = time.monotonic()
        away = at - self._away.get(environment, -1000) < 60
        specs = list(self.truth.specs.get(environment, self.truth.specs["first"]).during(at - 400, at))
        machine = self.truth.machines[node].now
        selected = all(spec is not None and selects(spec, machine) for spec in specs)
        if selected and not away:
            self.breach("label removed", f"{environment} on {node}, which it selects")

    def _published(self, node: str, environment: str, verdict: str) -> None:
        """Check that a run has found this verdict on the machine in its present state."""
        at = time.monotonic()
        since = self._since(at)
        machines = list(self.truth.machines[node].during(since, at))
        specs = [spec for spec in self.truth.specs[environment].during(since, at) if spec is not None]
        runs = sorted(
            (run for run in self._of.get((node, environment), []) if run.bound),
            key=lambda run: run.bound,
        )
        ended = [number for number, run in enumerate(runs) if run.ended and run.ended < since]
        shown: list[set[str]] = []
        for run in runs[ended[-1] if ended else 0 :]:
            seen = self._seen_by(run, {machine.identity for machine in machines})
            allowed = {
                one
                for spec in specs
                if spec["image"] == run.image
                for machine in seen
                for one in verdicts(spec, machine)
            }
            if verdict in allowed:
                return
            shown.append(allowed)
        self.breach(
            "label against the evidence",
            f"{environment} on {node} became {verdict}; its last {len(shown)} runs allow {shown}; machine: {machines}",
        )

    def _seen_by(self, run: Run, identities: set[tuple[str, int, str]]) -> list[Machine]:
        """Return the states in which a run may have found its machine, if they are the present machine."""
        states = self.truth.machines[run.node].during(
            run.bound - SEEN_LATE_SECONDS, run.bound + SEEN_LATE_SECONDS
        )
        return [state for state in states if state.identity in identities]
