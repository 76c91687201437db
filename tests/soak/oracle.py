"""The part of the oracle that looks at a check-point: whether everything in the cluster is as the truth demands.

It uses neither the operator's planner nor its assessment, nor its cache: it lists the objects itself.
"""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.soak.truth import UNKNOWN, Machine, verdicts
from tests.soak.world import ENVIRONMENTS, NODES, PERIOD_SECONDS, PODS, REPORTS, TIMEOUTS, World

from gpuenv.api import names
from gpuenv.controller.kube.errors import ApiError

Object = dict[str, Any]

POLL_SECONDS = 1.0
STAGE_SLACK_SECONDS = 5
GRACE_SECONDS = 5
SLACK_SECONDS = 15.0
OLDEST_POD_SECONDS = (
    TIMEOUTS["schedulingSeconds"]
    + 2 * TIMEOUTS["setupSeconds"]
    + TIMEOUTS["pullSeconds"]
    + 2 * (TIMEOUTS["runSeconds"] + STAGE_SLACK_SECONDS)
    + GRACE_SECONDS
    + SLACK_SECONDS
)
"""The age at which each of a probe pod's clocks must have ended it."""
FUTURE_SECONDS = 5.0
OLDEST_RESULT_SECONDS = 1.1 * PERIOD_SECONDS + 60
"""The age of a result, without disturbances, at which the next run must have replaced it."""
LEFT_SECONDS = 330.0
"""After so many undisturbed seconds nothing may be left of a validation whose node is gone or no longer selected."""


@dataclass
class Seen:
    """The objects of the cluster at one moment."""

    nodes: dict[str, Object]
    environments: dict[str, Object]
    reports: list[Object]
    pods: list[Object]


async def see(world: World) -> Seen:
    """List all objects directly from the API server."""
    nodes, environments, reports, pods = await asyncio.gather(
        *(world.listed(path) for path in (NODES, ENVIRONMENTS, REPORTS, PODS))
    )
    return Seen(_by_name(nodes), _by_name(environments), reports, pods)


def _by_name(found: list[Object]) -> dict[str, Object]:
    return {one["metadata"]["name"]: one for one in found}


def problems(world: World, seen: Seen) -> Iterator[str]:
    """Yield one line for each thing that is not as it must be once the operator has caught up."""
    reports: dict[tuple[str, str], list[Object]] = {}
    for one in seen.reports:
        reports.setdefault((one["spec"]["environmentName"], one["spec"]["nodeName"]), []).append(one)
    expected = {(name, machine.name): (spec, machine) for name, spec, machine in world.truth.selected()}
    for (name, node), (spec, machine) in sorted(expected.items()):
        yield from _validation(world, seen, reports.get((name, node), []), name, spec, machine)
    for name in sorted({name for name, _ in expected}):
        yield from _status(seen, name, [reports.get(key, [{}])[0] for key in expected if key[0] == name])
    yield from _left(world, set(expected), set(reports))
    yield from _pods(seen, expected)


def _validation(
    world: World, seen: Seen, reports: list[Object], name: str, spec: Object, machine: Machine
) -> Iterator[str]:
    """Yield the problems of one environment on one selected node."""
    where = f"{name} on {machine.name}"
    node = seen.nodes.get(machine.name)
    if node is None or node["metadata"]["uid"] != machine.uid:
        yield f"{where}: the harness and the API server disagree about the node"
        return
    if [one["metadata"]["name"] for one in reports] != [names.report_name(name, machine.name)]:
        yield f"{where}: {len(reports)} reports"
        return
    report, label = reports[0], (node["metadata"].get("labels") or {}).get(names.node_label(name))
    status = report.get("status") or {}
    verdict = status.get("verdict")
    allowed = verdicts(spec, machine)
    if verdict not in allowed:
        yield f"{where}: verdict {verdict} {status.get('reason', '')}, the truth is {_shown(allowed)}; {_attempt(status)}"
    if label != verdict:
        yield f"{where}: label {label}, verdict {verdict}"
    if report["spec"].get("nodeUID") != machine.uid:
        yield f"{where}: the report is about another node of this name"
    if (spec.get("publish") or {}).get("nodeCondition") == "Measured":
        conditions = {one["type"]: one for one in node["status"].get("conditions") or []}
        shown = conditions.get(names.node_label(name), {}).get("status")
        if (shown == "True") != (verdict == "Compatible"):
            yield f"{where}: node condition {shown}, verdict {verdict}"
    if allowed != UNKNOWN:
        yield from _age(world, where, status)
    internal = status.get("internal") or {}
    if allowed != UNKNOWN and internal.get("nodeFingerprint") != _fingerprint(node):
        yield f"{where}: fingerprint {internal.get('nodeFingerprint')}, the node's is {_fingerprint(node)}"


def _age(world: World, where: str, status: Object) -> Iterator[str]:
    """Yield a problem if the last result is from the future, or so old that another run should have replaced it."""
    validated = status.get("validationTime")
    if validated is None:
        return
    age, at = time.time() - _seconds(validated), time.monotonic()
    if age < -FUTURE_SECONDS:
        yield f"{where}: validated {-age:.0f} s in the future"
    elif age - world.truth.disturbed(at - age, at) > OLDEST_RESULT_SECONDS:
        yield f"{where}: last validated {age:.0f} s ago"


