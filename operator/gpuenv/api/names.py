"""Every name that gpuenv writes into a cluster.

Other people's manifests and scripts refer to these names, and no webhook converts old ones, so they do not change.
Kubernetes allows 63 characters in a label value and after the slash of a label key, 253 before the slash, and 253
in the name of a node (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/).
"""

import hashlib
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
"""PriorityClass of the probe pods, which preempts no other pod."""

FINALIZER: Final = f"{GROUP}/cleanup"

COMPAT_PREFIX: Final = f"compat.{GROUP}"
"""Prefix of the node label and of the opt-in node condition: ``compat.gpuenv.dev/<environment>``."""

LABEL_ENVIRONMENT: Final = f"{GROUP}/environment"
"""Label of probe pods and reports: the environment that they belong to."""
LABEL_NODE: Final = f"{GROUP}/node"
"""Label of probe pods and reports: the node. A name of more than 63 characters is shortened and gets a hash."""
LABEL_COMPONENT: Final = f"{GROUP}/component"
COMPONENT_PROBE: Final = "probe"

ANNOTATION_NODE: Final = f"{GROUP}/node-name"
ANNOTATION_RUN: Final = f"{GROUP}/run-id"
ANNOTATION_INPUTS: Final = f"{GROUP}/inputs-hash"
ANNOTATION_FINGERPRINT: Final = f"{GROUP}/node-fingerprint"
ANNOTATION_REVALIDATE: Final = f"{GROUP}/revalidate"
"""Annotation of an environment or a report: a new value asks for a new run. The answered value is in the status."""
ANNOTATION_SKIP: Final = f"{GROUP}/skip"
"""Annotation of a node: any value but "false" keeps probes off the node."""

FACTS_CONTAINER: Final = "facts"
KERNELS_CONTAINER: Final = "kernels"

MAX_ENVIRONMENT_NAME: Final = 50


def shorten(text: str, limit: int = 63) -> str:
    """Return the text itself, or its beginning and a hash of the whole, within ``limit`` and valid as a label value."""
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f"{text[: limit - 11].rstrip('.-_')}-{digest}"


def node_label(environment: str) -> str:
    """Return the key of the node label of an environment, which is also the type of its node condition."""
    return f"{COMPAT_PREFIX}/{environment}"


def report_name(environment: str, node: str) -> str:
    """Return the name of the GPUNodeReport of an environment on a node.

    The name of an environment has no dot, so two reports never have the same name.
    """
    return f"{environment}.{shorten(node, 253 - len(environment) - 1)}"


def pod_name(environment: str, node: str, run_id: str) -> str:
    """Return the name of a probe pod.

    It ends in the run id, so that a new run never has to wait until the pod of an earlier one is gone.
    """
    head = shorten(f"{environment}-{node}".replace(".", "-"), 63 - len(run_id) - 1)
    return f"{head}-{run_id}"
