"""Finds out why the API server rejected a probe pod, and what the user can do about it.

The API server answers with 403 if a class or a permission is missing, if Pod Security refuses the pod, or if a quota is
exceeded. Only the text of the response distinguishes these cases.
"""

import re
from typing import Final

from gpuenv.api.reasons import ProbeRejected
from gpuenv.controller.kube.client import ApiError
from gpuenv.plan.actions import CreatePod
from gpuenv.plan.snapshot import Attempt

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


def is_rejection(error: ApiError) -> bool:
    """Return whether the API server rejected the pod itself. Conflicts, bad credentials and overload do not count."""
    return 400 <= error.status < 500 and error.status not in {401, 409} and not error.transient


def blames_pod(error: ApiError) -> bool:
    """Return whether an error counts as a rejection of the pod if it occurs twice in a row.

    A status of 5xx may pass, but may also come from a webhook that is down for long. If two in a row did not count, the
    planner would choose the same node forever, and no node report would say why.
    """
    return error.status >= 500


def attempt_of(action: CreatePod, error: ApiError, now: float) -> Attempt:
    """Return an Attempt that says why the API server rejected a pod. The planner writes it into the node report."""
    return Attempt(
        run_id=action.run_id,
        reason=ProbeRejected,
        message=error.message[:MESSAGE_CHARACTERS],
        remediation=_remediation(error.message),
        at=now,
        inputs_hash=action.inputs_hash,
        fingerprint=action.fingerprint,
        count=1,
    )


def _remediation(message: str) -> str:
    return next((text for pattern, text in _REMEDIATIONS.items() if re.search(pattern, message)), _ELSE)
