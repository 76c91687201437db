"""A pod that the API server refuses is an answer about the cluster, never a crash: whose words, and what
cures it.

Missing classes, Pod Security, quotas and a missing permission all answer 403; the text tells them apart.
"""

import re
from typing import Final

from gpuenv.api.reasons import ProbeRejected
from gpuenv.controller.kube.client import ApiError
from gpuenv.plan.model import Attempt, CreatePod

MESSAGE_CHARACTERS: Final = 500

_CURES: Final[dict[str, str]] = {
    r"no PriorityClass with name": "Create that PriorityClass (the chart brings gpuenv-probe), or name an "
    "existing one in spec.probe.priorityClassName.",
    r"RuntimeClass": "Create that RuntimeClass, or name an existing one in spec.probe.runtimeClassName.",
    r"violates PodSecurity": "Keep to runAs: NonRoot, or have the administrator lower "
    "pod-security.kubernetes.io/enforce on the probe namespace.",
    r"exceeded quota": "Raise the ResourceQuota of the probe namespace, or lower spec.probe.resources.",
    r"(maximum|minimum) \w+ usage per": "Set spec.probe.resources within the namespace's LimitRange.",
    r"is being terminated": "The probe namespace is being deleted; create it again.",
    r"namespaces .* not found": "Create the probe namespace, or start the operator with another "
    "--probe-namespace.",
    r"cannot create resource .pods.": "Grant the operator's service account `create` on pods in the probe "
    "namespace.",
    r"failed calling webhook": "An admission webhook does not answer: repair it, or exempt the probe namespace "
    "from it.",
    r"admission webhook": "An admission webhook refuses the pod: exempt the probe namespace, or adapt "
    "spec.probe.",
}
"""Pattern in the API server's words -> cure."""
_ELSE: Final = "Change spec.probe so that the cluster accepts the pod; the message is the API server's own."


def is_rejection(error: ApiError) -> bool:
    """Whether the answer judges the pod. A conflict, bad credentials or an overload do not."""
    return 400 <= error.status < 500 and error.status not in {401, 409} and not error.transient


def blames_pod(error: ApiError) -> bool:
    """Whether an answer that may be chance (a webhook that is down, a fault of the server's) judges the pod when it
    comes twice in a row. Otherwise the same node would be chosen for ever, and no report would say why.
    """
    return error.status >= 500


def attempt_of(action: CreatePod, error: ApiError, now: float) -> Attempt:
    """The refusal as an attempt; the planner counts it."""
    return Attempt(
        run_id=action.run_id,
        reason=ProbeRejected,
        message=error.message[:MESSAGE_CHARACTERS],
        remediation=_cure(error.message),
        at=now,
        inputs_hash=action.inputs_hash,
        fingerprint=action.fingerprint,
        count=1,
    )


def _cure(message: str) -> str:
    return next((cure for pattern, cure in _CURES.items() if re.search(pattern, message)), _ELSE)
