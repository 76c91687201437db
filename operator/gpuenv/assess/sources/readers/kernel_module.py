"""Reads the version and the flavour of the loaded kernel module from ``cat /proc/driver/nvidia/version`` or dmesg.

If the text also names files of libcuda, one of them is the libcuda in use: that of the module's version, if there is one.
"""

import re
from typing import Final

from gpuenv.assess.facts import DriverFacts, Facts, KernelModule, Libcuda, Source
from gpuenv.knowledge.model import Knowledge

MAX_FILES: Final = 64
_MODULE: Final = re.compile(
    r"(?:NVRM version:|NVRM: loading) (?:NVIDIA UNIX )?([^\n]{0,60}?)Kernel Module(?: for [\w-]{1,20})? {1,8}"
    r"(\d{3}(?:\.\d{1,4}){1,3})"
)
_FIRMWARE: Final = re.compile(r"\bEnableGpuFirmware: {1,8}(\d{1,10})\b")
_LIBCUDA: Final = re.compile(r"(/[\w./+-]{0,120}/)?libcuda\.so\.(\d{3}(?:\.\d{1,4}){1,3})\b")


def read(text: str, knowledge: Knowledge) -> Facts:
    """Return the kernel module in the text, and the libcuda beside it."""
    del knowledge
    found = _MODULE.search(text) if "NVRM" in text else None
    if found is None:
        return Facts(source=Source.ERROR_TEXT)
    firmware = _FIRMWARE.search(text)
    module = KernelModule(found[2], "Open" in found[1], int(firmware[1]) if firmware else None)
    return Facts(
        source=Source.ERROR_TEXT,
        driver=DriverFacts(version=module.version, kernel_module=module, libcuda=_libcuda(text, found[2])),
    )


def _libcuda(text: str, version: str) -> Libcuda | None:
    """Return the libcuda in use, or None if the text names none. Files of cuda-compat do not count."""
    files: dict[str, str] = {}
    for number, match in enumerate(_LIBCUDA.finditer(text)):
        if number >= MAX_FILES:
            break
        if "compat" not in (match[1] or ""):
            files.setdefault(match[2], match[0])
    path = files.get(version) or next(iter(files.values()), None)
    return Libcuda(path=path) if path else None
