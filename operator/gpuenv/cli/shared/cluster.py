"""Functions for the commands that use a cluster: they connect to it, explain errors, and read gpuenv's objects."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from gpuenv.api import names
from gpuenv.api.objects import is_genuine
from gpuenv.assess.model import Verdict
from gpuenv.cli.shared.errors import ClusterError
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import ENVIRONMENTS, REPORTS
from gpuenv.controller.kube.kubeconfig import KubeconfigError

Object = dict[str, Any]
T = TypeVar("T")


def ask(kubeconfig: str | None, context: str | None, question: Callable[[Kube], Awaitable[T]]) -> T:
    """Connect to a cluster, call ``question`` with the client, and return what it returns.

    ``kubeconfig`` and ``context`` are the values of the options :func:`gpuenv.cli.shared.options.cluster`. Raises
    ClusterError if there is no usable kubeconfig, or if a request fails.
    """

    async def run() -> T:
        async with await Kube.from_environment(kubeconfig, context) as kube:
            return await question(kube)

    try:
        return asyncio.run(run())
    except KubeconfigError as error:
        raise ClusterError(str(error)) from error
    except ApiError as error:
        raise ClusterError(_explained(error)) from error


def _explained(error: ApiError) -> str:
    if _no_such_kind(error):
        return "this cluster has no gpuenv: install the chart, or apply the files of crds/"
    return str(error)


def _no_such_kind(error: ApiError) -> bool:
    """Return whether an error means that gpuenv's CustomResourceDefinitions are not installed.

    The API server sends one message if the whole API group is unknown, and another if only the kind is unknown.
    """
    words = ("could not find the requested resource", "404 page not found")
    return error.status == 404 and any(one in error.message for one in words)


async def environment(kube: Kube, name: str) -> Object:
    """Return the GPUEnvironment ``name``.

    Raises ClusterError if the environment does not exist, and ApiError if the request fails for another reason.
    """
    try:
        found: Object = await kube.get(f"{ENVIRONMENTS}/{name}")
    except ApiError as error:
        if error.status != 404 or _no_such_kind(error):
            raise
        raise ClusterError(f"there is no GPUEnvironment {name}; `gpuenv status` lists them") from error
    return found


async def environments(kube: Kube) -> list[Object]:
    """Return all GPUEnvironments in the order of their names. Raises ApiError if a request fails."""
    found = [item async for page in kube.pages(ENVIRONMENTS) for item in page["items"]]
    return sorted(found, key=lambda item: str(item["metadata"]["name"]))


async def node_reports(kube: Kube, *, name: str | None = None, node: str | None = None) -> list[Object]:
    """Return the node reports that belong to the environment ``name`` and to the node ``node``, worst verdict first.

    None for ``name`` or ``node`` means any environment or any node. Raises ApiError if a request fails. The API server
    selects by label, because versions before 1.31 cannot select custom resources by field. The label may contain a
    shortened node name, so the whole name is compared, too. Reports that the operator ignores are left out.
    """
    labels = {names.LABEL_ENVIRONMENT: name, names.LABEL_NODE: names.shorten(node) if node else None}
    selector = ",".join(f"{key}={value}" for key, value in labels.items() if value)
    params = {"labelSelector": selector} if selector else {}
    found = [item async for page in kube.pages(REPORTS, params) for item in page["items"]]
    wanted = [item for item in found if is_genuine(item) and node in {None, item["spec"]["nodeName"]}]
    return sorted(wanted, key=lambda item: (-verdict(item).severity, item["metadata"]["name"]))


def verdict(report: Object) -> Verdict:
    """Return the verdict of a node report, or Unknown if it has no verdict yet."""
    try:
        return Verdict(str((report.get("status") or {}).get("verdict")))
    except ValueError:
        return Verdict.UNKNOWN
