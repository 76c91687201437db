"""Convert API objects into records. A malformed object gives a record with default values, never an exception."""

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

from gpuenv.api import names
from gpuenv.api.spec.environment import EnvironmentSpec, expectations_hash, inputs_hash
from gpuenv.api.spec.environment_parser import SpecError, parse
from gpuenv.api.tolerant import EMPTY, count, integer, mapping, mappings, text, texts
from gpuenv.assess.sources import node_labels
from gpuenv.plan.demand import Demand
from gpuenv.plan.objects.holds import hold
from gpuenv.plan.objects.node_report import read
from gpuenv.plan.objects.times import read_time
from gpuenv.plan.snapshot import ContainerRecord, EnvironmentRecord, NodeRecord, PodRecord, ReportRecord

Raw = Mapping[str, Any]
T = TypeVar("T")
_NATIVE = names.NATIVE_RESOURCES | {"pods"}


def environment_record(raw: Raw) -> EnvironmentRecord:
    """Return the record of a GPUEnvironment. If its specification is invalid, ``spec`` is None."""
    metadata = mapping(raw, "metadata")
    spec: EnvironmentSpec | None = None
    error = ""
    try:
        spec = parse(raw.get("spec"))
    except SpecError as refused:
        error = str(refused)
    finalizers = metadata.get("finalizers")
    return EnvironmentRecord(
        name=text(metadata.get("name")),
        uid=text(metadata.get("uid")),
        generation=integer(metadata.get("generation")) or 0,
        spec=spec,
        spec_error=error,
        inputs_hash=inputs_hash(spec) if spec else "",
        expectations_hash=expectations_hash(spec) if spec else "",
        revalidate=text(mapping(metadata, "annotations").get(names.ANNOTATION_REVALIDATE)),
        accept_change=text(mapping(metadata, "annotations").get(names.ANNOTATION_ACCEPT_CHANGE)),
        deleting=bool(metadata.get("deletionTimestamp")),
        finalized=isinstance(finalizers, list) and names.FINALIZER in finalizers,
        created_at=read_time(metadata.get("creationTimestamp")) or 0.0,
        status=dict(mapping(raw, "status")),
    )


def node_record(raw: Raw) -> NodeRecord:
    """Return the record of a Node, including the facts about its GPUs that its labels contain."""
    metadata, status = mapping(raw, "metadata"), mapping(raw, "status")
    name, uid = text(metadata.get("name")), text(metadata.get("uid"))
    labels = texts(metadata.get("labels"))
    foreign = {key: value for key, value in labels.items() if not _is_own(key)}
    capacity, allocatable = mapping(status, "capacity"), mapping(status, "allocatable")
    facts = node_labels.node_facts(name, foreign, texts(capacity))
    listed = {text(item.get("type")): item for item in mappings(status.get("conditions"))}
    conditions = {name: text(item.get("status")) for name, item in listed.items()}
    with_reasons = {
        name: (text(item.get("status")), text(item.get("reason"))) for name, item in listed.items()
    }
    boot_id = text(mapping(status, "nodeInfo").get("bootID"))
    return NodeRecord(
        name=name,
        uid=uid,
        labels=foreign,
        devices={
            resource: (count(amount), count(allocatable.get(resource)))
            for resource, amount in capacity.items()
            if resource not in _NATIVE and not resource.startswith("hugepages-")
        },
        gpu_labels=node_labels.has_gpu_labels(foreign),
        facts=facts,
        boot_id=boot_id,
        fingerprint=fingerprint(uid, boot_id, facts.driver_version or ""),
        ready=conditions.get("Ready") == "True",
        hold=hold(raw, foreign, conditions),
        taints=tuple(texts(taint) for taint in mappings(mapping(raw, "spec").get("taints"))),
        user_namespace_handlers=frozenset(
            text(handler.get("name"))
            for handler in mappings(status.get("runtimeHandlers"))
            if mapping(handler, "features").get("userNamespaces") is True
        ),
        compat=_compat(labels),
        compat_conditions=_compat(with_reasons),
    )


def _is_own(key: str) -> bool:
    """Return whether a label belongs to gpuenv. The label gpuenv.dev/skip does not: people set it."""
    prefix = key.partition("/")[0]
    return key != names.LABEL_SKIP and (prefix == names.GROUP or prefix.endswith(f".{names.GROUP}"))


def _compat(entries: Mapping[str, T]) -> dict[str, T]:
    start = f"{names.COMPAT_PREFIX}/"
    return {key.removeprefix(start): value for key, value in entries.items() if key.startswith(start)}


def fingerprint(uid: str, boot_id: str, driver: str) -> str:
    """Return the fingerprint of a node: a digest of uid and boot id, a dot, and a digest of the driver version.

    If ``driver`` is "", nothing follows the dot.
    """
    return f"{digest(uid, boot_id)}.{digest(driver) if driver else ''}"


