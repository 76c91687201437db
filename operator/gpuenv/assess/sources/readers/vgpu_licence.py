"""Reads what says that a virtual GPU has no licence: a part of ``nvidia-smi -q``, or the log of ``nvidia-gridd``.

The daemon nvidia-gridd obtains the licence. https://docs.nvidia.com/vgpu/latest/grid-licensing-user-guide/
"""

import re
from typing import Final

from gpuenv.assess.facts import NO_FACTS, Facts, Failure, Source
from gpuenv.assess.sources.nvidia_smi import read_nvidia_smi
from gpuenv.knowledge.model import Knowledge

_STATUS: Final = r"License Status {1,60}: {1,4}Unlicensed[^\n]{0,60}"
_DAEMON: Final = (
    r"(?i)"
    r"valid (?:GRID|vGPU) license not found[^\n]{0,120}|failed to acquire (?:GRID |vGPU )?license[^\n]{0,160}"
    r"|nvidia-gridd[^\n]{0,60}(?:license (?:request|checkout)[^\n]{0,40}fail|unable to (?:request|fetch)[^\n]{0,40}licens"
    r"|invalid client configuration token|failed to obtain[^\n]{0,40}licens)[^\n]{0,120}"
)


def read(text: str, knowledge: Knowledge) -> Facts:  # noqa: ARG001  the signature of all readers
    """Return the failure that a licence is missing.

    If the query names the GPU, its licence is a fact of that GPU instead, and a policy judges it.
    """
    if "icens" not in text:
        return NO_FACTS
    found = re.search(_DAEMON, text)
    if found is None and read_nvidia_smi(text).fragment.vgpu_licensed is False:
        found = re.search(_STATUS, text)
    errors = (Failure("os", name="vgpu-unlicensed", message=found[0]),) if found else ()
    return Facts(source=Source.ERROR_TEXT, errors=errors)
