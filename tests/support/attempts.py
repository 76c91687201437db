"""Runs inside a probe pod: tries what the pod must not be able to do, and writes what came of it to the termination log.

The result is a JSON object: for each attempt, "" if it succeeded, and otherwise what refused it. A few entries are lists
of what was found. The script needs nothing but Python and the probe's zip application.
"""

import contextlib
import ctypes
import errno
import json
import os
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
USUAL_DEVICES = {"console", "full", "null", "ptmx", "random", "tty", "urandom", "zero"}
"""The device files that container runtimes give to every container, apart from terminals."""
MANY = 2000
"""Processes to start at most. The kubelet of the test allows fewer in a pod."""
CLONE_NEWUSER = 0x10000000


def attempt(action: Callable[[], object]) -> str:
    """Return "" if the action succeeds, otherwise the name of the error number."""
    try:
        action()
    except OSError as error:
        return refusal(error)
    return ""


def refusal(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))


def call(name: str, *arguments: object) -> Callable[[], None]:
    """Return a function that calls a function of the C library and raises OSError if it returns -1."""
    library = ctypes.CDLL(None, use_errno=True)

    def run() -> None:
        if getattr(library, name)(*arguments) == -1:
            raise OSError(ctypes.get_errno(), name)

    return run


def write(path: Path, size: int = 1) -> Callable[[], None]:
    """Return a function that writes a file of this size and removes it again."""

    def run() -> None:
        try:
            with path.open("wb", buffering=0) as file:
                for _ in range(0, size, 1 << 20):
                    file.write(b"x" * min(size, 1 << 20))
        finally:
            with contextlib.suppress(OSError):
                path.unlink()

    return run


def mount_points() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text(encoding="ascii").splitlines()]


def writable() -> list[str]:
    """Return the directories, of all mount points and everything in the image, in which a file can be created."""
    directories = {path for path in mount_points() if Path(path).is_dir()}
    for path, names, _ in os.walk("/"):
        names[:] = [name for name in names if path != "/" or name not in ("proc", "sys")]
        directories.add(path)
    return sorted(path for path in directories if attempt(write(Path(path, "gpuenv-attempt"))) == "")


def devices() -> list[str]:
    """Return the device files in /dev, except those of every container."""
    found = []
    for path, _, names in os.walk("/dev"):
        for name in names:
            mode = Path(path, name).lstat().st_mode
            if (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and name not in USUAL_DEVICES:
                found.append(f"{path}/{name}")
    return [path for path in sorted(found) if not path.startswith("/dev/pts/")]


def ask_api() -> str:
    """Return the status line with which the API server answers a request without credentials, or why it does not."""
    address = (os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"]))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with context.wrap_socket(socket.create_connection(address, timeout=60)) as connection:
            connection.sendall(b"GET /api/v1/secrets HTTP/1.0\r\n\r\n")
            return connection.recv(200).decode().splitlines()[0]
    except OSError as error:
        return f"no connection: {error}"


def fork() -> tuple[int, str]:
    """Start processes until that is refused. Return their number and what refused one more."""
    children: list[subprocess.Popen[bytes]] = []
    try:
        while len(children) < MANY:
            children.append(subprocess.Popen(["/bin/sleep", "3600"]))
        return len(children), ""
    except OSError as error:
        return len(children), refusal(error)
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()


def status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    rows = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {name: rows[name] for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}


def main() -> None:
    """Make all attempts."""
    sys.path.insert(0, "/opt/gpuenv/gpuenv-probe.pyz")
    from gpuenv_probe.facts import container  # noqa: PLC0415 - it is in the archive

    started, refused = fork()
    facts = container.facts()
    done = {
        "token": attempt(lambda: Path(TOKEN).read_bytes()),
        "secrets": sorted(path for path in mount_points() if path.startswith("/var/run/secrets")),
        "API": ask_api(),
        "writable": writable(),
        "devices": devices(),
        "disk device": attempt(lambda: os.mknod("/tmp/disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))),
        "NVIDIA": sorted(name for name in os.environ if name.startswith("NVIDIA_")),
        "root": attempt(lambda: os.setuid(0)),
        "mount": attempt(call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, None)),
        "namespace": attempt(call("unshare", CLONE_NEWUSER)),
        "status": status(),
        "other processes": sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()),
        "shm": attempt(write(Path("/dev/shm/much"), 65 << 20)),
        "processes": started,
        "fork": refused,
        "limits": [facts["cpuLimit"], facts["memoryLimitMiB"], facts["shmMiB"]],
    }
    Path("/dev/termination-log").write_text(json.dumps(done), encoding="ascii")


if __name__ == "__main__":
    main()
