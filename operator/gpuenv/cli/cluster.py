"""What the commands that talk to a cluster share: the connection, its errors, and reading our objects."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from gpuenv.api import names
from gpuenv.assess.model import Verdict
from gpuenv.cli.errors import ClusterError
from gpuenv.controller.kube.client import ApiError, Kube, KubeconfigError
from gpuenv.controller.kube.kinds import ENVIRONMENTS, REPORTS

Object = dict[str, Any]
T = TypeVar("T")


def ask(kubeconfig: str | None, question: Callable[[Kube], Awaitable[T]]) -> T:
    """Connect to the cluster and return what ``question`` returns. Raises ClusterError."""

    async def run() -> T:
        async with await Kube.from_environment(kubeconfig) as kube:
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
    """Return whether our CustomResourceDefinitions are missing.

    The API server words it differently when the whole group is unknown and when only the kind is.
    """
    words = ("could not find the requested resource", "404 page not found")
    return error.status == 404 and any(one in error.message for one in words)


async def environment(kube: Kube, name: str) -> Object:
    """Return one environment. Raises ApiError, and ClusterError when there is no environment of that name."""
    try:
        found: Object = await kube.get(f"{ENVIRONMENTS}/{name}")
    except ApiError as error:
        if error.status != 404 or _no_such_kind(error):
            raise
        raise ClusterError(f"there is no GPUEnvironment {name}; `gpuenv status` lists them") from error
    return found


async def environments(kube: Kube) -> list[Object]:
    """Return all environments in the order of their names. Raises ApiError."""
    found = [item async for page in kube.pages(ENVIRONMENTS) for item in page["items"]]
    return sorted(found, key=lambda item: str(item["metadata"]["name"]))


async def node_reports(kube: Kube, *, name: str | None = None, node: str | None = None) -> list[Object]:
    """Return the node reports of an environment, of a node, or of both, the worst first. Raises ApiError.

    API servers before 1.31 cannot select our objects by field, so the label selects. It holds a shortened node name,
    so the whole name is compared, too.
    """
    labels = {names.LABEL_ENVIRONMENT: name, names.LABEL_NODE: names.shorten(node) if node else None}
    selector = ",".join(f"{key}={value}" for key, value in labels.items() if value)
    params = {"labelSelector": selector} if selector else {}
    found = [item async for page in kube.pages(REPORTS, params) for item in page["items"]]
    wanted = [item for item in found if node is None or item["spec"]["nodeName"] == node]
    return sorted(wanted, key=lambda item: (-verdict(item).severity, item["metadata"]["name"]))


def verdict(report: Object) -> Verdict:
    """Return the verdict of a node report; Unknown if it has no verdict yet."""
    try:
        return Verdict(str((report.get("status") or {}).get("verdict")))
    except ValueError:
        return Verdict.UNKNOWN


def condition(environment: Object, kind: str) -> Object:
    """Return a condition of an environment, or {} if it is missing or about an older generation."""
    generation = environment["metadata"].get("generation")
    for found in (environment.get("status") or {}).get("conditions") or []:
        if found["type"] == kind and found.get("observedGeneration", generation) == generation:
            return dict(found)
    return {}
