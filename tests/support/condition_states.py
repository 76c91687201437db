"""Brings environments on a real API server into every state that their conditions distinguish, all at the same time."""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support import builders
from tests.support.cluster import Kubectl
from tests.support.operator_process import ENVIRONMENTS, T4, nodes, operator, probe_pods, report
from tests.support.wait import PATIENTLY, wait_until, wait_until_async

from gpuenv.api import names
from gpuenv_sandbox.control_plane.cluster import ControlPlane

Object = dict[str, Any]
Step = Callable[[ControlPlane, str], object]
"""A function that does something to the environment with the given name."""

NODES: dict[str, Object] = {
    "good": {},
    "guarded": {},
    "broken": {"fault": "uvmMissing"},
    "slow": {"fault": "slow"},
    "busy": {"inUse": 1},
    "hanging": {"fault": "probeHangs"},
    "rolled 1": {},
    "rolled 2": {},
    "rolled 3": {},
}
"""The simulated nodes, and what is special about each."""
OTHER_IMAGE = "pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime"
TOO_OLD = "450.80.02"
"""A driver with which the image cannot run."""
TRIED = "tried"
"""The name of an environment that never exists. A policy that is in force refuses it."""
KEPT = "test.gpuenv.dev/kept"
"""A finalizer, because of which an object still exists after its deletion."""
HOUR_SECONDS = 3600


@dataclass(frozen=True)
class State:
    """How an environment gets into a state.

    ``spec`` are fields of its specification, as for ``builders.environment``. ``before`` is a step that precedes its
    creation, and ``after`` one that follows when all its nodes have answered.
    """

    nodes: tuple[str, ...] = ("good",)
    spec: Object = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    before: Step | None = None
    after: Step | None = None


def refuse_label(plane: ControlPlane, environment: str) -> None:
    """Let an admission policy refuse the environment's label on all nodes, and wait until it is in force."""
    label = names.node_label(environment)
    expression = f"!has(object.metadata.labels) || !('{label}' in object.metadata.labels)"
    tried = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "tried", "labels": {label: "Compatible"}},
    }
    _refuse(plane, f"no-{environment}", "", ["nodes"], expression, tried)


def refuse_results(plane: ControlPlane, environment: str) -> None:
    """Let an admission policy refuse reports of the environment that have checks, and wait until it is in force."""
    tried = builders.report(TRIED, "n")
    about = "object.spec.environmentName"
    expression = f"{about} != '{TRIED}' && ({about} != '{environment}' || !has(object.status) || !has(object.status.checks))"
    _refuse(
        plane,
        f"no-{environment}",
        names.GROUP,
        ["gpunodereports", "gpunodereports/status"],
        expression,
        tried,
    )


def refuse_details(plane: ControlPlane, environment: str) -> None:
    """Let an admission policy refuse the environment's status if it has snippets, and wait until it is in force."""
    tried = builders.environment(TRIED)
    about = "object.metadata.name"
    expression = f"{about} != '{TRIED}' && ({about} != '{environment}' || !has(object.status) || !has(object.status.placement))"
    _refuse(
        plane,
        f"no-{environment}",
        names.GROUP,
        ["gpuenvironments", "gpuenvironments/status"],
        expression,
        tried,
    )


def _refuse(
    plane: ControlPlane, policy: str, group: str, resources: list[str], expression: str, tried: Object
) -> None:
    """Admit only objects for which the expression is true, and wait until ``tried``, for which it is not, is refused."""
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": policy}}
    rule = {
        "apiGroups": [group],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": resources,
    }
    refusal = {"expression": expression, "message": "this is refused"}
    constraints = {"matchConstraints": {"resourceRules": [rule]}, "validations": [refusal]}
    binding = {"policyName": policy, "validationActions": ["Deny"]}
    kubectl = Kubectl(plane)
    kubectl.apply(
        kind | {"kind": "ValidatingAdmissionPolicy", "spec": constraints},
        kind | {"kind": "ValidatingAdmissionPolicyBinding", "spec": binding},
    )
    asked = ("create", "--dry-run=server", "-f", "-")
    wait_until(lambda: policy in kubectl.run(*asked, stdin=json.dumps(tried)).stderr)


def change(**fields: Any) -> Step:
    """Return a step that changes fields of the environment's specification."""
    return lambda plane, name: plane.admin.merge(f"{ENVIRONMENTS}/{name}", {"spec": fields})


def delete(plane: ControlPlane, name: str) -> None:
    """Delete the environment, and wait until the operator has cleaned up after it."""
    path = f"{ENVIRONMENTS}/{name}"
    plane.admin.delete(path)
    wait_until(lambda: plane.admin.get(path)["metadata"]["finalizers"] == [KEPT])


def roll_out(plane: ControlPlane, name: str) -> None:
    """Give the environment's nodes a driver that is too old, all at once. The simulation takes it from the label."""
    expression = plane.admin.get(f"{ENVIRONMENTS}/{name}")["spec"]["nodes"]["selector"]["matchExpressions"][0]
    nodes = expression["values"]
    Kubectl(plane)("label", "--overwrite", "node", *nodes, f"nvidia.com/cuda.driver-version.full={TOO_OLD}")


