"""Builds the probe as one file: a zip application with the NVML bindings, small enough for a ConfigMap."""

import importlib.util
import io
import zipfile
from functools import cache
from pathlib import Path
from typing import Final

import gpuenv_probe

MAX_BYTES: Final = 900_000
"""The largest archive that a ConfigMap can carry.

A ConfigMap holds 1 MiB, in which its metadata and the archive in base64 have to fit
(https://kubernetes.io/docs/concepts/configuration/configmap/).
"""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the archive, so that its bytes do not depend on when it was built."""
_MODE: Final = 0o644 << 16


@cache
def build_zipapp() -> bytes:
    """Return the bytes of ``gpuenv-probe.pyz``.

    The same sources give the same bytes on every machine, because the ConfigMap is named after them. Raises
    RuntimeError when the NVML bindings are not installed, or when the archive is too large for a ConfigMap.
    """
    package = Path(gpuenv_probe.__file__).parent
    members = {
        f"gpuenv_probe/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in package.rglob("*.py")
    }
    members["__main__.py"] = members["gpuenv_probe/__main__.py"]
    members["vendor/pynvml.py"] = _bindings().read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = _MODE
            archive.writestr(entry, members[name])
    data = buffer.getvalue()
    if len(data) > MAX_BYTES:
        raise RuntimeError(f"the probe has grown to {len(data)} bytes, a ConfigMap carries {MAX_BYTES}")
    return data


def _bindings() -> Path:
    spec = importlib.util.find_spec("pynvml")
    if spec is None or spec.origin is None:
        raise RuntimeError("the NVML bindings are missing: install the package nvidia-ml-py")
    return Path(spec.origin)
