"""Build the manifest of a probe pod, which runs the probe's zip application in the user's image with a GPU.

The pod has two containers with the same image: ``facts``, an init container, and then ``kernels``. Both request the
device. The kubelet passes the devices of an init container on to the main container, so the pod occupies no more than
one container's devices
(https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers).
"""

import json
from typing import Any, Final

from gpuenv.api import names
from gpuenv.api.environment import EnvironmentSpec
from gpuenv.api.environment_parser import quantity
from gpuenv.plan.demand import NOTHING_ASKED, Demand
from gpuenv.plan.snapshot import EnvironmentRecord, NodeRecord, Settings

Manifest = dict[str, Any]

MOUNT: Final = "/opt/gpuenv"
ARCHIVE: Final = f"{MOUNT}/{names.PROBE_ARCHIVE}"
TERMINATION_LOG: Final = "/dev/termination-log"
PROBE_UID: Final = 65532
"""The user id under which the probe runs: "nonroot" in distroless images, and rarely used for anything else."""
GRACE_SECONDS: Final = 5
"""The grace period of a probe pod. It is short: a pod that preempts it has to wait, and a probe saves nothing."""
SLACK_SECONDS: Final = 300
"""Added to the sum of a pod's time limits to form the kubelet's deadline, which matters only if no operator runs."""
_REQUESTS: Final = {"cpu": "100m", "memory": "256Mi"}
"""The pod's requests. They are small, so that CPU and memory rarely keep it off a node whose GPUs are free."""
_MEMORY: Final = "8Gi"
_MEMORY_COMPILE: Final = "16Gi"
"""The memory limit with the feature ``Compile``, because torch.compile forks compilers.

Without it, ``_MEMORY`` suffices: importing torch, CUDA and cuDNN takes 2 to 5 GiB of host memory.
"""
_SCRATCH: Final = "4Gi"


def build(
    environment: EnvironmentRecord,
    node: NodeRecord,
    settings: Settings,
    *,
    run_id: str,
    demand: Demand = NOTHING_ASKED,
) -> Manifest:
    """Return the manifest of the probe pod for one run.

    ``demand`` holds the revalidate annotations that the run takes into account. The pod carries them, so that its
    outcome counts as the answer to them and not to annotations that were changed while it ran.
    """
    spec = environment.spec
    assert spec is not None, "an environment that cannot be understood starts nothing"
    demanded = {
        names.ANNOTATION_REVALIDATE: demand.report,
        names.ANNOTATION_ENVIRONMENT_REVALIDATE: demand.environment,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": names.pod_name(environment.name, node.name, run_id),
            "namespace": settings.probe_namespace,
            "labels": _labels(environment.name, node.name, spec),
            "annotations": spec.probe.pod_annotations
            | {
                # Nothing restarts this pod, and an autoscaler would otherwise keep the node because of it.
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
                names.ANNOTATION_NODE: node.name,
                names.ANNOTATION_RUN: run_id,
                names.ANNOTATION_INPUTS: environment.inputs_hash,
                names.ANNOTATION_FINGERPRINT: node.fingerprint,
            }
            | {key: token for key, token in demanded.items() if token},
        },
        "spec": _pod_spec(spec, node, settings, run_id),
    }


def _labels(environment: str, node: str, spec: EnvironmentSpec) -> dict[str, str]:
    return spec.probe.pod_labels | {
        "app.kubernetes.io/name": "gpuenv",
        "app.kubernetes.io/component": names.COMPONENT_PROBE,
        "app.kubernetes.io/managed-by": names.OPERATOR,
        names.LABEL_COMPONENT: names.COMPONENT_PROBE,
        names.LABEL_ENVIRONMENT: environment,
        names.LABEL_NODE: names.shorten(node),
    }


def _pod_spec(spec: EnvironmentSpec, node: NodeRecord, settings: Settings, run_id: str) -> Manifest:
    probe = spec.probe
    optional = {
        "runtimeClassName": probe.runtime_class_name,
        "schedulerName": probe.scheduler_name,
        "imagePullSecrets": [{"name": name} for name in spec.image_pull_secrets],
    }
    return {
        "restartPolicy": "Never",
        "affinity": _only_on(node.name),
        "tolerations": tolerations(spec),
        "priorityClassName": probe.priority_class_name or settings.probe_priority_class,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "activeDeadlineSeconds": deadline(spec),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _pod_security(spec, openshift=settings.openshift),
        "initContainers": [_container(spec, node, names.FACTS_CONTAINER, run_id)],
        "containers": [_container(spec, node, names.KERNELS_CONTAINER, run_id)],
        "volumes": [
            {"name": "probe", "configMap": {"name": settings.config_map, "defaultMode": 0o444}},
            {"name": "tmp", "emptyDir": {"sizeLimit": _SCRATCH}},
        ],
    } | {key: value for key, value in optional.items() if value}


