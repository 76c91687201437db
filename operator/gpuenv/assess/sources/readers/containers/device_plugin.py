"""Reads logs of NVIDIA's device plug-in, and what the kubelet says when the plug-in gives no device.

The plug-in tells the kubelet which GPUs a node has. It runs in a container itself, so that it finds no GPU if the
container runtime does not give it the driver. https://github.com/NVIDIA/k8s-device-plugin
"""

import re
from collections.abc import Iterator
from typing import Final

from gpuenv.assess.facts import NO_FACTS, Facts, Failure, Source
from gpuenv.knowledge.model import Knowledge

LAYER: Final = "kubernetes"
_NO_LIBRARY: Final = (
    r"(?i)"
    r"(?:detected non-NVML platform|NVML not detected|failed to initialize NVML|failed to start nvml with error"
    r"|error initializing NVML)[^\n]{0,40}could not load NVML library[^\n]{0,120}"
)
_MIG: Final = (
    r"(?i)"
    r"(?:device with migEnabled=\w{4,5} was not configured correctly|invalid MIG configuration|no MIG devices configured"
    r"|more than one MIG device type present|must be configured with the same migEnabled value)[^\n]{0,160}"
)
_NO_DEVICES: Final = (
    r"(?i)"
    r"incompatible (?:strategy|platform) detected[^\n]{0,40}|no devices found\. waiting indefinitely"
    r"|invalid device discovery strategy|if this is a GPU node, did you (?:configure|set)[^\n]{0,100}"
)
_UNAVAILABLE: Final = (
    r"(?i)"
    r"requested number of devices unavailable for ([\w.-]{1,60}/[\w.-]{1,60})\. ?Requested: ?(\d{1,4}), ?Available: ?(\d{1,4})"
    r"|\bOutOf([\w.-]{1,60}/[\w.-]{1,60})"
)
_ALLOCATE: Final = (
    r"(?i)"
    r"Allocate failed due to (?:rpc error|device plugin|failed to|no such)[^\n]{0,300}?which is unexpected"
)
_NONE_OFFERED: Final = (
    r"(?m)"
    r"^ {0,8}(nvidia\.com/[\w.-]{1,40}): {1,60}0$"
)
"""Matches a line of ``kubectl describe node`` under Capacity or Allocatable."""
_OPERATOR_PODS: Final = (
    r"(?m)"
    r"^[^\n]{0,60}?\b((?:nvidia-(?:device-plugin|container-toolkit|driver|mig-manager|operator-validator)|gpu-feature-discovery"
    r"|nvidia-dcgm-exporter)[a-z0-9.-]{3,60}) {1,60}(\d{1,2})/(\d{1,2}) {1,60}(Init:[\w:/]{1,40}|\w{0,40}(?:BackOff|Error))\b"
)
"""Matches a pod of the GPU Operator that does not start, in the output of ``kubectl get pods``."""
_WITHOUT_GPUS: Final = (
    r"(?i)"
    r"(?:nvidia )?GPUs? (?:is |are )?not (?:available|advertised|allocatable) on (?:the )?node\b[^\n]{0,80}"
    r"|node [^\n]{1,80} has no allocatable (?:nvidia )?GPUs?|no (?:node|nodes) (?:with|advertis\w{1,4}) nvidia\.com/gpu"
)
"""Matches what programs say that look for GPUs among the nodes of a cluster."""
_SIGNS: Final = (
    "nvml library", "mig", "detected", "no devices found", "discovery strategy", "gpu node", "allocate failed",
    "devices unavailable", "outof", "allocatable", "on node", "on the node", "nvidia.com/gpu", "daemonset-",
)  # fmt: skip
_MAX_LINES: Final = 4
"""Number of different lines about one fault that are read. The plug-in says in three lines that it finds no GPU."""


def read(text: str, knowledge: Knowledge) -> Facts:  # noqa: ARG001  the signature of all readers
    """Return the faults of a device plug-in in a text."""
    lowered = text.lower()
    if not any(sign in lowered for sign in _SIGNS):
        return NO_FACTS
    return Facts(source=Source.ERROR_TEXT, errors=tuple(_faults(text)))


def _faults(text: str) -> Iterator[Failure]:
    if library := re.search(_NO_LIBRARY, text):
        yield Failure(LAYER, name="plugin-without-driver", message=library[0])
    if mig := re.search(_MIG, text):
        yield Failure(LAYER, name="plugin-mig", message=mig[0])
    position = 0
    for _ in range(_MAX_LINES):
        found = re.compile(_NO_DEVICES).search(text, position)
        if found is None:
            break
        position = found.end()
        yield Failure(LAYER, name="plugin-no-devices", message=found[0])
    if "daemonset-" in text and (waiting := re.search(_OPERATOR_PODS, text)):
        words = " ".join(waiting[0].split())
        yield Failure(LAYER, name="operator-pods-wait", message=words)
    if "Allocatable:" in text and (offered := re.search(_NONE_OFFERED, text)):
        yield Failure(LAYER, name="node-offers-none", message=offered[0], details=(("device", offered[1]),))
    elif without := re.search(_WITHOUT_GPUS, text):
        yield Failure(
            LAYER, name="node-offers-none", message=without[0], details=(("device", "nvidia.com/gpu"),)
        )
    if unavailable := re.search(_UNAVAILABLE, text):
        device = unavailable[1] or unavailable[4]
        yield Failure(
            LAYER, name="admission-no-device", message=unavailable[0], details=(("device", device),)
        )
    elif allocate := re.search(_ALLOCATE, text):
        lost = "gpu is lost" in allocate[0].lower()
        yield Failure(LAYER, name="gpu-off-the-bus" if lost else "plugin-allocate", message=allocate[0])
