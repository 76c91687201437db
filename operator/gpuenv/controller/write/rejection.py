"""Tells rejections of a probe pod from other errors of the API server, by the HTTP status."""

from gpuenv.controller.kube.errors import ApiError


def is_rejection(error: ApiError) -> bool:
    """Return whether the API server rejected the pod itself. Conflicts, bad credentials and overload do not count."""
    return 400 <= error.status < 500 and error.status not in {401, 409} and not error.transient


def blames_pod(error: ApiError) -> bool:
    """Return whether an error counts as a rejection of the pod if it occurs twice in a row.

    A status of 5xx may pass, but may also come from a webhook that is down for long. If two in a row did not count, the
    planner would choose the same node forever, and no node report would say why.
    """
    return error.status >= 500
