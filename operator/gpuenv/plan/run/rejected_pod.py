"""Explain why the API server rejected a probe pod, and what the user can do about it.

The API server answers with 403 if a class or a permission is missing, if Pod Security refuses the pod, or if a quota is
exceeded. Only the text of the response distinguishes these cases.
"""

import re
from typing import Final

from gpuenv.api.foreign_text import one_line
from gpuenv.api.reasons import ProbeRejected
from gpuenv.api.remedies import Action, Remedy
from gpuenv.plan.actions import CreatePod
from gpuenv.plan.snapshot import Attempt, Rejection

MESSAGE_CHARACTERS: Final = 500

_REMEDIES: Final[dict[str, Remedy]] = {
    r"no PriorityClass with name": Remedy(
        Action.ALLOW_PROBE,
        "Create that PriorityClass (the chart brings gpuenv-probe), or name an existing one in spec.probe.priorityClassName.",
    ),
    r"RuntimeClass": Remedy(
        Action.ALLOW_PROBE,
        "Create that RuntimeClass, or name an existing one in spec.probe.runtimeClassName.",
    ),
    r"violates PodSecurity": Remedy(
        Action.CHANGE_ENVIRONMENT,
        "Keep to runAs: NonRoot, or have the administrator lower pod-security.kubernetes.io/enforce on the probe namespace.",
    ),
    r"ValidatingAdmissionPolicy 'gpuenv-probe-pods'": Remedy(
        Action.ALLOW_PROBE,
        "Have the administrator raise that limit in the values of gpuenv's chart, or change spec.probe.",
    ),
    r"exceeded quota: gpuenv-other-priorities": Remedy(
        Action.ALLOW_PROBE,
        "Have the administrator add the PriorityClass to limits.priorityClassNames of gpuenv's chart, or name another.",
    ),
    r"exceeded quota": Remedy(
        Action.ALLOW_PROBE, "Raise the ResourceQuota of the probe namespace, or lower spec.probe.resources."
    ),
    r"(maximum|minimum) \w+ usage per": Remedy(
        Action.CHANGE_ENVIRONMENT, "Set spec.probe.resources within the namespace's LimitRange."
    ),
    r"is being terminated": Remedy(
        Action.ALLOW_PROBE, "The probe namespace is being deleted; create it again."
    ),
    r"namespaces .* not found": Remedy(
        Action.ALLOW_PROBE,
        "Create the probe namespace, or start the operator with another --probe-namespace.",
    ),
    r"cannot create resource .pods.": Remedy(
        Action.ALLOW_PROBE,
        "Grant the operator's service account `create` on pods in the probe namespace.",
    ),
    r"failed calling webhook": Remedy(
        Action.ALLOW_PROBE,
        "An admission webhook does not answer: repair it, or exempt the probe namespace from it.",
    ),
    r"admission webhook": Remedy(
        Action.ALLOW_PROBE,
        "An admission webhook refuses the pod: exempt the probe namespace, or adapt spec.probe.",
    ),
}
"""A regular expression for the message with which the API server rejects a pod -> the remedy.

The first expression that matches a part of the message counts.
"""
_ELSE: Final = Remedy(
    Action.CHANGE_ENVIRONMENT,
    "Change spec.probe so that the cluster accepts the pod; the message is the API server's own.",
)
"""The remedy for a rejected pod if the message of the API server is none of the known ones."""


def rejected(action: CreatePod, message: str, at: float) -> Rejection:
    """Return the run whose pod the API server rejected, with the reason, for the next plan.

    ``message`` is the API server's error message, and ``at`` is when it came, in epoch seconds.
    """
    attempt = Attempt(
        run_id=action.run_id,
        reason=ProbeRejected,
        message=one_line(message, MESSAGE_CHARACTERS),
        remedies=(_remedy(message),),
        at=at,
        inputs_hash=action.inputs_hash,
        fingerprint=action.fingerprint,
        count=1,
    )
    return Rejection(attempt, action.demand)


def _remedy(message: str) -> Remedy:
    return next((one for pattern, one in _REMEDIES.items() if re.search(pattern, message)), _ELSE)
