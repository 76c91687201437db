"""Reads the faults of the NVIDIA Container Toolkit: what ``nvidia-container-cli`` and the runtime hook say.

The toolkit names the step that failed (``ldcache error``), and then the cause. Both decide which rule explains the fault,
because each needs another cure. https://github.com/NVIDIA/libnvidia-container,
https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/troubleshooting.html
"""

import re
from itertools import islice
from typing import Final

from gpuenv.assess.facts import NO_FACTS, Facts, Failure, Source
from gpuenv.knowledge.model import Knowledge
from gpuenv.knowledge.place_holders import Details
from gpuenv.knowledge.versions import parse_version, show

LAYER: Final = "container"
MAX_FAULTS: Final = 8
"""Number of faults that are read from one text. The kubelet repeats the same one again and again."""
_SAID: Final = (
    r"(?i)"
    r"nvidia-container-cli(?:\.real)?: {1,4}((?:\w{1,20} error|initialization)[^\n]{0,400})"
)
_END: Final = r"\\{1,8}n|\\{0,8}\"|: unknown(?! \w)|\s{1,4}\[ERROR\]"
"""Matches the end of a fault: a line break or quotation mark that was escaped, or the last word of containerd's chain."""
_DRIVER_LIBRARIES: Final = ("libnvidia-ml", "libcuda")

_STEPS: Final[tuple[tuple[str, str], ...]] = (
    ("requirement error: invalid expression", "toolkit-expression"),
    ("requirement error", "toolkit-requirement"),
    ("driver not loaded", "toolkit-driver-not-loaded"),
    ("driver/library version mismatch", "nvml-mismatch"),
    ("wsl environment detected but no adapters", "toolkit-wsl-no-adapter"),
    ("rpc error: timed out", "toolkit-timeout"),
    ("driver error: timed out", "toolkit-timeout"),
    ("gpu is lost", "gpu-off-the-bus"),
    ("nvml error: insufficient permissions", "no-permission"),
    ("nvml error: unknown error", "toolkit-gpu-unknown-error"),
    ("cuda error: unknown error", "toolkit-gpu-unknown-error"),
    ("cuda error:", "toolkit-cuda-error"),
    ("driver rpc error", "toolkit-driver-service"),
    ("driver error", "toolkit-driver-service"),
    ("unknown device", "toolkit-unknown-device"),
    ("ldcache error", "toolkit-ldcache"),
    ("cgroup", "toolkit-cgroup"),
    ("device rules", "toolkit-cgroup"),
    ("bpf_prog", "toolkit-cgroup"),
    ("file exists", "toolkit-mount-exists"),
    ("nvidia-persistenced", "toolkit-mount-socket"),
    ("nvidia-fabricmanager", "toolkit-mount-socket"),
    ("operation not permitted", "toolkit-permission"),
    ("permission denied", "toolkit-permission"),
    ("permission error", "toolkit-permission"),
    ("privilege", "toolkit-permission"),
    ("/proc/driver/nvidia", "toolkit-driver-not-loaded"),
    ("stat failed: /dev/nvidia", "toolkit-no-device-file"),
    ("mount error", "toolkit-mount"),
)
"""Words of a fault, in lower case, and the rule that explains it. The first words that the fault has count."""
_HOOK_IN_CDI: Final = (
    r"(?i)"
    r"invoking the NVIDIA Container Runtime Hook directly[^\n]{0,160}?is not supported"
)
_NO_PROGRAM: Final = (
    r"(?i)"
    r"(?:exec: \\{0,6}\"|fork/exec |error executing hook `?|stat )(?:/[\w.+/-]{1,200}/|/)?"
    r"(nvidia-(?:container-runtime|container-toolkit|cdi-hook|ctk)[\w.-]{0,40})"
    r"[^\n]{0,160}?(?:executable file not found|no such file or directory)"
)
_NO_LIBRARY: Final = (
    r"(?i)"
    r"nvidia-(?:container-\w{2,12}|ctk|cdi-hook)(?:\.real)?: error while loading shared libraries: ([\w.+-]{3,60})[^\n]{0,120}"
    r"|nvidia-container-cli(?:\.real)?: [^\n]{0,80}version `?(GLIBC_[\d.]{3,6})'? not found[^\n]{0,160}"
)
_HOOK_FAILED: Final = (
    r"(?i)"
    r"error executing hook `?[\w./-]{0,200}nvidia-[\w.-]{1,60}`? \(exit code: \d{1,3}\)"
    r"|nvidia-container-runtime did not terminate successfully[^\n]{0,60}"
)
_SIGNS: Final = ("nvidia-container", "nvidia container", "nvidia-cdi-hook", "nvidia-ctk")