FRESH, RUNNING = "fresh", "running"
STATES = {
    FRESH: State(),
    "accepted": State(nodes=("hanging",)),
    RUNNING: State(nodes=("hanging",), spec={"probe__timeouts__runSeconds": HOUR_SECONDS}),
    # The schema admits this number of bytes, but it is larger than any that the operator admits.
    "refused": State(spec={"expect__gpus__minMemory": "9999Pi"}),
    "limited": State(spec={"probe__runtimeClassName": "kata"}),
    "all compatible": State(),
    "mixed": State(nodes=("good", "broken", "slow")),
    "degraded": State(nodes=("good", "slow")),
    "unknown": State(nodes=("good", "busy"), spec={"probe__timeouts__schedulingSeconds": 1}),
    "suspended before answers": State(spec={"suspend": True}),
    "suspended after answers": State(after=change(suspend=True)),
    "changed while suspended": State(
        nodes=("good", "busy"),
        spec={"probe__timeouts__schedulingSeconds": 1},
        after=change(suspend=True, image=OTHER_IMAGE),
    ),
    "no nodes": State(nodes=()),
    "labels refused": State(nodes=("guarded",), before=refuse_label),
    "mass change": State(nodes=("rolled 1", "rolled 2", "rolled 3"), after=roll_out),
    "result refused": State(before=refuse_results),
    "status refused": State(before=refuse_details),
    "not published": State(spec={"publish__nodeLabel": "None"}),
    "being deleted": State(finalizers=(KEPT,), after=delete),
}
REPORTS = {
    "compatible": ("all compatible", "good"),
    "degraded": ("mixed", "slow"),
    "incompatible": ("mixed", "broken"),
    "GPUs in use": ("unknown", "busy"),
    "stale": ("changed while suspended", "good"),
    "not validated": ("changed while suspended", "busy"),
    "refused": ("result refused", "good"),
}
"""For each state of a report, the state of its environment and its node."""


def name_of(state: str) -> str:
    """Return the name of the environment in a state."""
    return state.replace(" ", "-")


def environments(plane: ControlPlane) -> dict[str, Object]:
    """Return the environments by state, as the API server has stored them."""
    by_name = {one["metadata"]["name"]: one for one in plane.admin.get(ENVIRONMENTS)["items"]}
    return {state: by_name[name_of(state)] for state in STATES if name_of(state) in by_name}


@dataclass(frozen=True)
class Reached:
    """The objects by state. Nothing changes them any more, because the operator has ended."""

    plane: ControlPlane
    environments: Mapping[str, Object]
    reports: Mapping[str, Object]


async def reach_all(plane: ControlPlane, is_reached: Callable[[str, Object], bool]) -> Reached:
    """Bring an environment into each state, end the operator, and return all objects.

    ``is_reached`` returns whether an environment is in a state. If it never is, it is returned as it was last.
    """
    async with nodes(plane, *(T4 | special for special in NODES.values())) as (_, generated):
        found = dict(zip(NODES, generated, strict=True))
        with operator(plane) as running:
            await asyncio.to_thread(_create, plane, RUNNING, found)
            # Only one probe at a time runs on a node, so that of "accepted" cannot start any more.
            await wait_until_async(lambda: probe_pods(plane, RUNNING), running.tail)
            others = [state for state in STATES if state not in (FRESH, RUNNING)]
            await asyncio.gather(*(asyncio.to_thread(_enter, plane, state, found) for state in others))

            async def all_reached() -> bool:
                now = await asyncio.to_thread(environments, plane)
                return all(is_reached(state, one) for state, one in now.items())

            with suppress(AssertionError):  # the caller compares each object, and says which one differs
                await wait_until_async(all_reached)
        _create(plane, FRESH, found)
        return Reached(
            plane,
            environments(plane),
            {key: report(plane, name_of(state), found[node]) for key, (state, node) in REPORTS.items()},
        )


def _enter(plane: ControlPlane, state: str, found: Mapping[str, str]) -> None:
    """Create the environment of a state, and take the steps that lead there."""
    steps, name = STATES[state], name_of(state)
    if steps.before is not None:
        steps.before(plane, name)
    _create(plane, state, found)
    if steps.after is not None:
        Kubectl(plane)("wait", "--for=condition=Ready", PATIENTLY, f"genv/{name}")
        steps.after(plane, name)


def _create(plane: ControlPlane, state: str, found: Mapping[str, str]) -> None:
    """Create the environment of a state. ``found`` has the names of the nodes that were generated for NODES."""
    steps = STATES[state]
    chosen = [found[one] for one in steps.nodes] or ["no-such-node"]
    selected = {"key": "kubernetes.io/hostname", "operator": "In", "values": chosen}
    body = builders.environment(
        name_of(state),
        metadata={"finalizers": list(steps.finalizers)},
        nodes__selector={"matchExpressions": [selected]},
        **steps.spec,
    )
    plane.admin.create(ENVIRONMENTS, body)
