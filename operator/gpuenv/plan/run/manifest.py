"""Build the manifest of a probe pod, which runs the probe's zip application in the user's image with a GPU.

The pod has two containers with the same image: ``facts``, an init container, and then ``kernels``. Both request the
device. The kubelet passes the devices of an init container on to the main container, so the pod occupies no more than
one container's devices
(https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers).
"""

from typing import Any, Final

from gpuenv.api import names
from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.plan.demand import NOTHING_ASKED, Demand
from gpuenv.plan.run.resources import resources, scratch_size
from gpuenv.plan.run.variables import SCRATCH, TERMINATION_LOG, literal, variables
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import EnvironmentRecord, NodeRecord

Manifest = dict[str, Any]

MOUNT: Final = "/opt/gpuenv"
ARCHIVE: Final = f"{MOUNT}/{names.PROBE_ARCHIVE}"
PROBE_UID: Final = 65532
"""The user id under which the probe runs: "nonroot" in distroless images, and rarely used for anything else."""
GRACE_SECONDS: Final = 5
"""The grace period of a probe pod. It is short: a pod that preempts it has to wait, and a probe saves nothing."""
SLACK_SECONDS: Final = 300
"""Added to the sum of a pod's time limits to form the kubelet's deadline, which matters only if no operator runs."""


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
        "initContainers": [_container(spec, node, settings, names.FACTS_CONTAINER, run_id)],
        "containers": [_container(spec, node, settings, names.KERNELS_CONTAINER, run_id)],
        "volumes": [
            {"name": "probe", "configMap": {"name": settings.config_map, "defaultMode": 0o444}},
            {"name": "tmp", "emptyDir": {"sizeLimit": scratch_size(spec, settings.limits.max_resources)}},
        ],
        **_user_namespace(spec, node, settings),
    } | {key: value for key, value in optional.items() if value}


def _user_namespace(spec: EnvironmentSpec, node: NodeRecord, settings: Settings) -> Manifest:
    """Return ``hostUsers: false`` if the pod gets a user namespace, in which its users have no rights on the node.

    On OpenShift it gets none, because the user ids of its namespaces are too large for that. The name of a RuntimeClass
    is taken for the name of its handler. If they differ, the node has no handler of this name, and the pod gets none.
    """
    wanted = settings.user_namespaces == "WhereSupported" and not settings.openshift
    supported = (spec.probe.runtime_class_name or "") in node.user_namespace_handlers
    return {"hostUsers": False} if wanted and supported else {}


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


def _container_security(spec: EnvironmentSpec) -> Manifest:
    """Return the security context of a container. Without a writable root file system, only /tmp can be written to.

    /dev/shm can be written to as well. No volume is mounted there, because container runtimes bound it already: it has
    64 MiB, which count towards the memory limit. For GPUs shared by MPS, the device plug-in mounts a directory there.
    """
    confined: Manifest = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    if spec.probe.root_filesystem == "ReadOnly":
        confined["readOnlyRootFilesystem"] = True
    return confined


def _container(
    spec: EnvironmentSpec, node: NodeRecord, settings: Settings, stage: str, run_id: str
) -> Manifest:
    probe = spec.probe
    command = [literal(probe.python or "python3"), ARCHIVE, stage]
    return {
        "name": stage,
        "image": spec.image,
        "imagePullPolicy": spec.image_pull_policy,
        "args" if probe.use_entrypoint else "command": command,
        "env": variables(spec, node, run_id),
        "resources": resources(spec, settings.limits.max_resources),
        "securityContext": _container_security(spec),
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "probe", "mountPath": MOUNT, "readOnly": True},
            {"name": "tmp", "mountPath": SCRATCH},
        ],
    }
