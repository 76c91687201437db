"""Explain why the API server rejected a probe pod, and what the user can do about it.

The API server answers with 403 if a class or a permission is missing, if Pod Security refuses the pod, or if a quota is
exceeded. Only the text of the response distinguishes these cases.
"""

import re
from typing import Final

from gpuenv.api.reasons import ProbeRejected
from gpuenv.plan.actions import CreatePod
from gpuenv.plan.snapshot import Attempt, Rejection

MESSAGE_CHARACTERS: Final = 500

_REMEDIATIONS: Final[dict[str, str]] = {
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
"""A regular expression for the message with which the API server rejects a pod -> the remediation.

The first expression that matches a part of the message counts.
"""
_ELSE: Final = "Change spec.probe so that the cluster accepts the pod; the message is the API server's own."
"""The remediation for a rejected pod if the message of the API server is none of the known ones."""


def rejected(action: CreatePod, message: str, at: float) -> Rejection:
    """Return the run whose pod the API server rejected, with the reason, for the next plan.

    ``message`` is the API server's error message, and ``at`` is when it came, in epoch seconds.
    """
    attempt = Attempt(
        run_id=action.run_id,
        reason=ProbeRejected,
        message=message[:MESSAGE_CHARACTERS],
        remediation=_remediation(message),
        at=at,
        inputs_hash=action.inputs_hash,
        fingerprint=action.fingerprint,
        count=1,
    )
    return Rejection(attempt, action.demand)


def _remediation(message: str) -> str:
    return next((text for pattern, text in _REMEDIATIONS.items() if re.search(pattern, message)), _ELSE)
