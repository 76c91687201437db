"""Manages the immutable ConfigMap that holds the probe's program, and whose name contains a digest of it."""

import base64
import hashlib
import logging
from collections.abc import Collection
from typing import Any, Final

from gpuenv.api import names
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import Scope

logger = logging.getLogger(__name__)

COMPONENT: Final = "probe-bundle"


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


async def prune(kube: Kube, scope: Scope, current: str) -> None:
    """Delete the ConfigMaps of other versions of the probe, unless a probe pod mounts them.

    ``current`` is the name of the ConfigMap of this version, which is kept. Raises ApiError if a request fails.
    """
    used = {current}
    async for page in kube.pages(scope.pods, {"labelSelector": scope.selector("pods")}):
        for pod in page["items"]:
            volumes = (pod.get("spec") or {}).get("volumes") or []
            used |= {str((one.get("configMap") or {}).get("name")) for one in volumes}
    await remove(kube, scope, keep=used)


async def remove(kube: Kube, scope: Scope, *, keep: Collection[str] = ()) -> None:
    """Delete the ConfigMaps of all versions of the probe, except those whose names are in ``keep``.

    Running pods are not affected, because they have already mounted the content. Raises ApiError if a request fails.
    """
    selector = {"labelSelector": f"{names.LABEL_COMPONENT}={COMPONENT}"}
    async for page in kube.pages(_collection(scope), selector):
        for one in page["items"]:
            metadata = one["metadata"]
            if metadata["name"] not in keep:
                await kube.delete_if_there(f"{_collection(scope)}/{metadata['name']}", metadata["uid"])


def _collection(scope: Scope) -> str:
    return f"/api/v1/namespaces/{scope.probe_namespace}/configmaps"
