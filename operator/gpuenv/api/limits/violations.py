"""Compares a specification with the administrator's limits.

Each rule yields one line for each violation. The line names the field, what it asks for, and what the author or the
administrator can do.
"""

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Final

from gpuenv.api.foreign_text import one_line
from gpuenv.api.limits.image_patterns import is_allowed
from gpuenv.api.limits.limits import Limits
from gpuenv.api.limits.patterns import matches
from gpuenv.api.names import NATIVE_RESOURCES
from gpuenv.api.quantity import amount
from gpuenv.api.spec.environment import EnvironmentSpec

Rule = Callable[[str, EnvironmentSpec, Limits], Iterator[str]]
"""Yields the violations of one limit by the specification of the environment with the given name."""

_NVIDIA: Final = "NVIDIA_"
_SHOWN: Final = 80
"""How many characters of a value a message shows."""
_NAMED: Final = 5
"""How many allowed values a message names."""


def violations(name: str, spec: EnvironmentSpec, limits: Limits) -> list[str]:
    """Return everything that the environment ``name`` asks for and the limits do not allow, one line each."""
    return [line for rule in RULES for line in rule(name, spec, limits)]


# ---- rules -----------------------------------------------------------------------------------------------


def _image(_: str, spec: EnvironmentSpec, limits: Limits) -> Iterator[str]:
    if not is_allowed(spec.image, limits.images):
        yield _refused("spec.image", spec.image, limits.images, "images")


def _pull_secrets(name: str, spec: EnvironmentSpec, limits: Limits) -> Iterator[str]:
    allowed = {one.secret_name for one in limits.pull_secrets if matches(name, one.environments)}
    for index, secret in enumerate(spec.image_pull_secrets):
        if secret not in allowed:
            yield (
                f"spec.imagePullSecrets[{index}]: the Secret {_text(secret)} is not for this environment; remove it, or "
                f"ask the administrator to map it to {_text(name)} in {_values('pullSecrets')}"
            )


def _device(_: str, spec: EnvironmentSpec, limits: Limits) -> Iterator[str]:
    device, probe = "spec.probe.device", spec.probe
    if not matches(probe.device.resource_name, limits.resource_names):
        yield _refused(
            f"{device}.resourceName", probe.device.resource_name, limits.resource_names, "resourceNames"
        )
    others = {
        name: wanted
        for name, wanted in probe.resources.get("limits", {}).items()
        if name not in NATIVE_RESOURCES and matches(name, limits.resource_names)
    }
    if _total([probe.device_count, *others.values()]) > limits.max_devices:
        field, what = f"{device}.count", str(probe.device_count)
        if others:
            field, what = (
                "spec.probe.resources.limits",
                f"{what} with those of {', '.join(map(_text, others))}",
            )
        yield _too_many(field, what, limits.max_devices, "maxDevices")
    if probe.allocation_mode not in limits.allocation_modes:
        yield _refused(
            f"{device}.allocationMode", probe.allocation_mode, limits.allocation_modes, "allocationModes"
        )


def _resources(_: str, spec: EnvironmentSpec, limits: Limits) -> Iterator[str]:
    for section, asked in spec.probe.resources.items():
        for name, wanted in asked.items():
            field = f"spec.probe.resources.{section}"
            if name not in NATIVE_RESOURCES:
                if not matches(name, limits.resource_names):
                    yield _refused(
                        field, name, (*sorted(NATIVE_RESOURCES), *limits.resource_names), "resourceNames"
                    )
            elif _total([wanted]) > amount(limits.max_resources[name]):
                yield _too_many(f"{field}.{name}", wanted, limits.max_resources[name], f"maxResources.{name}")


def _classes(_: str, spec: EnvironmentSpec, limits: Limits) -> Iterator[str]:
    """Yield a line for each class or scheduler that is not allowed. One that is not named is the cluster's default."""
    probe = spec.probe
    for field, value, allowed in (
        ("priorityClassName", probe.priority_class_name, limits.priority_class_names),
        ("runtimeClassName", probe.runtime_class_name, limits.runtime_class_names),
        ("schedulerName", probe.scheduler_name, limits.scheduler_names),
    ):
        if value is not None and value not in allowed:
            yield _refused(f"spec.probe.{field}", value, allowed, f"{field}s")


