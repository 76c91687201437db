"""Reads parts of ``nvidia-smi -q`` that name no GPU, and the log of ``nvidia-gridd``: licences and row remaps.

The daemon nvidia-gridd obtains the licence of a virtual GPU. https://docs.nvidia.com/vgpu/latest/grid-licensing-user-guide/
"""

import re
from typing import Final

from gpuenv.assess.facts import NO_FACTS, Facts, Failure, Source
from gpuenv.assess.sources.nvidia_smi import read_nvidia_smi
from gpuenv.knowledge.model import Knowledge

_STATUS: Final = r"License Status {1,60}: {1,4}Unlicensed[^\n]{0,60}"
_FABRIC: Final = (
    r"(?m)^[ \t]{0,40}Fabric[ \t]{0,20}\n[ \t]{1,60}State {1,60}: {1,4}(In Progress|Not Started)\b"
)
_DAEMON: Final = (
    r"(?i)"
    r"valid (?:GRID|vGPU) license not found[^\n]{0,120}|failed to acquire (?:GRID |vGPU )?license[^\n]{0,160}"
    r"|nvidia-gridd[^\n]{0,60}(?:license (?:request|checkout)[^\n]{0,40}fail|unable to (?:request|fetch)[^\n]{0,40}licens"
    r"|invalid client configuration token|failed to obtain[^\n]{0,40}licens)[^\n]{0,120}"
)


def read(text: str, knowledge: Knowledge) -> Facts:  # noqa: ARG001  the signature of all readers
    """Return the failures that a licence is missing, that a row remap is pending or has failed, and that NVSwitch waits.

    If the query names the GPU, they are facts of that GPU instead, and policies judge them.
    """
    if "icens" not in text and "Remap" not in text and "Fabric" not in text:
        return NO_FACTS
    read_query = read_nvidia_smi(text)
    fragment = read_query.fragment
    found = re.search(_DAEMON, text)
    if found is None and fragment.vgpu_licensed is False:
        found = re.search(_STATUS, text)
    errors = [Failure("os", name="vgpu-unlicensed", message=found[0])] if found else []
    if fragment.remap_failed:
        errors.append(Failure("os", name="row-remap-failed", message="Remapping Failure Occurred"))
    elif fragment.remap_pending:
        errors.append(Failure("os", name="row-remap-pending", message="Remapped Rows"))
    waiting = None if read_query.gpus else re.search(_FABRIC, text)
    if waiting:
        errors.append(Failure("os", name="fabric-in-progress", message=f"Fabric State: {waiting[1]}"))
    return Facts(source=Source.ERROR_TEXT, errors=tuple(errors))
