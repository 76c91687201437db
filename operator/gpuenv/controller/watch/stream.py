"""Takes objects out of Kopf's lists and watches, so that Kopf need not handle each event by itself.

Kopf gives each object a queue, a task and a memory of its own, and calls a handler for each event. With thousands of
nodes this costs more CPU time than everything else that the operator does with an event. But gpuenv only puts the
object into a cache. So the responses of the HTTP session that Kopf uses hand the objects over on their way. Kopf still
lists, watches, reconnects and logs in: it sees empty lists, and watches that consist of bookmarks.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import aiohttp

from gpuenv.api import json_text

Take = Callable[[str | None, Mapping[str, Any]], None]
"""Takes the type of an event and its object. The type is None if the object comes from a list."""

GATHER_SECONDS: Final = 0.05
"""How long changes are gathered before they are taken. Many small portions cost more than a few large ones."""
READ_BYTES: Final = 1 << 20
"""How much of a watch is read ahead. With aiohttp's default a busy watch would fall behind while it gathers."""
CHANGES: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})


def taking_responses(path: str, take: Take) -> type[aiohttp.ClientResponse]:
    """Return the class of responses that call ``take`` with the objects of a list or watch at the API path ``path``.

    Responses from other paths, and errors, are as usual.
    """

    class Response(aiohttp.ClientResponse):
        """A response whose objects are taken before Kopf reads it."""

        @property
        def _is_taken(self) -> bool:
            # The server's own address may have a path, too.
            return self.status == 200 and self.url.path.endswith(path)

        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            """Wait for the head of the response."""
            await super().start(connection)
            if self._is_taken and "watch" in self.url.query:
                watch = WatchContent(self.content, take)
                self.content = watch  # type: ignore[assignment]  # it hands on everything but `iter_chunked`
            return self

        async def json(self, **options: Any) -> Any:
            """Return the JSON of the response. The list of objects is empty if they were taken."""
            page = await super().json(**options | ({"loads": json_text.decode} if self._is_taken else {}))
            if not self._is_taken or not isinstance(page, dict) or not isinstance(page.get("items"), list):
                return page
            for raw in page["items"]:
                take(None, raw)
            return page | {"items": []}

    return Response


class WatchContent:
    """The content of a watch whose objects are taken. For Kopf, their changes are bookmarks."""

    def __init__(self, content: aiohttp.StreamReader, take: Take) -> None:
        self._content = content
        self._take = take

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        """Yield what Kopf is to read, after each portion of the watch."""
        rest = b""
        async for data in self._content.iter_any():
            *lines, rest = (rest + data).split(b"\n")
            if left := self._left(lines):
                yield left
            await asyncio.sleep(GATHER_SECONDS)
        if rest:
            yield rest

    def _left(self, lines: list[bytes]) -> bytes:
        """Take the objects of some events, and return the lines that are left to Kopf.

        These are a bookmark with the last resource version, from which Kopf would go on, and all lines that are not the
        change of an object, such as errors.
        """
        left: list[bytes] = []
        bookmark: bytes | None = None
        for line in lines:
            event = _change(line)
            if event is None:
                left.append(line)
                continue
            self._take(event["type"], event["object"])
            version = {"resourceVersion": event["object"]["metadata"].get("resourceVersion")}
            bookmark = json.dumps({"type": "BOOKMARK", "object": {"metadata": version}}).encode()
        if bookmark is not None:
            left.insert(0, bookmark)
        return b"".join(line + b"\n" for line in left if line)


def _change(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line if it is the change of an object, else None."""
    try:
        event = json_text.decode(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or event.get("type") not in CHANGES:
        return None
    raw = event.get("object")
    return event if isinstance(raw, dict) and isinstance(raw.get("metadata"), dict) else None
