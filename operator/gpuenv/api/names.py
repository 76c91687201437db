"""All names that gpuenv writes into a cluster: its API group, labels, annotations, and names of objects.

These names must not change: manifests and scripts of users refer to them, and no webhook converts old names.
Kubernetes allows 63 characters in a label value and after the slash of a label key, 253 before the slash, and 253
in the name of a node (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/).
"""

from typing import Final

GROUP: Final = "gpuenv.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

ENVIRONMENT_KIND: Final = "GPUEnvironment"
ENVIRONMENT_PLURAL: Final = "gpuenvironments"
REPORT_KIND: Final = "GPUNodeReport"
REPORT_PLURAL: Final = "gpunodereports"

OPERATOR: Final = "gpuenv-operator"
"""Name of the operator's Deployment, service account, roles and Lease, and of the source of its Events."""
OPERATOR_NAMESPACE: Final = "gpuenv-system"
"""Namespace of the operator, unless the installation names another one."""
PROBE_NAMESPACE: Final = "gpuenv-probes"
"""Namespace of the probe pods, unless the installation names another one."""
PROBE_PRIORITY_CLASS: Final = "gpuenv-probe"
"""PriorityClass of the probe pods. It does not let them preempt other pods."""

FINALIZER: Final = f"{GROUP}/cleanup"

COMPAT_PREFIX: Final = f"compat.{GROUP}"
"""Prefix of the node label and of the opt-in node condition: ``compat.gpuenv.dev/<environment>``."""

LABEL_ENVIRONMENT: Final = f"{GROUP}/environment"
"""Label of probe pods and node reports. Its value is the name of the environment that they belong to."""
LABEL_NODE: Final = f"{GROUP}/node"
"""Label of probe pods and node reports. Its value is the name of the node, shortened by :func:`shorten`."""
LABEL_SKIP: Final = f"{GROUP}/skip"
"""Label of a node. Any value except "false" keeps probe pods off the node. People set it; gpuenv only reads it."""
LABEL_COMPONENT: Final = f"{GROUP}/component"
COMPONENT_PROBE: Final = "probe"

ANNOTATION_NODE: Final = f"{GROUP}/node-name"
ANNOTATION_RUN: Final = f"{GROUP}/run-id"
ANNOTATION_INPUTS: Final = f"{GROUP}/inputs-hash"
ANNOTATION_FINGERPRINT: Final = f"{GROUP}/node-fingerprint"
ANNOTATION_REVALIDATE: Final = f"{GROUP}/revalidate"
"""Annotation of an environment or a node report. A new value requests new runs on its nodes.

When these runs have ended, the operator copies the value into ``status.observedRevalidate`` of the same object. A probe
pod carries the value of its node report that its run takes into account.
"""
ANNOTATION_ACCEPT_CHANGE: Final = f"{GROUP}/accept-change"
"""Annotation of an environment: the id of the mass change (``status.massChange.id``) that may happen."""
ANNOTATION_ENVIRONMENT_REVALIDATE: Final = f"{GROUP}/environment-revalidate"
"""Annotation of probe pods: a digest of the environment's revalidate annotation that the run takes into account."""

FACTS_CONTAINER: Final = "facts"
KERNELS_CONTAINER: Final = "kernels"
PROBE_ARCHIVE: Final = "gpuenv-probe.pyz"
"""Name of the file that holds the probe as a zip application, and its key in the ConfigMap."""

NATIVE_RESOURCES: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
"""What a container can request besides devices and huge pages. Only of these, it may request less than its limit."""
COMMANDS_VARIABLE: Final = "GPUENV_CHECKS"
"""The variable from which the probe reads the command checks."""

MAX_ENVIRONMENT_NAME: Final = 50


def shorten(text: str, limit: int = 63) -> str:
    """Return a text of at most ``limit`` characters: ``text`` itself, or its beginning and a hash of all of it.

    The returned text is a valid label value if all characters of ``text`` may occur in a label value.
    """
    if len(text) <= limit:
        return text
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which gpuenv explain never needs

    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f"{text[: limit - 11].rstrip('.-_')}-{digest}"


def node_label(environment: str) -> str:
    """Return the key of the node label of an environment. It is also the type of the node condition."""
    return f"{COMPAT_PREFIX}/{environment}"


def accept_command(environment: str, change: str) -> str:
    """Return the command that lets the mass change with the id ``change`` happen."""
    return f"kubectl annotate --overwrite genv/{environment} {ANNOTATION_ACCEPT_CHANGE}={change}"


def report_name(environment: str, node: str) -> str:
    """Return the name of the GPUNodeReport of an environment on a node.

    The name of an environment contains no dot, so two node reports never have the same name. An object of another name
    for the same environment and node is ignored, whoever created it.
    """
    return f"{environment}.{shorten(node, 253 - len(environment) - 1)}"


def pod_name(environment: str, node: str, run_id: str) -> str:
    """Return the name of a probe pod.

    The name ends with the run id, so that a new run does not have to wait until the pod of an earlier run is deleted.
    """
    head = shorten(f"{environment}-{node}".replace(".", "-"), 63 - len(run_id) - 1)
    return f"{head}-{run_id}"
