"""Makes the operator's writes for many nodes without deciding anything: the least that a client in Python can need.

It is a program of its own, so that its CPU time can be compared with the operator's. For each node it creates a pod,
waits in one watch until the pod has succeeded, creates a node report, writes the report's status, labels the node and
deletes the pod. Its standard input is one JSON object, which :class:`Work` describes.
"""

import asyncio
import json
import ssl
import sys
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp

Object = dict[str, Any]
IN_FLIGHT = 64
"""How many requests are in flight at most: four times as many as the operator's."""


@dataclass(frozen=True, slots=True)
class Work:
    """What to write.

    ``pod`` and ``report`` are JSON texts of objects for the node ``model``, whose name the client replaces by that of
    each of ``nodes``. ``pods`` and ``reports`` are the paths of their collections. ``label`` is the key of the label.
    """

    server: str
    token: str
    authority: str
    nodes: list[str]
    model: str
    pods: str
    reports: str
    selector: str
    pod: str
    report: str
    label: str
    agent: str

    def dump(self) -> str:
        """Return this object as JSON."""
        return json.dumps(asdict(self))


class BareClient:
    """Does the work on one connection pool of an event loop."""

    def __init__(self, work: Work, session: aiohttp.ClientSession) -> None:
        self._work, self._session = work, session
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._node_of: dict[str, str] = {}
        self._done: dict[str, asyncio.Event] = {node: asyncio.Event() for node in work.nodes}

    async def run(self) -> None:
        """Do all of the work."""
        watched = asyncio.Event()
        watching = asyncio.create_task(self._watch(watched))
        await watched.wait()
        async with asyncio.TaskGroup() as group:
            for node in self._work.nodes:
                group.create_task(self._validate(node))
        watching.cancel()

    async def _validate(self, node: str) -> None:
        work = self._work
        pod = json.loads(work.pod.replace(work.model, node))
        report = json.loads(work.report.replace(work.model, node))
        status = report.pop("status")
        self._node_of[pod["metadata"]["name"]] = node
        await self._send("POST", work.pods, pod)
        await self._done[node].wait()
        await self._send("POST", work.reports, report)
        change = [{"op": "add", "path": "/status", "value": status}]
        path = f"{work.reports}/{report['metadata']['name']}/status"
        await self._send("PATCH", path, change, "application/json-patch+json")
        label = {"metadata": {"labels": {work.label: "Compatible"}}}
        await self._send("PATCH", f"/api/v1/nodes/{node}", label, "application/merge-patch+json")
        await self._send("DELETE", f"{work.pods}/{pod['metadata']['name']}")

    async def _send(self, method: str, path: str, body: Any = None, sent: str = "application/json") -> None:
        async with self._slots:
            data = None if body is None else json.dumps(body).encode()
            async with self._session.request(
                method, self._work.server + path, data=data, headers={"Content-Type": sent}
            ) as answer:
                text = await answer.read()
                if answer.status >= 400:
                    raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")

    async def _watch(self, watched: asyncio.Event) -> None:
        work = self._work
        params = {"labelSelector": work.selector}
        async with self._session.get(work.server + work.pods, params=params | {"limit": "1"}) as answer:
            version = (await answer.json())["metadata"]["resourceVersion"]
        params |= {"watch": "true", "resourceVersion": version}
        async with self._session.get(
            work.server + work.pods, params=params, timeout=aiohttp.ClientTimeout(total=None)
        ) as answer:
            watched.set()
            async for line in _lines(answer.content):
                pod = json.loads(line)["object"]
                if pod["status"].get("phase") == "Succeeded" and pod["metadata"]["name"] in self._node_of:
                    self._done[self._node_of[pod["metadata"]["name"]]].set()


async def _lines(content: aiohttp.StreamReader) -> Any:
    rest = b""
    async for data in content.iter_any():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line


async def main() -> None:
    """Do the work on standard input."""
    work = Work(**json.loads(sys.stdin.read()))
    context = ssl.create_default_context(cafile=work.authority)
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    # The user agent names the field manager, from which the policy for the operator's service account knows its entries.
    headers = {"Authorization": f"Bearer {work.token}", "User-Agent": work.agent}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        await BareClient(work, session).run()


if __name__ == "__main__":
    asyncio.run(main())
