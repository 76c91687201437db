"""Follows a collection of objects: a list, and the watches after it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from gpuenv.controller.kube.client import ApiError, Kube

Object = dict[str, Any]

RETRY_SECONDS: Final = 1.0


async def follow(
    kube: Kube, path: str, params: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[bool, Object]]:
    """Yield every object as it is and whenever it changes, as (still there, object).

    A lost watch is started again. An object that was deleted meanwhile comes as gone, in its last known state.
    Raises ApiError where the server refuses.
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
