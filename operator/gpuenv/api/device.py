"""The extended resource by which a cluster hands out GPUs, and every name that follows from it."""

import re
from dataclasses import dataclass
from typing import Final

NVIDIA_DOMAIN: Final = "nvidia.com"
_EVERY_GPU_NODE: Final = f"{NVIDIA_DOMAIN}/gpu"
"""Key of the taint that clouds put on their GPU nodes, whatever the resources of the node are called."""


@dataclass(frozen=True, slots=True)
class GPUDevice:
    """What a probe pod asks for to get its GPU, such as ``nvidia.com/gpu`` or ``nvidia.com/mig-1g.10gb``."""

    resource_name: str = "nvidia.com/gpu"

    @property
    def is_nvidia(self) -> bool:
        """Whether NVIDIA's own device plug-in offers the resource, so that NVIDIA's node labels speak of it."""
        return self.resource_name.partition("/")[0] == NVIDIA_DOMAIN

    @property
    def taint_keys(self) -> tuple[str, ...]:
        """Keys of the taints that keep other pods off nodes with this device, and that the probe tolerates.

        ``nvidia.com/gpu`` is what clouds write. The name of the resource itself is the convention of
        https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#extendedresourcetoleration
        """
        return tuple(dict.fromkeys((_EVERY_GPU_NODE, self.resource_name)))

    def is_insufficient(self, scheduling_message: str) -> bool:
        """Return whether the scheduler says that nodes have too few of this resource left."""
        return self._is_named("Insufficient ", scheduling_message)

    def is_refused(self, reason: str, message: str) -> bool:
        """Return whether the kubelet rejected a pod because others hold the devices.

        ``reason`` and ``message`` are those of the pod's status. The kubelet rejects with ``OutOf<resource>`` what
        the scheduler should not have placed, and with ``UnexpectedAdmissionError`` what its device manager cannot
        allocate (https://github.com/kubernetes/kubernetes/blob/v1.34.0/pkg/kubelet/cm/devicemanager/manager.go).
        """
        if reason == "UnexpectedAdmissionError":
            return self._is_named("requested number of devices unavailable for ", message)
        return reason == f"OutOf{self.resource_name}"

    def _is_named(self, before: str, text: str) -> bool:
        """Return whether ``text`` has ``before`` and then this very name, not one that only begins like it."""
        end = r"(?![A-Za-z0-9_/-]|\.[A-Za-z0-9])"
        return re.search(re.escape(before + self.resource_name) + end, text) is not None
