"""Manages the immutable ConfigMap that holds the probe's program, and whose name contains a digest of it.

Somebody may delete the ConfigMap. A probe pod that mounts it does not start then, so it is looked at before pods are
created and while pods wait for their start. Without pods nobody needs it, and nothing is asked.
"""

import asyncio
import base64
import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from gpuenv.api import names
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import Scope
from gpuenv.plan.snapshot import PodRecord

logger = logging.getLogger(__name__)

COMPONENT: Final = "probe-bundle"
LOOK_SECONDS: Final = 10.0
"""How old the last look at the ConfigMap may be when a probe pod is created or waits for its start."""
PRUNE_SECONDS: Final = 600.0
"""Time between two tries to delete old ConfigMaps that pods still mount."""


class ProbeFiles:
    """Keeps the ConfigMap of this version of the probe in place. ``clock`` must be monotonic.

    ``failed`` is called when a request fails outside of a plan.
    """

    def __init__(
        self,
        kube: Kube,
        scope: Scope,
        wanted: dict[str, Any],
        *,
        failed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._scope = scope
        self._wanted = wanted
        self._failed = failed
        self._clock = clock
        self._looked_at: float | None = None
        self._lock = asyncio.Lock()
        self.name: Final[str] = wanted["metadata"]["name"]

    async def ensure(self) -> None:
        """Create the ConfigMap unless it exists. Raises ApiError if a request fails."""
        await ensure(self._kube, self._scope, self._wanted)
        self._looked_at = self._clock()

    async def before_pod(self) -> None:
        """Make sure that the ConfigMap was there a moment ago. Many pods at once cause one request.

        Raises ApiError if the API server does not work. If it refuses the ConfigMap itself, for example because the
        namespace is gone, that is only logged: the answer to the pod says the same, and is told to users.
        """
        async with self._lock:
            if self._looked_at is not None and self._clock() - self._looked_at < LOOK_SECONDS:
                return
            try:
                await self.ensure()
            except ApiError as error:
                if error.transient or error.denied or error.status == 401:
                    raise
                self._looked_at = self._clock()
                logger.warning("the probe's ConfigMap cannot be created: %s", error)

    async def keep(self, pods: Callable[[], Iterable[PodRecord]]) -> None:
        """Look after the ConfigMap while probe pods wait for their start, until cancelled.

        ConfigMaps of other versions are deleted as soon as no pod mounts them.
        """
        old_ones_are_left, next_prune = True, self._clock()
        while True:
            try:
                if any(_waits(pod) for pod in pods()):
                    await self.before_pod()
                if old_ones_are_left and self._clock() >= next_prune:
                    next_prune = self._clock() + PRUNE_SECONDS
                    old_ones_are_left = await prune(self._kube, self._scope, self.name)
            except ApiError as error:
                logger.warning("the probe's ConfigMap could not be verified: %s", error)
                self._failed()
            await asyncio.sleep(LOOK_SECONDS)


def _waits(pod: PodRecord) -> bool:
    """Return whether a pod has its node, and the kubelet has not mounted its volumes yet."""
    if pod.vanished or pod.deleting_since is not None or pod.scheduled_at is None:
        return False
    return pod.sandbox_ready_at is None and pod.facts.started_at is None


def config_map(content: bytes, namespace: str) -> dict[str, Any]:
    """Return a manifest of the ConfigMap that holds ``content``, the probe's program as a zip application."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"gpuenv-probe-{hashlib.sha256(content).hexdigest()[:10]}",
            "namespace": namespace,
            "labels": {names.LABEL_COMPONENT: COMPONENT},
        },
        "immutable": True,
        "binaryData": {names.PROBE_ARCHIVE: base64.b64encode(content).decode()},
    }


async def ensure(kube: Kube, scope: Scope, wanted: dict[str, Any]) -> None:
    """Create the ConfigMap with the manifest ``wanted`` unless it exists.

    A ConfigMap that has this name but other content is deleted first. Raises ApiError if a request fails.
    """
    collection, name = _collection(scope), wanted["metadata"]["name"]
    try:
        present = await kube.get(f"{collection}/{name}")
    except ApiError as error:
        if error.status != 404:
            raise
        present = None
    if present is not None and present.get("binaryData") != wanted["binaryData"]:
        logger.warning("ConfigMap %s does not hold the probe its name promises; it is replaced", name)
        await kube.delete(f"{collection}/{name}", uid=present["metadata"]["uid"])
        present = None
    if present is None:
        try:
            await kube.create(collection, wanted)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise


async def prune(kube: Kube, scope: Scope, current: str) -> bool:
    """Delete the ConfigMaps of other versions of the probe, unless a probe pod mounts them.

    ``current`` is the name of the ConfigMap of this version, which is kept. Return whether others had to be kept, too.
    Raises ApiError if a request fails.
    """
    used = {current}
    async for page in kube.pages(scope.pods, {"labelSelector": scope.selector("pods")}):
        for pod in page["items"]:
            volumes = (pod.get("spec") or {}).get("volumes") or []
            used |= {str((one.get("configMap") or {}).get("name")) for one in volumes}
    return await remove(kube, scope, keep=used) > {current}


async def remove(kube: Kube, scope: Scope, *, keep: Collection[str] = ()) -> set[str]:
    """Delete the ConfigMaps of all versions of the probe, except those whose names are in ``keep``.

    Return the names of those that were kept. Running pods are not affected, because they have already mounted the
    content. Raises ApiError if a request fails.
    """
    selector = {"labelSelector": f"{names.LABEL_COMPONENT}={COMPONENT}"}
    kept: set[str] = set()
    async for page in kube.pages(_collection(scope), selector):
        for one in page["items"]:
            metadata = one["metadata"]
            if metadata["name"] in keep:
                kept.add(metadata["name"])
            else:
                await kube.delete_if_there(f"{_collection(scope)}/{metadata['name']}", metadata["uid"])
    return kept


def _collection(scope: Scope) -> str:
    return f"/api/v1/namespaces/{scope.probe_namespace}/configmaps"
