"""Builds the probe as one zip application that includes the NVML bindings and fits into a ConfigMap."""

import importlib.util
import io
import zipfile
from functools import cache
from pathlib import Path
from typing import Final

import gpuenv_probe

MAX_BYTES: Final = 900_000
"""The largest archive, in bytes, that may go into the ConfigMap.

The API server refuses a ConfigMap with more than 1 MiB (1,048,576 bytes) of data. It counts the bytes of ``binaryData``
after decoding base64, so base64 takes none of this space (``ValidateConfigMap`` in
https://github.com/kubernetes/kubernetes/blob/v1.34.0/pkg/apis/core/validation/validation.go). The difference between
the two limits is a margin.
"""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""Modification time of every file in the archive. It is constant, so that equal sources give equal archives."""
_MODE: Final = 0o644 << 16


@cache
def build_zipapp() -> bytes:
    """Return the bytes of ``gpuenv-probe.pyz``, the probe as a zip application.

    The same sources must give the same bytes on every machine, because the ConfigMap is named after a digest of them.
    Raises RuntimeError when the NVML bindings are not installed, or when the archive is too large for a ConfigMap.
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
