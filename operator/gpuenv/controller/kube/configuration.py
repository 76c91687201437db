"""Chooses a cluster and loads credentials for it: from kubeconfig files, or from the service account of a pod."""

import os
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config_from_dict

from gpuenv.api.foreign_text import one_line
from gpuenv.controller.kube.errors import words_of
from gpuenv.controller.kube.kubeconfig import Json, KubeconfigError, is_empty, read_merged

CONTEXTS_NAMED: Final = 10
"""Maximum number of contexts that a message names."""
NAME_CHARACTERS: Final = 100
WHAT_TO_GIVE: Final = "give one with --kubeconfig or $KUBECONFIG"


class _Files(NamedTuple):
    """A kubeconfig, and the ``place`` from which it was read, as messages name it."""

    place: str
    config: Json


async def load_configuration(
    kubeconfig: str | None, context: str | None = None, *, pod_first: bool = False
) -> Any:
    """Return a configuration of ``kubernetes`` with the API server's address and fresh credentials for it.

    The order is that of kubectl: the file at the path ``kubeconfig``, the files in ``$KUBECONFIG``, ``~/.kube/config``,
    and last the service account of the pod. With ``pod_first``, the service account comes before ``~/.kube/config``, as
    in other operators. Unlike kubectl, the service account is not used if ``$KUBECONFIG`` is set and none of its files
    exists: then the cluster of the pod is probably not the cluster that is meant.

    ``context`` is the name of a context in the kubeconfig; None means its current context. A proxy is that of the
    kubeconfig, else that of the environment. Raises KubeconfigError.
    """
    configuration = Configuration()
    found = _named_files(kubeconfig)
    if found is None and not (pod_first and context is None and _in_pod()):
        found = _file_at_home()
    if found is not None:
        await _load_files(found, context, configuration)
    elif context is not None:
        raise KubeconfigError(
            f"there is no context {context}, because no kubeconfig was found; {WHAT_TO_GIVE}"
        )
    elif _in_pod():
        try:
            load_incluster_config(client_configuration=configuration)
        except Exception as error:
            raise KubeconfigError(f"the pod's service account cannot be used: {words_of(error)}") from error
    else:
        raise KubeconfigError(f"no kubeconfig at ~/.kube/config; {WHAT_TO_GIVE}")
    # By itself, aiohttp would look for a proxy and for a password (~/.netrc) in a thread, before every request.
    configuration.client_session_kwargs = {"trust_env": False}
    configuration.proxy = configuration.proxy or _environment_proxy(configuration.host)
    return configuration


def _environment_proxy(server: str) -> str | None:
    """Return the proxy that ``$HTTPS_PROXY``, ``$NO_PROXY`` and the like name for a server, or None."""
    address = urlsplit(server)
    if not address.hostname or proxy_bypass(address.hostname):
        return None
    return getproxies().get(address.scheme)


def _in_pod() -> bool:
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


def _named_files(kubeconfig: str | None) -> _Files | None:
    """Return the kubeconfig that the user has named, by a path or by ``$KUBECONFIG``, or None if there is no name.

    Raises KubeconfigError if no file of that name exists.
    """
    place = os.environ.get("KUBECONFIG", "") if kubeconfig is None else kubeconfig
    if kubeconfig is None and not place:
        return None
    names = place.split(os.pathsep) if kubeconfig is None else [place]
    config = read_merged(Path(name) for name in names if name)
    if config is None:
        raise KubeconfigError(f"no kubeconfig at {place or repr(place)}; {WHAT_TO_GIVE}")
    return _Files(place, config)


def _file_at_home() -> _Files | None:
    """Return the kubeconfig in the home directory, or None if there is none, or an empty one."""
    try:
        path = Path.home() / ".kube" / "config"
    except RuntimeError:  # a user without a home directory, as in many containers
        return None
    config = read_merged([path])
    return None if config is None or is_empty(config) else _Files(str(path), config)


async def _load_files(found: _Files, context: str | None, configuration: Any) -> None:
    name = _context_name(found, context)
    try:
        await load_kube_config_from_dict(found.config, context=name, client_configuration=configuration)
    except Exception as error:
        raise KubeconfigError(f"kubeconfig {found.place} cannot be used: {words_of(error)}") from error


def _context_name(found: _Files, context: str | None) -> str:
    """Return the name of the context to use. Raises KubeconfigError if the kubeconfig does not have that context."""
    known = [str(item["name"]) for item in found.config["contexts"]]
    name = found.config["current-context"] if context is None else context
    if name in known:
        return str(name)
    if not known:
        raise KubeconfigError(f"kubeconfig {found.place} has no contexts; {WHAT_TO_GIVE}")
    more = len(known) - CONTEXTS_NAMED
    names = ", ".join(one_line(one, NAME_CHARACTERS) for one in known[:CONTEXTS_NAMED]) + (
        f" and {more} more" if more > 0 else ""
    )
    if context is None and not name:
        raise KubeconfigError(
            f"kubeconfig {found.place} has no current-context; choose with --context: {names}"
        )
    of = "current-context" if context is None else "--context"
    shown = one_line(str(name), NAME_CHARACTERS) or "''"
    raise KubeconfigError(f"{of}: kubeconfig {found.place} has no context {shown}; it has {names}")