def _shown(allowed: frozenset[str]) -> str:
    return " or ".join(sorted(allowed))


def _attempt(status: Object) -> str:
    attempt = status.get("lastAttempt") or {}
    return f"last attempt {attempt.get('count', 0)}: {attempt.get('reason', '-')} {attempt.get('message', '')[:120]}"


def _fingerprint(node: Object) -> str:
    """Return the digest of uid and boot id, a dot, and the digest of the driver in the labels."""
    driver = (node["metadata"].get("labels") or {}).get("nvidia.com/cuda.driver-version.full", "")
    return f"{_digest(node['metadata']['uid'], node['status']['nodeInfo']['bootID'])}.{_digest(driver) if driver else ''}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _status(seen: Seen, name: str, reports: list[Object]) -> Iterator[str]:
    """Yield the problems of an environment's status."""
    environment = seen.environments.get(name)
    if environment is None:
        yield f"{name}: the environment is away"
        return
    status, generation = environment.get("status") or {}, environment["metadata"]["generation"]
    if status.get("observedGeneration") != generation:
        yield f"{name}: status of generation {status.get('observedGeneration')}, not {generation}"
    ready = next((one for one in status.get("conditions") or [] if one["type"] == "Ready"), {})
    if ready.get("status") != "True":
        yield f"{name}: Ready {ready.get('status')} {ready.get('reason')} {ready.get('message', '')[:120]}"
    counted = Counter(((one.get("status") or {}).get("verdict") or "Unknown").lower() for one in reports)
    summary = status.get("summary") or {}
    wrong = {
        key: summary.get(key, 0)
        for key in ("compatible", "degraded", "incompatible", "unknown")
        if summary.get(key, 0) != counted[key]
    }
    if summary.get("selected", 0) != len(reports) or wrong:
        yield f"{name}: summary {summary}, reports {dict(counted)}"


def _left(world: World, expected: set[tuple[str, str]], reported: set[tuple[str, str]]) -> Iterator[str]:
    """Yield what is left of validations that ended long ago."""
    at = time.monotonic()
    for name, node in sorted(reported - expected):
        specs, machines = world.truth.specs.get(name), world.truth.machines.get(node)
        if specs is None or machines is None:
            yield f"{name} on {node}: a report of something that never was"
            continue
        since = max(specs.times[-1], machines.times[-1])
        if at - since - world.truth.disturbed(since, at) > LEFT_SECONDS:
            yield f"{name} on {node}: a report is left {at - since:.0f} s after its node or environment"


def _pods(seen: Seen, expected: dict[tuple[str, str], Any]) -> Iterator[str]:
    """Yield pods that must be gone. Failed ones are kept for their logs."""
    now = time.time()
    for pod in seen.pods:
        metadata, phase = pod["metadata"], (pod.get("status") or {}).get("phase")
        age = now - _seconds(metadata["creationTimestamp"])
        if age > OLDEST_POD_SECONDS and phase not in {"Failed", "Succeeded"}:
            yield f"pod {metadata['name']}: {phase} for {age:.0f} s"
        if age > OLDEST_POD_SECONDS and phase == "Succeeded":
            yield f"pod {metadata['name']}: has succeeded, and is still there after {age:.0f} s"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def ask_again(world: World, seen: Seen) -> None:
    """Ask for new runs, as people do, on machines that have changed without a sign on their Node objects."""
    world.asked += 1
    value = {"metadata": {"annotations": {names.ANNOTATION_REVALIDATE: f"soak-{world.asked}"}}}
    names_of: dict[str, list[str]] = {}
    for one in seen.reports:
        names_of.setdefault(one["spec"]["nodeName"], []).append(one["metadata"]["name"])
    for node in sorted(world.revalidate):
        wanted = sum(machine.name == node for _, _, machine in world.truth.selected())
        found = names_of.get(node, [])
        for report in found:
            try:
                await world.kube.merge_patch(f"{REPORTS}/{report}", value)
            except ApiError as error:
                if error.status != 404:
                    raise
        if len(found) >= wanted:
            world.revalidate.discard(node)


async def unhealthy(world: World) -> AsyncIterator[str]:
    """Yield the pages on which the operator says that it does not work."""
    for page in ("healthz", "readyz"):
        answer = await world.operators.health("one", page)
        if not answer.startswith("200 "):
            yield f"operator: /{page} answers {answer[:300]}"


async def until_right(world: World, limit: float) -> tuple[float, list[str]]:
    """Wait until nothing is wrong. Return after how many seconds, and the last problems if it took too long."""
    began = time.monotonic()
    while True:
        try:
            wrong = await _wrong(world)
        except ApiError as error:
            wrong = [f"the oracle cannot look: {error}"]
        seconds = time.monotonic() - began
        if not wrong or seconds > limit:
            return seconds, wrong
        await asyncio.sleep(POLL_SECONDS)


async def _wrong(world: World) -> list[str]:
    seen = await see(world)
    if world.revalidate:
        await ask_again(world, seen)
        return ["runs are asked for again"]
    return [*problems(world, seen), *[line async for line in unhealthy(world)]]
