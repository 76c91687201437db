"""Reads the kernel log of a node (dmesg, journald): Xids, and why the NVIDIA kernel module is not loaded.

An Xid is an error that the kernel module logs with a number, the PCI address of the GPU and often a process:
``NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus.``
https://docs.nvidia.com/deploy/xid-errors/
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from gpuenv.assess.facts import NO_FACTS, Facts, Failure, Source
from gpuenv.knowledge.model import Knowledge

MAX_LINES: Final = 500
"""Number of Xid lines that are read. A broken GPU logs thousands."""
NVLINK_CODES: Final = range(144, 151)
"""Numbers of the Xids of NVLink 5, whose lines say whether the error is ``Fatal`` or ``Nonfatal``."""
_XID: Final = (
    r"NVRM: (?:GPU at PCI:[\w:.-]{4,60}[^\n]{0,80}\s{1,40}NVRM: )?"
    r"Xid \(([^)\n]{1,40})\): (\d{1,3})(?:, ([^\n]{0,200}))?"
)
_API_MISMATCH: Final = (
    r"API mismatch: the client[^\n]{0,80}has (?:the )?version \d{3}[\d.]{2,12},? but\s{1,80}(?:NVRM: {1,4})?"
    r"this kernel module has (?:the )?version \d{3}[\d.]{2,12}"
)
_NO_GPU: Final = r"NVRM: No NVIDIA (?:GPU|graphics adapter|device)s?(?: were)? (?:found|probed)"
_PROCESS: Final = r"\bname=([\w.+/:-]{1,40})"
_MODULE_FAULTS: Final[tuple[tuple[str, str], ...]] = (
    (
        "module-not-signed",
        (
            r"(?i)"
            r"could not insert '?nvidia[\w-]{0,24}'?: (?:Key was rejected by service|Required key not available)"
            r"|Loading of unsigned module is rejected|Lockdown: [^\n]{0,60}unsigned module loading is restricted"
        ),
    ),
    (
        "module-not-permitted",
        (
            r"(?i)"
            r"could not insert '?nvidia[\w-]{0,24}'?: (?:Operation not permitted|Permission denied)"
        ),
    ),
    (
        "module-nouveau",
        (
            r"(?i)"
            r"(?:was loaded and )?obtained ownership of the NVIDIA device|nouveau[^\n]{0,60}is using the device"
            r"|nouveau [\da-f]{4}:[\da-f]{2}:[\da-f]{2}\.\d: (?:NVIDIA \w{2,8} \(|DRM: VRAM: )[^\n]{0,40}"
        ),
    ),
    (
        "module-not-built",
        (
            r"(?i)"
            r"NVIDIA kernel module missing"
            r"|module '?nvidia'? not found|module not found: '?nvidia\b|Bad return status for module build on kernel"
            r"|DKMS module '?nvidia[^\n]{0,40}failed to build|Compiler version check failed"
            r"|could not insert '?nvidia[\w-]{0,24}'?: (?:Exec format error|Invalid argument|Unknown symbol[^\n]{0,40})"
            r"|nvidia: (?:version magic|disagrees about version of symbol|Unknown symbol)[^\n]{0,80}"
        ),
    ),
    (
        "module-no-gpu",
        (
            r"(?i)"
            r"could not insert '?nvidia[\w-]{0,24}'?: No such device"
        ),
    ),
    (
        "module-not-loaded",
        (
            r"(?i)"
            r"unable to load the kernel module '?nvidia[\w.-]{0,12}'?[^\n]{0,400}"
            r"|could not insert '?nvidia[\w-]{0,24}'?[^\n]{0,80}"
            r"|kernel module load error[^\n]{0,80}"
        ),
    ),
    (
        "module-kernel-unresolved",
        (
            r"(?i)"
            r"could not resolve Linux kernel version|failed to find the kernel headers[^\n]{0,80}"
        ),
    ),
    (
        "gpu-without-bar",
        (
            r"(?i)"
            r"This PCI I/O region assigned to your NVIDIA device is invalid|NVRM: BAR\d is 0M @ 0x0[^\n]{0,40}"
            r"|NVRM: [^\n]{0,40}insufficient (?:BAR|MMIO)[^\n]{0,60}"
        ),
    ),
)
"""Rules, and the words that their fault has. If the module was not signed, the words of the later rules follow from it."""
_SIGNS: Final = (
    "nvrm", "could not insert", "kernel module", "linux kernel version", "kernel headers", "nouveau", "unsigned module",
    "nvidia: ", "not found in directory", "module nvidia", "module 'nvidia", "api mismatch", "nvidia device",
    "module not found", "module build", "dkms", "compiler version",
)  # fmt: skip


def read(text: str, knowledge: Knowledge) -> Facts:
    """Return the Xids in a kernel log, and why the kernel module is not loaded."""
    lowered = text.lower()
    if not any(sign in lowered for sign in _SIGNS):
        return NO_FACTS
    mismatch = re.search(_API_MISMATCH, text)
    other = (Failure("nvml", name="nvml-mismatch", message=mismatch[0]),) if mismatch else ()
    return Facts(source=Source.ERROR_TEXT, errors=(*_xids(text, knowledge), *other, *_module_faults(text)))


def _xids(text: str, knowledge: Knowledge) -> Iterator[Failure]:
    """Yield one failure for each number of an Xid, with the GPU and the process of its first line."""
    seen: set[tuple[int, bool]] = set()
    for match in islice(re.finditer(_XID, text), MAX_LINES):
        code = int(match[2])
        # Xids that only follow from another one name it: "Ch 00000001 caused by previous Xid 149".
        recovered = code in NVLINK_CODES and " nonfatal" in (match[3] or "").lower()
        if (code, recovered) in seen or code == 0 or ("xid", code) not in knowledge.errors_by_code:
            continue
        seen.add((code, recovered))
        process = re.search(_PROCESS, match[3] or "")
        details = [("device", match[1].removeprefix("PCI:"))]
        details += [("program", process[1])] if process else []
        words = match[0].split("caused by previous")[0].rstrip()
        name = "nvlink-nonfatal" if recovered else ""
        yield Failure("xid", code, name=name, message=words, details=tuple(details))


def _module_faults(text: str) -> Iterator[Failure]:
    """Yield the first fault of the kernel module in the order of the rules. A later one usually follows from it.

    That the module finds no GPU is told besides, so that nobody takes it for a failure of a program.
    """
    found = ((name, re.search(pattern, text)) for name, pattern in _MODULE_FAULTS)
    first = next((Failure("os", name=name, message=match[0]) for name, match in found if match), None)
    without = re.search(_NO_GPU, text)
    if first:
        yield first
    if without:
        yield Failure("os", name="module-no-gpu", message=without[0])
