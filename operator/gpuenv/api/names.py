"""Every name that gpuenv writes into a cluster. They are API: there is no conversion webhook, so they stay.

Limits: a label value and the name part of a label key hold 63 characters, a label prefix 253; a node name
may be 253 long (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/).
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

FINALIZER: Final = f"{GROUP}/cleanup"

COMPAT_PREFIX: Final = f"compat.{GROUP}"
"""Prefix of the node label and of the opt-in node condition: ``compat.gpuenv.dev/<environment>``."""

LABEL_ENVIRONMENT: Final = f"{GROUP}/environment"
"""On probe pods and reports: the environment they belong to."""
LABEL_NODE: Final = f"{GROUP}/node"
"""On probe pods and reports: the node, shortened with a hash where its name exceeds 63 characters."""
LABEL_COMPONENT: Final = f"{GROUP}/component"
COMPONENT_PROBE: Final = "probe"

ANNOTATION_NODE: Final = f"{GROUP}/node-name"
ANNOTATION_RUN: Final = f"{GROUP}/run-id"
ANNOTATION_INPUTS: Final = f"{GROUP}/inputs-hash"
ANNOTATION_FINGERPRINT: Final = f"{GROUP}/node-fingerprint"
ANNOTATION_REVALIDATE: Final = f"{GROUP}/revalidate"
"""On an environment or a report: any new value asks for a new run; the value seen is stored."""
ANNOTATION_SKIP: Final = f"{GROUP}/skip"
"""On a node: any value other than "false" keeps gpuenv's probes away."""

FACTS_CONTAINER: Final = "facts"
KERNELS_CONTAINER: Final = "kernels"

MAX_ENVIRONMENT_NAME: Final = 50


def shorten(text: str, limit: int = 63) -> str:
    """``text`` itself, or its head with a stable hash, never longer than ``limit`` and valid as a label value."""
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f"{text[: limit - 11].rstrip('.-_')}-{digest}"


def node_label(environment: str) -> str:
    """Key of the node label, and type of the node condition, of ``environment``."""
    return f"{COMPAT_PREFIX}/{environment}"


def report_name(environment: str, node: str) -> str:
    """Name of the GPUNodeReport of one (environment, node); environments carry no dots, so it is unambiguous."""
    return f"{environment}.{shorten(node, 253 - len(environment) - 1)}"


def pod_name(environment: str, node: str, run_id: str) -> str:
    """Name of a probe pod. The run id makes every attempt a name of its own: a pod that still terminates is no conflict."""
    head = shorten(f"{environment}-{node}".replace(".", "-"), 63 - len(run_id) - 1)
    return f"{head}-{run_id}"
