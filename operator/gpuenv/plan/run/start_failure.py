"""Explain why a container does not start, from the kubelet's reason and the container runtime's message."""

import re
from typing import Final

from gpuenv.api import reasons
from gpuenv.api.foreign_text import one_line
from gpuenv.plan.run.outcome import Ended, Outcome, attempt
from gpuenv.plan.snapshot import ContainerRecord

_PULL: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
"""The kubelet's reasons for an image that cannot be pulled.

https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/images/types.go
"""
_CONFIG: Final = frozenset({"CreateContainerConfigError", "PreCreateHookError", "PreStartHookError"})
START: Final = frozenset({"StartError", "ContainerCannotRun", "RunContainerError", "CreateContainerError"})
_OTHER_PLATFORM: Final = ("no match for platform", "no matching manifest", "exec format error")
_EXEC_FAILED: Final = re.compile(
    r'exec: "|executable file|exec failed|starting container process caused', re.I
)
_HOOK: Final = re.compile(r"nvidia-container|hook|cdi", re.I)


def waiting(container: ContainerRecord) -> Ended | None:
    """Return the outcome that explains why a waiting container will not start; None while it may still start."""
    reason, words = container.waiting_reason, container.waiting_message
    if reason in _PULL:
        if _is_for_others(words):
            return attempt(reasons.ImageArchMismatch, one_line(words, 500))
        return attempt(reasons.ImagePullFailed, f"{reason}: {one_line(words, 500)}")
    if reason in _CONFIG:
        return attempt(reasons.SandboxFailed, f"{reason}: {one_line(words, 500)}")
    if reason in START:
        return start_error(reason, words)
    return None


def in_user_namespace(outcome: Outcome) -> Outcome:
    """Return the outcome of a pod that has a user namespace of its own, and could not be set up because of it.

    Error messages of container runtimes are not conclusive there. So they never lead to a verdict about the image.
    """
    if not isinstance(outcome, Ended) or outcome.reason != reasons.SandboxFailed:
        return outcome
    words = f"the probe pod, which has a user namespace (hostUsers: false), could not be set up: {outcome.message}"
    return attempt(reasons.UserNamespaceFailed, words)


def start_error(reason: str, words: str) -> Ended:
    """Return the outcome that explains why the container runtime could not start the container.

    The image is for another platform, its Python interpreter is missing or may not be executed, or the node is at
    fault.
    """
    shown = one_line(words, 500)
    if _is_for_others(words):
        return attempt(reasons.ImageArchMismatch, shown)
    if _EXEC_FAILED.search(words) and not _HOOK.search(words):
        lowered = words.lower()
        if "permission denied" in lowered:
            return Ended(reasons.PythonUnreadable, shown)
        if "no such file or directory" in lowered or "not found" in lowered:
            return Ended(reasons.PythonMissing, shown)
    return attempt(reasons.SandboxFailed, f"{reason}: {shown}", runtime_error=words[:4000])


def _is_for_others(words: str) -> bool:
    return any(sign in words for sign in _OTHER_PLATFORM)
