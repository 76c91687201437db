"""Probe pods as gpuenv makes them, and changed ones as only a stolen token or an administrator would make."""

import copy
from dataclasses import replace
from typing import Any

from tests.support import builders

from gpuenv.api.names import PROBE_NAMESPACE
from gpuenv.plan.objects import records
from gpuenv.plan.run import manifest
from gpuenv.plan.run.ended_pod import TERMINAL
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import FirstSeen, PodRecord

Raw = dict[str, Any]


def built(
    name: str = "pt", namespace: str = PROBE_NAMESPACE, settings: Raw | None = None, **spec: Any
) -> Raw:
    """Return the probe pod of an environment with this specification."""
    environment = records.environment_record(builders.environment(name, **spec))
    node = builders.node()
    node["status"]["runtimeHandlers"] = [{"name": "", "features": {"userNamespaces": True}}]
    made = Settings(config_map="gpuenv-probe-0123456789", probe_namespace=namespace, **(settings or {}))
    return manifest.build(environment, records.node_record(node), made, run_id="0123456789")


def seen_as_stamped(pod: PodRecord) -> PodRecord:
    """Return the record of a pod of which an operator has seen each state when it began, by a clock as all others."""
    finished = max(pod.facts.finished_at or 0.0, pod.kernels.finished_at or 0.0)
    deleting = None if pod.deleting_since is None else pod.deleting_since - pod.deletion_grace
    is_over = pod.vanished or pod.phase in TERMINAL
    return replace(
        pod,
        seen=FirstSeen(
            created=pod.created_at,
            scheduled=pod.scheduled_at,
            sandbox_ready=pod.sandbox_ready_at,
            facts_started=pod.facts.started_at,
            facts_finished=pod.facts.finished_at,
            kernels_started=pod.kernels.started_at,
            deleting=deleting,
            over=finished if is_over else None,
            ended_first=pod.phase in TERMINAL and (deleting is None or finished < deleting),
        ),
    )


def changed(pod: Raw, path: tuple[Any, ...], value: Any) -> Raw:
    """Return a copy of a pod with another value at a path.

    None removes the key. As the value of the containers, a number repeats the first container.
    """
    pod = copy.deepcopy(pod)
    *parents, last = path
    target: Any = pod
    for parent in parents:
        target = target[parent]
    if path == ("spec", "containers"):
        value = [target["containers"][0] | {"name": f"c{number}"} for number in range(value)]
    if value is None:
        del target[last]
    else:
        target[last] = value
    for kind in ("limits", "requests"):  # extended resources are requested as they are limited
        resources = pod["spec"]["containers"][0]["resources"]
        extended = {name: amount for name, amount in resources["limits"].items() if "/" in name}
        resources[kind] = {n: a for n, a in resources[kind].items() if n in resources["limits"]} | extended
    return pod
