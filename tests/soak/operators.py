"""The operator processes of the soak test: it starts, stops and kills them, and starts those again that have ended.

In a cluster the kubelet would start them again. Here it takes half a second, without a back-off.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak import launcher

from gpuenv import knowledge
from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.control_plane.ports import free_ports

START_SECONDS = 120.0
RESTART_SECONDS = 0.5
NEXT_VERSION = "99.0.0"
SAMPLE_SECONDS = 5.0
HEALTH_SECONDS = 10.0
LEFT_FOR_ANOTHER = re.compile(r"is held by \S+; this operator ends")
FAULTS_OF_ITS_OWN = ("Traceback", "fault of our own", "never retrieved", "--- Logging error")


@dataclass
class Operator:
    """One slot for an operator process. ``wanted`` says whether a process that ends is started again."""

    name: str
    kubeconfig: Path
    log: Path
    clock: Path
    health: int
    """The port of ``/healthz`` and ``/readyz``."""
    version: str = ""
    wanted: bool = False
    pid: int | None = None
    started_at: float = 0.0
    log_start: int = 0
    killed: set[int] = field(default_factory=set)
    """The process ids that the harness has killed or asked to stop."""


class Operators:
    """All operator processes. ``breach`` is called with one line for each process that ended by its own fault."""

    def __init__(self, plane: ControlPlane, flags: list[str], breach: Any) -> None:
        self._plane = plane
        self._flags = flags
        self._breach = breach
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._started: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._own_flags: dict[str, list[str]] = {}
        self.slots: dict[str, Operator] = {}
        self.starts = 0
        self.resident: list[tuple[float, int]] = []
        """Samples of the operators' resident memory: seconds since the process's start, and KiB."""

    @contextlib.asynccontextmanager
    async def running(self, servers: dict[str, str]) -> AsyncIterator["Operators"]:
        """Prepare a launcher for each version, and a slot for each of ``servers``: name and URL of its API server."""
        rights = await asyncio.to_thread(
            self._plane.kubeconfig_for_service_account, OPERATOR_NAMESPACE, OPERATOR
        )
        for (name, server), port in zip(servers.items(), free_ports(len(servers)), strict=True):
            path = rights.with_name(f"{name}.kubeconfig")
            path.write_text(rights.read_text().replace(self._plane.server, server))
            clock = rights.with_name(f"{name}.clock")
            clock.write_bytes(launcher.OFFSET.pack(0.0))
            self.slots[name] = Operator(name, path, self._plane.log(f"operator-{name}"), clock, port)
        tables = await asyncio.to_thread(_other_tables, self._plane.directory / "tables")
        self._own_flags = {"": [], NEXT_VERSION: ["--knowledge", str(tables)]}
        for version in self.versions:
            await self._launch(version)
        self._begin(self._sample())
        try:
            yield self
        finally:
            for operator in self.slots.values():
                self.signal(operator.name, signal.SIGKILL, restart=False)
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for writer in self._writers.values():
                writer.close()

    @property
    def versions(self) -> list[str]:
        """The versions that an operator can have. "" is the one in this checkout."""
        return list(self._own_flags)

    async def start(self, name: str) -> None:
        """Start an operator in a slot, unless one runs there."""
        slot = self.slots[name]
        slot.wanted = True
        if slot.pid is not None:
            return
        slot.log_start = slot.log.stat().st_size if slot.log.exists() else 0
        slot.started_at = time.monotonic()
        self._started[name] = asyncio.Event()
        request = {
            "start": name,
            "arguments": [
                *("--kubeconfig", str(slot.kubeconfig)),
                *("--health-probe-bind-address", f"127.0.0.1:{slot.health}"),
                *self._flags,
                *self._own_flags[slot.version],
            ],
            "log": str(slot.log),
            "clock": str(slot.clock),
        }
        self._writers[slot.version].write(json.dumps(request).encode() + b"\n")
        await asyncio.wait_for(self._started[name].wait(), START_SECONDS)
        self.starts += 1

    def signal(self, name: str, number: int, *, restart: bool = True) -> bool:
        """Send a signal to the operator in a slot. Return whether there was one."""
        slot = self.slots[name]
        slot.wanted = slot.wanted and restart
        if slot.pid is None:
            return False
        if number in {signal.SIGKILL, signal.SIGTERM}:
            slot.killed.add(slot.pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(slot.pid, number)
        return True

    async def health(self, name: str, path: str) -> str:
        """Return what the operator in a slot answers on a page of its health, with the HTTP status in front."""
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.slots[name].health)
                writer.write(f"GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
                writer.close()
        except OSError as error:
            return f"0 {error!r}"
        return f"{head.split(' ')[1]} {' '.join(body.split())}"

    def shift_clock(self, name: str, seconds: float) -> None:
        """Set by how many seconds the wall clock of the operator in a slot is ahead."""
        with self.slots[name].clock.open("r+b") as file:
            file.write(launcher.OFFSET.pack(seconds))

    async def _launch(self, version: str) -> None:
        """Start the launcher of a version, and wait until it has imported the operator and connects."""
        loop = asyncio.get_running_loop()
        path = self._plane.directory / f"launcher-{len(self._writers)}.socket"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen()
            listening.setblocking(False)
            command = [sys.executable, launcher.__file__, str(path), *([version] if version else [])]
            variables = {key: value for key, value in os.environ.items() if not key.startswith("KUBE")}
            self._plane.spawn(f"launcher-{version}", command, env=variables, grace=0)
            connection, _ = await asyncio.wait_for(loop.sock_accept(listening), START_SECONDS)
        reader, self._writers[version] = await asyncio.open_unix_connection(sock=connection)
        self._begin(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self._handle(json.loads(line))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _handle(self, event: dict[str, Any]) -> None:
        if "started" in event:
            self.slots[event["started"]].pid = event["pid"]
            self._started[event["started"]].set()
        else:
            self._ended(self.slots[event["ended"]], event["pid"], event["code"])

    def _ended(self, slot: Operator, pid: int, code: int) -> None:
        with contextlib.suppress(OSError), slot.log.open("rb") as log:
            log.seek(slot.log_start)
            text = log.read().decode(errors="replace")
            own = next(
                (line for line in text.splitlines() if any(map(line.__contains__, FAULTS_OF_ITS_OWN))), ""
            )
            if own:
                self._breach("operator.log", f"{slot.name}: {own[:300]}")
            if pid not in slot.killed and not LEFT_FOR_ANOTHER.search(text):
                self._breach(
                    "operator.ended", f"{slot.name} with code {code}: {' | '.join(text.splitlines()[-3:])}"
                )
        slot.pid = None
        self._begin(self._restart(slot))

    async def _restart(self, slot: Operator) -> None:
        await asyncio.sleep(RESTART_SECONDS)
        if slot.wanted:
            await self.start(slot.name)

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            for slot in self.slots.values():
                with contextlib.suppress(OSError, StopIteration):
                    self.resident.append((time.monotonic() - slot.started_at, _resident(slot.pid)))


def _other_tables(directory: Path) -> Path:
    """Write a copy of the knowledge tables with another wording, as a later version has them. Return its directory."""
    own = Path(knowledge.__file__).parent
    shutil.copytree(
        own, directory, ignore=lambda _, names: [name for name in names if not name.endswith(".yaml")]
    )
    errors = directory / "errors.yaml"
    errors.write_text(
        errors.read_text().replace("Drain the node and reboot it", "Drain the node, and reboot it")
    )
    return directory


def _resident(pid: int | None) -> int:
    """Return the resident memory of a process in KiB. Raises OSError if it has ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])
