"""Reads errors with which Docker, containerd, CRI-O or Podman do not start a container: CDI, runtimes and GPU requests.

The Container Device Interface (CDI) describes devices in specifications, files in /etc/cdi and /var/run/cdi. The runtime
looks a device such as ``nvidia.com/gpu=0`` up in them. https://github.com/cncf-tags/container-device-interface
"""

import re
from collections.abc import Iterator
from typing import Final

from gpuenv.assess.facts import NO_FACTS, Facts, Failure, Source
from gpuenv.assess.sources.readers.containers.container_toolkit import LAYER
from gpuenv.knowledge.model import Knowledge

_DEVICE: Final = r"[\w.-]{1,60}/[\w.-]{1,60}=[\w.:-]{1,80}"
_UNRESOLVABLE: Final = (
    r"(?i)"
    rf"(?:unresolvable CDI devices?|unresolved CDI devices?|could not resolve the following CDI devices:?) \[?({_DEVICE})"
)
_CONFLICT: Final = (
    r"(?i)"
    rf"conflicting device \\{{0,6}}\"?({_DEVICE})|(?:conflict|multiple)[^\n]{{0,80}}?CDI (?:spec|kind)[^\n]{{0,120}}"
)
_INVALID: Final = (
    r"(?i)"
    r"(?:failed to (?:load|parse|read|validate|unmarshal) CDI spec\w{0,12}|invalid CDI (?:spec\w{0,12}|device|version)"
    r"|unsupported CDI (?:spec\w{0,12} )?version|failed to refresh the CDI registry|unknown or unsupported cdiversion)"
    r"[^\n]{0,200}"
)
_STAT: Final = (
    r"(?i)"
    r"failed to stat CDI host device \\{0,6}\"?(/[\w./-]{1,120})"
    r"|crun: cannot stat `?(/[\w./-]{0,160}(?:nvidia|libcuda)[\w.+-]{0,80})"
)
_INJECTION: Final = (
    r"(?i)"
    r"(?:failed to inject (?:CDI )?devices|CDI device injection failed|failed to inject CDI devices)[^\n]{0,300}"
)
_NOT_GENERATED: Final = (
    r"(?i)"
    r"failed to (?:get containerEdits|generate CDI spec\w{0,12})[^\n]{0,300}?failed to locate (lib[\w.]{3,40})[^\n]{0,120}"
)
_NO_CDI: Final = (
    r"(?i)"
    r"Error: stat nvidia\.com/gpu=[\w-]{1,60}: no such file or directory"
    r"|could not select device driver \\{0,6}\"cdi\\{0,6}\" with capabilities|CDI (?:support )?is (?:not enabled|disabled)"
    r"|CDI devices? (?:are|is) not supported"
)
_NO_VENDOR: Final = (
    r"(?i)"
    r"failed to discover GPU vendor from CDI[^\n]{0,120}|no known GPU vendor found"
)
_NO_GPU_DRIVER: Final = (
    r"(?i)"
    r"could not select device driver[^\n]{0,40}capabilities: \[\[[^\]\n]{0,80}gpu[^\]\n]{0,80}"
)
_NO_RUNTIME: Final = (
    r"(?i)"
    r"(?:unknown runtime specified|unknown or invalid runtime name:) \\{0,6}\"?([\w./-]{1,60})"
    r"|(?:no runtime for|RuntimeHandler|runtime handler|get runtime handler) \\{0,6}\"?([\w./-]{1,60})\\{0,6}\"?"
    r" (?:is configured|not supported|is not supported|from runtime list|not found|is not configured)"
)
_NO_CLASS: Final = (
    r"(?i)"
    r"RuntimeClass(?:\.node\.k8s\.io)? \\{0,6}\"?([\w./-]{1,60})\\{0,6}\"? (?:is )?not found"
)
_NO_DEVICE_FILE: Final = (
    r"(?i)"
    r"error gathering device information while adding custom device \\{0,6}\"(/dev/nvidia[\w-]{0,30})\\{0,6}\"[^\n]{0,40}"
)
_NO_NVIDIA_SMI: Final = (
    r"(?i)"
    r"exec: \\{0,6}\"nvidia-smi\\{0,6}\": executable file not found[^\n]{0,30}"
)
_SIGNS: Final = (
    "cdi",
    "runtime",
    "device driver",
    "custom device",
    "runc",
    "crun",
    "nvidia-smi",
    "createcontainer",
    "container device interface",
    "stat nvidia.com/",
)


_CDI_SIGNS: Final = (
    "cdi",
    "conflicting device",
    "gpu vendor",
    "crun: cannot stat",
    "container device interface",
    "stat nvidia.com/",
)


def read(text: str, knowledge: Knowledge) -> Facts:  # noqa: ARG001  the signature of all readers
    """Return the errors of container runtimes in a text."""
    lowered = text.lower()
    if not any(sign in lowered for sign in _SIGNS):
        return NO_FACTS
    cdi = _cdi(text) if any(sign in lowered for sign in _CDI_SIGNS) else ()
    return Facts(source=Source.ERROR_TEXT, errors=(*cdi, *_runtimes(text, lowered)))


def _cdi(text: str) -> Iterator[Failure]:
    """Yield what is wrong with CDI: the most exact fault that the text names."""
    unresolved = re.search(_UNRESOLVABLE, text)
    conflict, invalid, stat = re.search(_CONFLICT, text), re.search(_INVALID, text), re.search(_STAT, text)
    if unresolved:
        yield _failure("cdi-unresolvable", unresolved, device=unresolved[1])
    if conflict:
        yield _failure("cdi-conflict", conflict, device=conflict[1] or "")
    if invalid and not conflict:
        yield _failure("cdi-invalid", invalid)
    if stat:
        yield _failure("cdi-stale", stat, device=stat[1] or stat[2])
    named = unresolved or conflict or invalid or stat
    if not named and (injection := re.search(_INJECTION, text)):
        yield _failure("cdi-other", injection)
    if generated := re.search(_NOT_GENERATED, text):
        yield _failure("cdi-not-generated", generated, library=generated[1] or "")
    if off := re.search(_NO_CDI, text):
        yield _failure("cdi-off", off)
    if vendor := re.search(_NO_VENDOR, text):
        yield _failure("cdi-no-specification", vendor)


def _runtimes(text: str, lowered: str) -> Iterator[Failure]:
    """Yield what the runtime lacks: a runtime of that name, or a way to give containers GPUs."""
    if "device driver" in lowered and (request := re.search(_NO_GPU_DRIVER, text)):
        yield _failure("no-gpu-support-in-docker", request)
    if "runtime" in lowered and (runtime := re.search(_NO_RUNTIME, text)):
        yield _failure("no-such-runtime", runtime, runtime=runtime[1] or runtime[2])
    if "runtimeclass" in lowered and (missing := re.search(_NO_CLASS, text)):
        yield _failure("no-such-runtime-class", missing, runtime=missing[1])
    if "custom device" in lowered and (device := re.search(_NO_DEVICE_FILE, text)):
        yield _failure("no-device-file", device, device=device[1])
    if "nvidia-smi" in lowered and (program := re.search(_NO_NVIDIA_SMI, text)):
        yield _failure("container-without-nvidia-smi", program)


def _failure(name: str, match: re.Match[str], **details: str) -> Failure:
    known = ((key, value.strip(".:")) for key, value in details.items() if value)
    return Failure(LAYER, name=name, message=match[0], details=tuple(known))
