"""Facts about the NVIDIA kernel module that is loaded on the node, from ``/proc/driver/nvidia``.

The container toolkit shows these files in containers. They exist as soon as the module is loaded, also if CUDA and NVML
do not start.
https://download.nvidia.com/XFree86/Linux-x86_64/580.95.05/README/procinterface.html
"""

from __future__ import annotations

import re
from typing import Any

DIRECTORY = "/proc/driver/nvidia"
_LONGEST = 16_384
"""Number of characters that are read of a file. The real ones have less than 3,000."""
_VERSION = re.compile(
    r"NVRM version:[^\n]{0,80}?Kernel Module(?: for [\w-]{1,20})? {1,8}(\d{3}(?:\.\d{1,4}){1,3})"
)
_OPEN = re.compile(r"NVRM version:[^\n]{0,80}?Open Kernel Module")
_FIRMWARE = re.compile(r"^EnableGpuFirmware: {1,8}(\d{1,10})\s*$", re.MULTILINE)


def facts(directory: str = DIRECTORY) -> dict[str, Any]:
    """Return the module's ``version``, whether it is the ``open`` one, and its parameter EnableGpuFirmware.

    A fact that the files do not contain is left out. The dict is empty if the files are not visible.
    """
    version, parameters = _read(f"{directory}/version"), _read(f"{directory}/params")
    found: dict[str, Any] = {}
    number = _VERSION.search(version)
    if number:
        found = {"version": number.group(1), "open": bool(_OPEN.search(version))}
    firmware = _FIRMWARE.search(parameters)
    if firmware:
        found["gpuFirmware"] = int(firmware.group(1))
    return found


def _read(path: str) -> str:
    """Return the beginning of a file, or "" if it cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(_LONGEST)
    except OSError:
        return ""
