"""Writes objects into the API server's database, which is much faster than to create them through the API server.

Objects of custom resources are stored there as JSON. The API server sees each new one in its own watch on etcd.
"""

import base64
import json
import ssl
import urllib.request
import uuid
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from gpuenv.api import names
from gpuenv_sandbox.control_plane.cluster import ControlPlane

Object = dict[str, Any]

REPORTS = f"/registry/{names.GROUP}/{names.REPORT_PLURAL}/"
"""The beginning of the keys of node reports."""
PER_TRANSACTION = 100
"""Objects in a transaction. etcd accepts at most 128."""


class Etcd:
    """Reads and writes node reports in the etcd of a sandbox, through its HTTP interface."""

    def __init__(self, cluster: ControlPlane) -> None:
        pair = cluster.authority.issue("bench", "bench")
        self._tls = ssl.create_default_context(cafile=str(cluster.authority.files.certificate))
        self._tls.load_cert_chain(pair.certificate, pair.key)
        arguments = Path(f"/proc/{cluster.processes.pids['etcd']}/cmdline").read_text().split("\0")
        flag = "--listen-client-urls="
        self._url = next(one.removeprefix(flag) for one in arguments if one.startswith(flag))

    def report(self, name: str) -> Object:
        """Return a node report as it is stored."""
        answer = self._send("range", {"key": _text((REPORTS + name).encode())})
        stored: Object = json.loads(base64.b64decode(answer["kvs"][0]["value"]))
        return stored

    def write_reports(self, reports: Iterable[Object]) -> None:
        """Store node reports. Each gets a uid of its own."""
        left = iter(reports)
        while batch := list(islice(left, PER_TRANSACTION)):
            self._send("txn", {"success": list(_puts(batch))})

    def _send(self, method: str, body: Object) -> Any:
        request = urllib.request.Request(f"{self._url}/v3/kv/{method}", json.dumps(body).encode())
        with urllib.request.urlopen(request, context=self._tls, timeout=60) as answer:
            return json.loads(answer.read())


def _puts(reports: Iterable[Object]) -> Iterator[Object]:
    for report in reports:
        stored = {**report, "metadata": report["metadata"] | {"uid": str(uuid.uuid4())}}
        key = _text((REPORTS + report["metadata"]["name"]).encode())
        # The API server appends a line feed, as Go's encoder does.
        yield {"requestPut": {"key": key, "value": _text(json.dumps(stored).encode() + b"\n")}}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
