"""The surroundings of the probe inside the image: interpreter, user, limits, places to write, variables."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from typing import Any, Mapping

_PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/workspace")
_PREFIXES = ("NVIDIA_", "CUDA_", "PYTORCH_", "TORCH_", "NCCL_", "CUBLAS_", "CUDNN_")
_NAMES = ("LD_LIBRARY_PATH", "LD_PRELOAD", "CC", "TRITON_PTXAS_PATH", "TRITON_CACHE_DIR")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASS|PWD|CRED|AUTH|_API|API_|ACCESS|PRIVATE|SIGN|COOKIE|SESSION")
_SECRET_VALUE = re.compile(r"://[^/@\s]*:[^/@\s]*@|\b(?:nvapi-|hf_|ghp_|sk-)\w{8,}")
_VALUE_LENGTH = 300
_VARIABLES = 48
# A cgroup v1 without a limit says nearly 2**63; more than 2**50 bytes is no limit of anybody's.
_NO_LIMIT = 1 << 50
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_CGROUP_USAGES = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")


def facts() -> dict[str, Any]:
    """``container`` of the facts report, as far as no torch is needed for it."""
    return {
        "python": platform.python_version(),
        "executable": sys.executable or None,
        "glibc": " ".join(part for part in platform.libc_ver() if part) or None,
        "machine": platform.machine(),
        "uid": os.getuid(),
        "memoryLimitMiB": _mib(memory_limit()),
        "shmMiB": _shm_mib(),
        "writable": writable_places(os.environ),
        "env": visible_environment(os.environ),
        "compiler": compiler(os.environ),
    }


def visible_environment(env: Mapping[str, str]) -> dict[str, str]:
    """What steers CUDA and PyTorch. The value behind a name that smells of a secret is not even read."""
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


def writable_places(env: Mapping[str, str]) -> list[str]:
    """The usual places that this user can write to; the home directory under its own path."""
    places = list(dict.fromkeys([*_PLACES, env.get("HOME") or "/", os.getcwd()]))
    return [place for place in places if os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK)]


def compiler(env: Mapping[str, str]) -> str | None:
    """The C compiler Triton and torch.compile would find: $CC, else clang or gcc, else cc.

    https://github.com/triton-lang/triton/blob/main/python/triton/runtime/build.py
    """
    names = [env["CC"]] if env.get("CC") else ["gcc", "clang", "cc"]
    return next(filter(None, map(shutil.which, names)), None)


def memory_limit() -> int | None:
    """The cgroup's memory limit in bytes; None without one."""
    limit = _first_number(_CGROUP_LIMITS)
    return limit if limit is not None and limit < _NO_LIMIT else None


def spare_memory() -> int | None:
    """Bytes left under the cgroup's limit; None without a limit."""
    limit, usage = memory_limit(), _first_number(_CGROUP_USAGES)
    return None if limit is None or usage is None else limit - usage


def in_container() -> bool:
    """Whether this process lives in a container: its root is no file system of the host's own."""
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        return True
    return "KUBERNETES_SERVICE_HOST" in os.environ or _mount_type("/") == "overlay"


def is_mount(path: str) -> bool:
    """Whether exactly this file or directory was mounted into the container (by a container toolkit, a
    volume).
    """
    return _mount_type(path) is not None


def _mount_type(path: str) -> str | None:
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


def _first_number(paths: Any) -> int | None:
    for path in paths:
        try:
            with open(path, encoding="ascii") as file:
                return int(file.read())
        except (OSError, ValueError):
            continue
    return None


def _mib(size: int | None) -> int | None:
    return None if size is None else size // (1024 * 1024)


def _shm_mib() -> int | None:
    try:
        return _mib(shutil.disk_usage("/dev/shm").total)
    except OSError:
        return None