def tolerations(spec: EnvironmentSpec) -> list[Manifest]:
    """Return the tolerations of a probe pod: those for taints of its device, then those of the environment."""
    return [
        *({"key": key, "operator": "Exists"} for key in spec.probe.device.taint_keys),
        *spec.probe.tolerations,
    ]


def deadline(spec: EnvironmentSpec) -> int:
    """Return ``activeDeadlineSeconds``, after which the kubelet ends the pod: the sum of all time limits and slack."""
    clocks = spec.probe.timeouts
    return clocks.scheduling + clocks.setup + clocks.pull + 2 * clocks.run + SLACK_SECONDS


def _only_on(node: str) -> Manifest:
    """Return the affinity for one node. Unlike ``nodeName``, it bypasses neither the scheduler nor its quotas."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


def _pod_security(spec: EnvironmentSpec, *, openshift: bool) -> Manifest:
    """Return a security context that satisfies the Pod Security Standard ``restricted``.

    It sets a user id, because with ``runAsNonRoot`` alone the kubelet refuses images whose user is root. On OpenShift
    it sets none: there, each namespace has its own range of user ids, and all others are refused. If ``runAs`` is
    ``Image``, the image's own user is kept, even if ``restricted`` forbids it.
    """
    seccomp = {"seccompProfile": {"type": "RuntimeDefault"}}
    if spec.probe.run_as == "Image":
        return seccomp
    if openshift:
        return seccomp | {"runAsNonRoot": True}
    return seccomp | {"runAsNonRoot": True, "runAsUser": PROBE_UID, "runAsGroup": PROBE_UID}


def _container(spec: EnvironmentSpec, node: NodeRecord, stage: str, run_id: str) -> Manifest:
    probe = spec.probe
    command = [probe.python or "python3", ARCHIVE, stage]
    return {
        "name": stage,
        "image": spec.image,
        "imagePullPolicy": spec.image_pull_policy,
        "args" if probe.use_entrypoint else "command": command,
        "env": _env(spec, node, run_id),
        "resources": _resources(spec),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "probe", "mountPath": MOUNT, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a mount in the pod, not a file of ours
        ],
    }


def _env(spec: EnvironmentSpec, node: NodeRecord, run_id: str) -> list[dict[str, str]]:
    values: dict[str, str] = {}
    if spec.probe.run_as != "Image":
        # The uid has no entry in the image's passwd: without these, HOME is / and getpass.getuser() raises,
        # which torch.compile calls for the name of its cache directory.
        values |= {"HOME": "/tmp", "USER": "gpuenv"}  # noqa: S108 - the emptyDir
    values |= dict(spec.probe.env)
    values |= {
        "GPUENV_RUN": run_id,
        "GPUENV_TERMINATION_LOG": TERMINATION_LOG,
        "GPUENV_DEADLINE_SECONDS": str(spec.probe.timeouts.run),
        "GPUENV_PROFILE": spec.profile,
        "GPUENV_SHARING": node.facts.sharing or "",
        "GPUENV_COMPILE": "1" if spec.checks.compile else "0",
        "GPUENV_IMPORTS": json.dumps(spec.checks.imports),
        "GPUENV_CHECKS": _literal(
            json.dumps(
                [
                    {"name": check.name, "command": check.command, "timeoutSeconds": check.timeout_seconds}
                    for check in spec.checks.commands
                ]
            )
        ),
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def _literal(value: str) -> str:
    """Return a value escaped so that the kubelet does not replace ``$(NAME)`` in it with the value of a variable.

    https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
    """
    return value.replace("$", "$$")


def _resources(spec: EnvironmentSpec) -> Manifest:
    probe = spec.probe
    device = {probe.device.resource_name: str(probe.device_count)}
    asked = probe.resources.get("limits", {})
    limits = {"memory": _MEMORY_COMPILE if spec.checks.compile else _MEMORY} | asked
    # A request above its limit would make the pod invalid.
    requests = {
        name: asked[name] if _less(asked.get(name), least) else least for name, least in _REQUESTS.items()
    }
    return {"limits": limits | device, "requests": requests | probe.resources.get("requests", {}) | device}


def _less(amount: object, default: str) -> bool:
    try:
        return _amount(str(amount)) < _amount(default)
    except ValueError:
        return False


def _amount(text: str) -> float:
    if text.endswith("m"):
        return float(text[:-1]) / 1000
    return float(text) if text.replace(".", "").isdigit() else quantity(text)