def _variables(_: str, spec: EnvironmentSpec, limits: Limits) -> Iterator[str]:
    for index, (name, _value) in enumerate(spec.probe.env):
        if name.startswith(_NVIDIA):
            yield (
                f"spec.probe.env[{index}]: {_text(name)} belongs to the device plug-in, which sets it for the GPUs of the "
                "pod; remove it"
            )
        elif not matches(name, limits.environment_variables):
            yield _refused(
                f"spec.probe.env[{index}]", name, limits.environment_variables, "environmentVariables"
            )


def _metadata(_: str, spec: EnvironmentSpec, limits: Limits) -> Iterator[str]:
    for field, keys, allowed, limit in (
        ("podLabels", spec.probe.pod_labels, limits.pod_label_keys, "podLabelKeys"),
        ("podAnnotations", spec.probe.pod_annotations, limits.pod_annotation_keys, "podAnnotationKeys"),
    ):
        for key in keys:
            if key not in allowed:
                yield _refused(f"spec.probe.{field}", key, allowed, limit)


def _tolerations(_: str, spec: EnvironmentSpec, limits: Limits) -> Iterator[str]:
    """Yield a line for each toleration whose key matches no pattern. One without a key needs the pattern ``*``."""
    for index, toleration in enumerate(spec.probe.tolerations):
        field, key = f"spec.probe.tolerations[{index}]", str(toleration.get("key") or "")
        if not key and "*" not in limits.toleration_keys:
            yield _refused(
                field, "every taint, as it has no key,", limits.toleration_keys, "tolerationKeys", "*"
            )
        elif key and not matches(key, limits.toleration_keys):
            yield _refused(field, key, limits.toleration_keys, "tolerationKeys")


def _timeouts(_: str, spec: EnvironmentSpec, limits: Limits) -> Iterator[str]:
    clocks, longest = spec.probe.timeouts, limits.max_timeout_seconds
    for field, seconds in (
        ("schedulingSeconds", clocks.scheduling),
        ("setupSeconds", clocks.setup),
        ("pullSeconds", clocks.pull),
        ("runSeconds", clocks.run),
    ):
        if seconds > longest:
            yield _too_many(f"spec.probe.timeouts.{field}", seconds, longest, "maxTimeoutSeconds")


def _commands(_: str, spec: EnvironmentSpec, limits: Limits) -> Iterator[str]:
    found = spec.checks.command_json
    size = len(found) + found.count("$")  # in a pod, each is written twice
    if spec.checks.commands and size > limits.max_command_bytes:
        yield _too_many("spec.checks.commands", f"{size} bytes", limits.max_command_bytes, "maxCommandBytes")


RULES: Final[tuple[Rule, ...]] = (
    _image,  # where kubelets connect to, and what runs
    _pull_secrets,  # private images of other teams
    _device,  # GPUs, and devices that are none
    _resources,  # memory, CPUs and disk of the node, and more devices
    _classes,  # priority over workloads, other runtimes and schedulers
    _variables,  # GPUs that the device plug-in did not give
    _metadata,  # what webhooks and network plug-ins read from a pod
    _tolerations,  # nodes that are kept free
    _timeouts,  # how long a GPU is held
    _commands,  # the size of the pod
)
"""All limits but the number of environments, which concerns several of them."""


# ---- words and comparisons -------------------------------------------------------------------------------


def _refused(field: str, value: str, allowed: Iterable[str], limit: str, added: str = "it") -> str:
    """Return the message about a value that is in no list or matches no pattern.

    ``added`` is what the administrator would have to add to the list.
    """
    listed = list(allowed)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    choice = f"{', '.join(listed[:_NAMED])}{more}" if listed else "none"
    cure = "change it" if listed else "remove it"
    return (
        f"{field}: {_text(value)} is not allowed (allowed: {choice}); {cure}, or ask the administrator to add {added} to "
        f"{_values(limit)}"
    )


def _too_many(field: str, value: object, most: object, limit: str) -> str:
    """Return the message about an amount that is too large."""
    return f"{field}: {_text(str(value))} is more than {most}; write less, or ask the administrator to raise {_values(limit)}"


def _values(limit: str) -> str:
    """Return words for the place of a limit. The chart writes its values into the operator's limits file."""
    return f"limits.{limit} in the chart's values"


def _text(value: str) -> str:
    return one_line(value, _SHOWN)


def _total(quantities: Iterable[object]) -> Decimal:
    """Return the sum of quantities, or infinity if one is none: nobody knows how much it is."""
    try:
        return sum((amount(str(one)) for one in quantities), Decimal(0))
    except ValueError:
        return Decimal("Infinity")
