"""Decide what a container of a probe pod requests and how much it may use: device, CPU, memory and local storage.

The requests are small, so that they rarely keep the pod off a node whose GPUs are free. The limits bound what an image
can take from other pods on the node. An environment can change both with ``spec.probe.resources``.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from gpuenv.api.quantity import amount
from gpuenv.api.spec.environment import EnvironmentSpec, ProbeSpec

STORAGE: Final = "ephemeral-storage"
_REQUESTS: Final = {
    "cpu": "100m",
    "memory": "256Mi",
    # Zero, because the kubelet of some nodes does not report their local storage, and no pod that requests some would
    # be scheduled there. When a disk is full, the kubelet evicts pods first that use more than they request.
    STORAGE: "0",
}
_LIMITS: Final = {
    # Importing torch and launching kernels needs one CPU. torch.compile starts a compiler for each CPU, and torch a
    # thread for each CPU, without regard to this limit: more than eight would only make the node slower for others.
    "cpu": "8",
    # Importing torch, CUDA and cuDNN takes 2 to 5 GiB of host memory. Files in /dev/shm count, too.
    "memory": "8Gi",
    # 4 GiB for /tmp, and 2 GiB for the log and for a writable root file system.
    STORAGE: "6Gi",
}
_MEMORY_COMPILE: Final = "16Gi"
"""The memory limit with the feature ``Compile``, because torch.compile forks compilers."""
_SCRATCH: Final = "4Gi"
"""The size of /tmp, unless the environment has a limit of local storage, which then is the size of /tmp as well."""


def resources(spec: EnvironmentSpec, most: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the requests and limits of a container of the probe pod.

    ``most`` are the largest amounts that the administrator allows. Defaults that are larger are replaced by them.
    """
    probe = spec.probe
    device = {probe.device.resource_name: str(probe.device_count)}
    requested = probe.resources.get("requests", {})
    defaults = _LIMITS | ({"memory": _MEMORY_COMPILE} if spec.checks.compile else {})
    defaults = {name: str(_smaller(most[name], default)) for name, default in defaults.items()}
    # A limit below its request would make the pod invalid, and so would a request above its limit.
    limits = {name: _larger(requested.get(name), most) for name, most in defaults.items()} | _limits(probe)
    requests = {name: _smaller(limits[name], least) for name, least in _REQUESTS.items()}
    return {"limits": limits | device, "requests": requests | requested | device}


def scratch_size(spec: EnvironmentSpec, most: Mapping[str, str]) -> str:
    """Return the size limit of /tmp. The kubelet evicts a pod that exceeds it. ``most``: see :func:`resources`."""
    return str(_limits(spec.probe).get(STORAGE, _smaller(most[STORAGE], _SCRATCH)))


def _limits(probe: ProbeSpec) -> dict[str, Any]:
    """Return the limits in an environment. A limit of 0 counts as absent, because for the kubelet it is no limit."""
    limits = probe.resources.get("limits", {})
    return {
        name: found for name, found in limits.items() if any(digit in "123456789" for digit in str(found))
    }


def _smaller(quantity: object, default: object) -> object:
    return quantity if _number(quantity) < _number(default) else default


def _larger(quantity: object, default: object) -> object:
    return default if quantity is None or _number(quantity) <= _number(default) else quantity


def _number(quantity: object) -> Decimal:
    """Return the value of a quantity, or 0 if it cannot be understood. The API server then refuses the pod."""
    try:
        return amount(str(quantity))
    except ValueError:
        return Decimal(0)
