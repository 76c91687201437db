"""Prepares this machine for a real node, and undoes every change, even those of a killed test run."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.support.wait import PATIENCE, wait_until

LOCK_SECONDS = 4 * PATIENCE
"""How long to wait for another test run, which may have just begun its end-to-end tests."""
CNI_RESULTS = Path("/var/lib/cni/results")
LOG_LINKS = Path("/var/log/containers")
FIXED_DIRECTORIES = ("/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers")
"""Directories that kubelet, containerd and CNI create at paths that cannot be configured."""
SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/ip_forward",
)
"""Kernel settings that the kubelet and the bridge plug-in change for the whole machine."""
PROGRAMS = {"kubelet", "containerd", "containerd-shim-runc-v2", "ctr", "runc"}


class NodeHost:
    """The directories, control groups and network of this machine that one node uses.

    ``name`` has at most 14 characters, because that of a network interface is limited to 15.
    """

    def __init__(self, name: str = "gpuenv-e2e") -> None:
        self.name = name
        self.state = Path("/var/lib") / name
        self.run = Path("/run") / name
        """Directory of the sockets. It is short, because the path of a socket is limited to 107 bytes."""
        self.cgroup = name
        self.network = name
        self.bridge = f"{name}0"
        self._memory = self.state / "before.json"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other test run uses this node, and remove all traces of a node before and after the block."""
        lock = Path("/run/lock") / f"{self.name}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as file:
            wait_until(
                lambda: _lock(file.fileno()),
                "another run's real node to end",
                timeout=LOCK_SECONDS,
                interval=1,
            )
            self.clean()
            try:
                yield
            finally:
                self.clean()

    def prepare(self, *addresses: str) -> None:
        """Create directories, control groups and the network bridge of the pods, which gets these addresses."""
        self.state.mkdir(parents=True)
        self.run.mkdir(parents=True)
        settings = {name: Path("/proc/sys", name).read_text() for name in SETTINGS}
        absent = [path for path in FIXED_DIRECTORIES if not Path(path).exists()]
        self._memory.write_text(json.dumps({"settings": settings, "absent": absent}))
        for hierarchy in hierarchies():
            _make_cgroup(hierarchy, hierarchy / self.cgroup)
        _ip("link", "add", self.bridge, "type", "bridge")
        for address in addresses:
            _ip("address", "add", address, "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")

    def clean(self) -> None:
        """Remove every trace of a node. Does nothing if there is none."""
        _kill(self._own_processes)
        _kill(self._contained_processes)
        for mount in sorted(self._mounts(), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
        # Deleting a directory with a mount in it would delete the mounted files.
        assert not self._mounts(), f"still mounted: {self._mounts()}"
        for hierarchy in hierarchies():
            _remove_cgroup(hierarchy / self.cgroup)
        subprocess.run(["ip", "link", "delete", self.bridge], check=False, capture_output=True)
        self._remove_files()

    def is_node_already(self) -> bool:
        """Return whether another kubelet runs on this machine. It would use the same socket as ours."""
        ours = self._own_processes()
        for entry in _processes():
            with suppress(OSError):
                if int(entry.name) not in ours and (entry / "comm").read_text().strip() == "kubelet":
                    return True
        return False

    def _own_processes(self) -> list[int]:
        """Return the process ids of a node's programs whose command line contains one of our directories."""
        found = []
        for entry in _processes():
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                ours = f"{self.run}/" in command or f"{self.state}/" in command
                if ours and Path(command.split("\0")[0]).name in PROGRAMS:
                    found.append(int(entry.name))
        return found

    def _contained_processes(self) -> list[int]:
        """Return the process ids in our control groups, that is, those of containers."""
        found: list[int] = []
        for hierarchy in hierarchies():
            for file in (hierarchy / self.cgroup).rglob("cgroup.procs"):
                with suppress(OSError):
                    found += [int(word) for word in file.read_text().split()]
        return found

    def _mounts(self) -> list[str]:
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        return [mount for mount in mounts if mount.startswith((f"{self.state}/", f"{self.run}/"))]

    def _remove_files(self) -> None:
        for results in CNI_RESULTS.glob(f"{self.network}-*"):
            results.unlink()
        for link in LOG_LINKS.glob("*.log"):
            if link.is_symlink() and f"{self.state}/" in str(link.readlink()):
                link.unlink()
        if self._memory.exists():
            memory = json.loads(self._memory.read_text())
            for name, value in memory["settings"].items():
                Path("/proc/sys", name).write_text(value)
            for directory in memory["absent"]:
                shutil.rmtree(directory, ignore_errors=True)
        for directory in (self.state, self.run):
            if directory.exists():
                shutil.rmtree(directory)


def hierarchies() -> list[Path]:
    """Return the mounted control-group hierarchies: several in version 1, one in version 2."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(path) for path, kind in mounts if kind in {"cgroup", "cgroup2"}]


def _make_cgroup(hierarchy: Path, cgroup: Path) -> None:
    """Create the parent of all pods' control groups, because the kubelet does not create its ``cgroupRoot``."""
    controllers = hierarchy / "cgroup.controllers"
    if controllers.exists():  # version 2: the kubelet needs the controllers enabled for its groups
        for controller in controllers.read_text().split():
            with suppress(OSError):
                (hierarchy / "cgroup.subtree_control").write_text(f"+{controller}")
    cgroup.mkdir()
    for file in (
        "cpuset.cpus",
        "cpuset.mems",
    ):  # version 1: empty in a new group, which no process could join then
        if (cgroup / file).exists() and not controllers.exists():
            (cgroup / file).write_text((hierarchy / file).read_text())


def _remove_cgroup(cgroup: Path) -> None:
    if cgroup.is_dir():
        children = [path for path in cgroup.rglob("*") if path.is_dir()]
        for path in [*sorted(children, reverse=True), cgroup]:
            wait_until(partial(_rmdir, path), f"{path} to become empty")


def _rmdir(path: Path) -> bool:
    with suppress(OSError):
        path.rmdir()
    return not path.exists()


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _kill(processes: Callable[[], list[int]]) -> None:
    def gone() -> bool:
        for process in processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return not processes()

    wait_until(gone, lambda: f"still alive: {processes()}")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
