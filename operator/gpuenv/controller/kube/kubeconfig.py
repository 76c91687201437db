"""Load the address of the API server and credentials for it: a pod's service account, or a kubeconfig file."""

import os
from typing import Any

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config


class KubeconfigError(Exception):
    """No usable credentials were found. The message says in one line where the client looked for them."""


async def load_configuration(kubeconfig: str | None) -> Any:
    """Return a configuration of ``kubernetes`` with the API server's address and fresh credentials for it.

    ``kubeconfig`` is the path of a file. If it is None, the pod's service account is used in a pod, and ``$KUBECONFIG``
    or ``~/.kube/config`` elsewhere. Raises KubeconfigError.
    """
    configuration = Configuration()
    if kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        source = "the pod's service account"
        try:
            load_incluster_config(client_configuration=configuration)
        except Exception as error:
            raise KubeconfigError(f"{source} cannot be used: {one_line(error)}") from error
        return configuration
    source = kubeconfig or os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")  # noqa: ASYNC240, PTH111 - once, at start
    if not any(os.path.isfile(part) for part in source.split(os.pathsep)):  # noqa: ASYNC240, PTH113 - once, at start
        raise KubeconfigError(f"no kubeconfig at {source}; give one with --kubeconfig or $KUBECONFIG")
    try:
        # With persist_config, refreshed tokens would be written into the user's file.
        await load_kube_config(source, client_configuration=configuration, persist_config=False)
    except Exception as error:
        raise KubeconfigError(f"kubeconfig {source} cannot be used: {one_line(error)}") from error
    return configuration


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line, or the name of its type if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__