def read(text: str, knowledge: Knowledge) -> Facts:
    """Return the faults of the container toolkit in a text."""
    lowered = text.lower()
    if not any(sign in lowered for sign in _SIGNS):
        return NO_FACTS
    found = [
        fault for match in islice(re.finditer(_SAID, text), MAX_FAULTS) if (fault := _fault(match, knowledge))
    ]
    found += (
        Failure(LAYER, name="toolkit-hook-in-cdi-mode", message=match[0])
        for match in islice(re.finditer(_HOOK_IN_CDI, text), 1)
    )
    found += (
        Failure(LAYER, name="toolkit-no-program", message=match[0], details=(("program", match[1]),))
        for match in islice(re.finditer(_NO_PROGRAM, text), 1)
    )
    found += (
        Failure(LAYER, name="toolkit-broken", message=match[0], details=(("library", match[1] or match[2]),))
        for match in islice(re.finditer(_NO_LIBRARY, text), 1)
    )
    if not found:
        found += (
            Failure(LAYER, name="toolkit-hook-failed", message=match[0])
            for match in islice(re.finditer(_HOOK_FAILED, text), 1)
        )
    return Facts(source=Source.ERROR_TEXT, errors=tuple(found))


def _fault(match: re.Match[str], knowledge: Knowledge) -> Failure | None:
    """Return one fault, or None if it only says that CUDA finds no device: a pattern of errors.yaml explains that."""
    end = re.search(_END, match[1])
    said = (match[1][: end.start()] if end else match[1]).rstrip(" .")
    words = match[0][: match.start(1) - match.start()] + said
    lowered = said.lower()
    if "cuda error: no cuda-capable device" in lowered:
        return None
    name = next((rule for words, rule in _STEPS if words in lowered), "")
    library = re.search(r"load library failed: ([\w./+-]{3,120})", said)
    if library:
        known = library[1].startswith(_DRIVER_LIBRARIES)
        name = "toolkit-no-driver-library" if known else "toolkit-other"
    if name == "toolkit-requirement":
        return _requirement(words, knowledge)
    return Failure(LAYER, name=name or "toolkit-other", message=words, details=_details(said))


def _requirement(words: str, knowledge: Knowledge) -> Failure:
    """Return the fault that the driver does not satisfy the condition of the image (NVIDIA_REQUIRE_CUDA).

    If the condition is about CUDA, the details name the oldest driver branch for that CUDA version.
    """
    cuda = re.search(r"cuda ?>=? ?(\d{1,2}\.\d{1,2})", words)
    wanted = parse_version(cuda[1]) if cuda else None
    if wanted is None:
        return Failure(LAYER, name="toolkit-brand", message=words, details=_condition(words))
    branch = knowledge.first_branch(wanted)
    driver = (("driver", f"R{branch}"),) if branch is not None else ()
    return Failure(
        LAYER, name="toolkit-requirement", message=words, details=(("version", show(wanted)), *driver)
    )


def _condition(said: str) -> Details:
    found = re.search(r"condition: ([\w.=<>!, -]{1,80})", said)
    return (("version", found[1].strip()),) if found else ()


def _details(said: str) -> Details:
    """Return the library, device or file that a fault names. What is mounted into a container is known by its name."""
    library = re.search(r"load library failed: ([\w./+-]{3,120})", said)
    device = re.search(
        r"device error: ([^\s:][^:\n]{0,80}): unknown device|stat failed: (/dev/nvidia[\w/-]{0,40})", said
    )
    exists = re.search(r"/([\w.+-]{1,100}): file exists", said)
    if library:
        return (("library", library[1].rstrip(":")),)
    if device:
        return (("device", device[1] or device[2]),)
    return (("library", exists[1]),) if exists else ()
