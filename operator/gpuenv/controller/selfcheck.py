"""Checks at start that the operator has what it needs: its CRDs, a recent Kubernetes, its permissions.

Without these checks, a missing permission would show only as minutes of silent retries. The log has one line for each
thing that is missing, and the process waits until nothing is missing. It does not exit, because people often apply the
CRDs a moment later.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from gpuenv.api import names
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.options import Options
from gpuenv.manifests import permissions as manifest
from gpuenv.manifests.permissions import Permission

logger = logging.getLogger(__name__)

MINIMUM: Final = (1, 32)
"""The oldest Kubernetes in which the selectable fields of CustomResourceDefinitions are stable."""
RETRY_SECONDS: Final = 2.0
REMIND_SECONDS: Final = 300.0
REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
OPENSHIFT_GROUP: Final = "security.openshift.io"


def permissions(options: Options) -> list[Permission]:
    """Return the permissions that an operator with these options needs, each with exactly one verb."""
    return [
        replace(one, verbs=(verb,), name=options.lease_name if one.name else "")
        for one in manifest.permissions(options.lease_namespace, options.probe_namespace)
        for verb in one.verbs
    ]


async def problems(kube: Kube, options: Options) -> list[str]:
    """Return one line for each thing that the operator needs and that is missing, with how to fix it.

    The list is empty if nothing is missing. Raises ApiError if a request fails.
    """
    return [*await _version(kube), *await _crds(kube), *await _permissions(kube, options)]


async def wait(
    kube: Kube,
    options: Options,
    *,
    waiting: Callable[[str], None],
    meanwhile: Callable[[], Awaitable[None]],
    beat: Callable[[], None],
    retry: float = RETRY_SECONDS,
) -> None:
    """Wait until nothing that the operator needs is missing.

    Whatever is missing is logged when it changes, and again every five minutes. The check is repeated every ``retry``
    seconds. As long as something is missing, ``waiting`` is called with a summary in one line, and then ``meanwhile``,
    whose ApiErrors are ignored because they probably have the same cause. ``beat`` is called before each check, as a
    sign of life.
    """
    said: list[str] = []
    said_at = 0.0
    loop = asyncio.get_running_loop()
    while True:
        beat()
        try:
            found = await problems(kube, options)
        except ApiError as error:
            found = [f"the API server cannot be asked: {error}"]
        if not found:
            return
        waiting(found[0] if len(found) == 1 else f"{found[0]} (and {len(found) - 1} more; see the log)")
        if found != said or loop.time() - said_at > REMIND_SECONDS:
            for line in found:
                logger.error("%s", line)
            logger.error("waiting until %s there", "that is" if len(found) == 1 else "these are")
            said, said_at = found, loop.time()
        with contextlib.suppress(ApiError):
            await meanwhile()
        await asyncio.sleep(retry)


async def is_openshift(kube: Kube) -> bool:
    """Return whether the cluster is OpenShift, whose security context constraints choose the user id of pods.

    Raises ApiError if the request fails.
    """
    groups = (await kube.get("/apis")).get("groups") or []
    return any(group.get("name") == OPENSHIFT_GROUP for group in groups)


async def _version(kube: Kube) -> list[str]:
    answer = await kube.get("/version")
    digits = [re.match(r"\d*", str(answer.get(key) or "")) for key in ("major", "minor")]
    major, minor = (int(match[0]) if match and match[0] else 0 for match in digits)
    if (major, minor) >= MINIMUM:
        return []
    wanted = ".".join(map(str, MINIMUM))
    return [f"Kubernetes {major}.{minor} is too old: gpuenv needs {wanted} or newer; upgrade the cluster"]


async def _crds(kube: Kube) -> list[str]:
    try:
        answer = await kube.get(f"/apis/{names.API_VERSION}")
    except ApiError as error:
        if error.status != 404:
            raise
        answer = {}
    served = {one["name"] for one in answer.get("resources") or []}
    return [
        f"CustomResourceDefinition {plural}.{names.GROUP} is missing: apply crds/, or install the chart"
        for plural in (names.ENVIRONMENT_PLURAL, names.REPORT_PLURAL)
        if plural not in served
    ]


async def _permissions(kube: Kube, options: Options) -> list[str]:
    wanted = permissions(options)
    answers = await asyncio.gather(*(_allowed(kube, one) for one in wanted))
    missing: dict[tuple[str, str, str, str], list[Permission]] = {}
    for one, allowed in zip(wanted, answers, strict=True):
        if not allowed:
            missing.setdefault((one.group, one.resource, one.namespace, one.why), []).append(one)
    return [
        f"missing permission: {_title(group)}, needed to {group[0].why}; grant it to the service account"
        for group in missing.values()
    ]


async def _allowed(kube: Kube, permission: Permission) -> bool:
    resource, _, subresource = permission.resource.partition("/")
    attributes: dict[str, Any] = {
        "verb": permission.verbs[0],
        "group": permission.group,
        "resource": resource,
        "subresource": subresource,
        "namespace": permission.namespace,
        "name": permission.name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    return bool((await kube.ask(REVIEWS, review))["status"]["allowed"])


def _title(missing: list[Permission]) -> str:
    """Describe missing permissions that differ only in their verbs, such as ``create, delete pods in namespace x``."""
    one = missing[0]
    resource = one.resource + (f".{one.group}" if one.group else "")
    name = f" {one.name}" if one.name else ""
    where = f" in namespace {one.namespace}" if one.namespace else ""
    return f"{', '.join(each.verbs[0] for each in missing)} {resource}{name}{where}"
