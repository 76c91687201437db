"""Follows a collection of API objects with a list request and the watches after it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError

Object = dict[str, Any]

RETRY_SECONDS: Final = 1.0


async def follow(
    kube: Kube, path: str, params: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[bool, Object]]:
    """Yield every object of a collection once, and again after each of its changes, without end.

    Each yielded pair consists of whether the object still exists and its last known state. A watch that breaks is
    started again, and deletions that happened meanwhile are yielded too. ``params`` are the query parameters of the
    requests, such as a label selector. Raises ApiError if a request fails for a reason that is not transient.
    """
    known: dict[str, Object] = {}
    while True:
        try:
            version, present = "", set()
            async for page in kube.pages(path, params):
                version = page["metadata"]["resourceVersion"]
                for found in page["items"]:
                    present.add(found["metadata"]["uid"])
                    known[found["metadata"]["uid"]] = found
                    yield True, found
            for uid in known.keys() - present:
                yield False, known.pop(uid)
            while True:
                async for event in kube.watch(path, {**(params or {}), "resourceVersion": version}):
                    found = event["object"]
                    version = found["metadata"]["resourceVersion"]
                    if event["type"] == "DELETED":
                        known.pop(found["metadata"]["uid"], None)
                        yield False, found
                    elif event["type"] != "BOOKMARK":
                        known[found["metadata"]["uid"]] = found
                        yield True, found
        except ApiError as error:
            if not (error.transient or error.status == 410):
                raise
            await asyncio.sleep(RETRY_SECONDS)
