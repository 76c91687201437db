"""The extended resource through which Kubernetes assigns GPUs to pods, and every name that is derived from it."""

import re
from dataclasses import dataclass
from typing import Final

NVIDIA_DOMAIN: Final = "nvidia.com"
_EVERY_GPU_NODE: Final = f"{NVIDIA_DOMAIN}/gpu"
"""Key of the taint that cloud providers put on GPU nodes, no matter which extended resource the node advertises."""


@dataclass(frozen=True, slots=True)
class GPUDevice:
    """The extended resource that a probe pod requests, such as ``nvidia.com/gpu`` or ``nvidia.com/mig-1g.10gb``."""

    resource_name: str = "nvidia.com/gpu"

    @property
    def is_nvidia(self) -> bool:
        """Whether NVIDIA's device plug-in advertises the resource, so that NVIDIA's node labels describe it."""
        return self.resource_name.partition("/")[0] == NVIDIA_DOMAIN

    @property
    def taint_keys(self) -> tuple[str, ...]:
        """Keys of the taints that reserve nodes with this device for GPU pods. Probe pods tolerate these taints.

        Cloud providers use the key ``nvidia.com/gpu``. Kubernetes' own convention is the name of the resource:
        https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#extendedresourcetoleration
        """
        return tuple(dict.fromkeys((_EVERY_GPU_NODE, self.resource_name)))

    def is_insufficient(self, scheduling_message: str) -> bool:
        """Return whether a message of the scheduler says that nodes have too little of this resource left."""
        return self._is_named("Insufficient ", scheduling_message)

    def is_refused(self, reason: str, message: str) -> bool:
        """Return whether the kubelet rejected a pod because its devices are in use by other pods.

        ``reason`` and ``message`` are those of the pod's status. The kubelet uses the reason ``OutOf<resource>`` for a
        pod that the scheduler should not have placed there, and ``UnexpectedAdmissionError`` if its device manager
        cannot allocate the devices
        (https://github.com/kubernetes/kubernetes/blob/v1.34.0/pkg/kubelet/cm/devicemanager/manager.go).
        """
        if reason == "UnexpectedAdmissionError":
            return self._is_named("requested number of devices unavailable for ", message)
        return reason == f"OutOf{self.resource_name}"

    def _is_named(self, before: str, text: str) -> bool:
        """Return whether ``text`` contains ``before`` followed by exactly this resource name.

        A longer name that starts with this one (``nvidia.com/gpu.shared``) does not count.
        """
        end = r"(?![A-Za-z0-9_/-]|\.[A-Za-z0-9])"
        return re.search(re.escape(before + self.resource_name) + end, text) is not None
