"""Facts about the container: Python, user, resource limits, writable directories, environment variables."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from typing import Any, Mapping

_DIRECTORIES = ("/tmp", "/var/tmp", "/dev/shm", "/workspace")
_PREFIXES = ("NVIDIA_", "CUDA_", "PYTORCH_", "TORCH_", "NCCL_", "CUBLAS_", "CUDNN_")
_NAMES = ("LD_LIBRARY_PATH", "LD_PRELOAD", "CC", "TRITON_PTXAS_PATH", "TRITON_CACHE_DIR")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASS|PWD|CRED|AUTH|_API|API_|ACCESS|PRIVATE|SIGN|COOKIE|SESSION")
_SECRET_VALUE = re.compile(r"://[^/@\s]*:[^/@\s]*@|\b(?:nvapi-|hf_|ghp_|sk-)\w{8,}")
_VALUE_LENGTH = 300
_VARIABLES = 48
# cgroup v1 reports nearly 2**63 bytes where there is no limit, so more than 2**50 bytes (1 PiB) means no limit.
_NO_LIMIT = 1 << 50
_CGROUP = "/sys/fs/cgroup"


def facts() -> dict[str, Any]:
    """Return the ``container`` object of the probe report, except ``notes``, ``triton`` and ``ptxas``.

    The parent process adds ``notes`` about insecure settings; the torch worker reports ``triton`` and ``ptxas``.
    """
    return {
        "python": platform.python_version(),
        "executable": sys.executable or None,
        "glibc": " ".join(part for part in platform.libc_ver() if part) or None,
        "machine": platform.machine(),
        "uid": os.getuid(),
        "memoryLimitMiB": _mib(memory_limit()),
        "cpuLimit": cpu_limit(),
        "pidsLimit": pids_limit(),
        "rootReadOnly": root_read_only(),
        "shmMiB": _shm_mib(),
        "writable": writable_directories(os.environ),
        "env": visible_environment(os.environ),
        "compiler": compiler(os.environ),
    }


def visible_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the names and values of the environment variables that influence CUDA and PyTorch.

    A variable whose name suggests a secret has the text "(not read)" in place of its value. In other values, parts that
    look like credentials are replaced by "(not shown)", and long values are cut.
    """
    shown: dict[str, str] = {}
    for name in sorted(env):
        if not (name.startswith(_PREFIXES) or name in _NAMES) or len(shown) >= _VARIABLES:
            continue
        if _SECRET_NAME.search(name.upper()):
            shown[name] = "(not read)"
        else:
            value = _SECRET_VALUE.sub("(not shown)", env[name])
            shown[name] = value if len(value) <= _VALUE_LENGTH else value[: _VALUE_LENGTH - 1] + "…"
    return shown


def writable_directories(env: Mapping[str, str]) -> list[str]:
    """Return those directories that programs usually write to and that this process can write to.

    The candidates are temporary directories, ``/workspace``, the home directory and the working directory.
    """
    candidates = list(dict.fromkeys([*_DIRECTORIES, env.get("HOME") or "/", os.getcwd()]))
    return [path for path in candidates if os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)]


def compiler(env: Mapping[str, str]) -> str | None:
    """Return the path of the C compiler that Triton and torch.compile would use, or None if they would find none.

    The compiler is $CC if that is set, else the first of gcc, clang and cc on PATH.
    https://github.com/triton-lang/triton/blob/main/python/triton/runtime/build.py
    """
    names = [env["CC"]] if env.get("CC") else ["gcc", "clang", "cc"]
    return next(filter(None, map(shutil.which, names)), None)


def memory_limit(root: str = _CGROUP) -> int | None:
    """Return the memory limit of the cgroup (version 2 or 1) in bytes, or None if it has no limit.

    ``root`` is the directory where cgroups are mounted.
    """
    limit = _number(_read(f"{root}/memory.max") or _read(f"{root}/memory/memory.limit_in_bytes"))
    return limit if limit is not None and limit < _NO_LIMIT else None


def spare_memory(root: str = _CGROUP) -> int | None:
    """Return the bytes that the cgroup may still allocate, or None if its memory limit or usage is not known.

    ``root`` is the directory where cgroups are mounted. The cgroup's memory usage includes the page cache, most of
    which the kernel can reclaim. Like the kubelet, this function counts cache that was not used recently
    (``inactive_file``) as free.
    https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#eviction-signals
    """
    limit = memory_limit(root)
    usage = _number(_read(f"{root}/memory.current") or _read(f"{root}/memory/memory.usage_in_bytes"))
    if limit is None or usage is None:
        return None
    stat = _read(f"{root}/memory.stat") or _read(f"{root}/memory/memory.stat") or ""
    rows = dict(line.split(None, 1) for line in stat.splitlines() if len(line.split()) == 2)
    cache = _number(rows.get("total_inactive_file") or rows.get("inactive_file")) or 0
    return limit - max(0, usage - cache)


def cpu_limit(root: str = _CGROUP) -> float | None:
    """Return the CPU limit of the cgroup in CPUs (0.5 is half a CPU), or None if it has no limit.

    ``root`` is the directory where cgroups are mounted.
    """
    quota, _, period = (_read(f"{root}/cpu.max") or "").partition(" ")
    if not quota:
        quota = _read(f"{root}/cpu/cpu.cfs_quota_us") or ""
        period = _read(f"{root}/cpu/cpu.cfs_period_us") or ""
    share, of = _number(quota), _number(period)
    return round(share / of, 3) if share is not None and of and share > 0 else None


def pids_limit(root: str = _CGROUP) -> int | None:
    """Return the largest number of processes and threads that the cgroup may have, or None if it has no limit.

    ``root`` is the directory where cgroups are mounted.
    """
    return _number(_read(f"{root}/pids.max") or _read(f"{root}/pids/pids.max"))


def root_read_only() -> bool:
    """Return whether the root file system is mounted read-only, so that programs can write only to volumes."""
    return bool(os.statvfs("/").f_flag & os.ST_RDONLY)


def in_container() -> bool:
    """Return whether this process runs in a container."""
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        return True
    return "KUBERNETES_SERVICE_HOST" in os.environ or _mount_type("/") == "overlay"


def is_mount(path: str) -> bool:
    """Return whether ``path`` itself is a mount point, and not merely a path below one.

    A file that the NVIDIA container toolkit or a Kubernetes volume puts into a container is a mount point of its own.
    """
    return _mount_type(path) is not None


def _mount_type(path: str) -> str | None:
    """Return the type of the file system that is mounted at ``path``, or None if it is no mount point."""
    found = None
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                fields = line.split()
                if len(fields) > 6 and fields[4] == path and "-" in fields:
                    found = fields[fields.index("-") + 1]
    except OSError:
        return None
    return found


def _read(path: str) -> str | None:
    """Return the stripped text of a file, or None if it cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None


def _number(text: str | None) -> int | None:
    """Return the whole number in ``text``, or None if ``text`` is anything else, such as ``max``."""
    try:
        return int(text or "")
    except ValueError:
        return None


def _mib(size: int | None) -> int | None:
    return None if size is None else size // (1024 * 1024)


def _shm_mib() -> int | None:
    try:
        return _mib(shutil.disk_usage("/dev/shm").total)
    except OSError:
        return None