def digest(*parts: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of several texts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def pod_record(raw: Raw, *, vanished: bool = False) -> PodRecord:
    """Return the record of a probe pod. ``vanished``: the pod no longer exists, and ``raw`` is its last state."""
    metadata, status = mapping(raw, "metadata"), mapping(raw, "status")
    labels, annotations = texts(metadata.get("labels")), texts(metadata.get("annotations"))
    conditions = {text(item.get("type")): item for item in mappings(status.get("conditions"))}
    scheduled = conditions.get("PodScheduled", EMPTY)
    is_scheduled = scheduled.get("status") == "True"
    containers = _containers(status)
    return PodRecord(
        name=text(metadata.get("name")),
        uid=text(metadata.get("uid")),
        environment=labels.get(names.LABEL_ENVIRONMENT, ""),
        node=annotations.get(names.ANNOTATION_NODE) or text(mapping(raw, "spec").get("nodeName")),
        run_id=annotations.get(names.ANNOTATION_RUN, ""),
        inputs_hash=annotations.get(names.ANNOTATION_INPUTS, ""),
        fingerprint=annotations.get(names.ANNOTATION_FINGERPRINT, ""),
        created_at=read_time(metadata.get("creationTimestamp")) or 0.0,
        demand=Demand(
            annotations.get(names.ANNOTATION_ENVIRONMENT_REVALIDATE, ""),
            annotations.get(names.ANNOTATION_REVALIDATE, ""),
        ),
        phase=text(status.get("phase")) or "Pending",
        reason=text(status.get("reason")),
        message=text(status.get("message")),
        deleting_since=read_time(metadata.get("deletionTimestamp")),
        deletion_grace=float(integer(metadata.get("deletionGracePeriodSeconds")) or 0),
        vanished=vanished,
        scheduled_at=read_time(scheduled.get("lastTransitionTime")) if is_scheduled else None,
        accepted_at=read_time(status.get("startTime")),
        scheduling_reason="" if is_scheduled else text(scheduled.get("reason")),
        scheduling_message="" if is_scheduled else text(scheduled.get("message")),
        sandbox_ready_at=_true_since(conditions.get("PodReadyToStartContainers", EMPTY)),
        has_sandbox_condition="PodReadyToStartContainers" in conditions or not containers,
        disruption=_disruption(conditions.get("DisruptionTarget", EMPTY)),
        facts=_container(containers.get(names.FACTS_CONTAINER, EMPTY)),
        kernels=_container(containers.get(names.KERNELS_CONTAINER, EMPTY)),
        image_id=_image_id(containers),
        devices=_devices(mapping(raw, "spec")),
        user_namespace=mapping(raw, "spec").get("hostUsers") is False,
    )


def _devices(spec: Raw) -> int:
    """Return how many extended resources, which are GPUs, a pod holds: its containers run one after another."""
    containers = [*mappings(spec.get("initContainers")), *mappings(spec.get("containers"))]
    limits = (mapping(container, "resources", "limits") for container in containers)
    return max(
        (sum(count(amount) for name, amount in one.items() if "/" in name) for one in limits), default=0
    )


def _true_since(condition: Raw) -> float | None:
    return read_time(condition.get("lastTransitionTime")) if condition.get("status") == "True" else None


def _disruption(condition: Raw) -> str:
    return text(condition.get("reason")) if condition.get("status") == "True" else ""


def _containers(status: Raw) -> dict[str, Raw]:
    listed = [*mappings(status.get("initContainerStatuses")), *mappings(status.get("containerStatuses"))]
    return {text(item.get("name")): item for item in listed}


def _image_id(containers: Mapping[str, Raw]) -> str:
    order = (names.KERNELS_CONTAINER, names.FACTS_CONTAINER)
    return next((found for name in order if (found := text(containers.get(name, EMPTY).get("imageID")))), "")


def _container(status: Raw) -> ContainerRecord:
    waiting, running = mapping(status, "state", "waiting"), mapping(status, "state", "running")
    ended = mapping(status, "state", "terminated")
    signal = integer(ended.get("signal"))
    return ContainerRecord(
        waiting_reason=text(waiting.get("reason")),
        waiting_message=text(waiting.get("message")),
        started_at=read_time(running.get("startedAt")) or read_time(ended.get("startedAt")),
        exit_code=integer(ended.get("exitCode")),
        signal=signal or None,
        reason=text(ended.get("reason")),
        message=text(ended.get("message")),
        finished_at=read_time(ended.get("finishedAt")),
    )


def report_record(raw: Raw) -> ReportRecord:
    """Return the record of a GPUNodeReport."""
    return read(raw)
