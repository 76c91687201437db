"""Makes the administrator's limits from the raw object in their file, and refuses mistakes in it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gpuenv.api.fields import Fields, shown
from gpuenv.api.label_syntax import DNS_NAME, LABEL_KEY
from gpuenv.api.limits.groups import Group
from gpuenv.api.limits.limits import MAX_RESOURCES, Limits, PullSecret
from gpuenv.api.quantity import amount

MAX_ENVIRONMENTS: Final = 10_000
"""The largest value of ``maxEnvironments``."""
MAX_DEVICES: Final = 64
"""The largest value of ``maxDevices``, as in the schema of ``spec.probe.device.count``."""
MAX_SECONDS: Final = 86_400
"""The largest value of ``maxTimeoutSeconds``, as in the schema of ``spec.probe.timeouts``."""
MAX_COMMAND_BYTES: Final = 100_000
"""The largest value of ``maxCommandBytes``. Linux passes a program no variable of more than 131,072 bytes."""
MAX_GPU_SECONDS: Final = 10_000 * 86_400
"""The largest value of ``gpuSecondsPerDay``: what 10,000 GPUs have in a day."""
ALLOCATION_MODES: Final = ("ExactCount", "All")


@dataclass(frozen=True, slots=True)
class _Form:
    """The form of the texts in a list. ``cure`` is the end of a message: what to write instead of another text."""

    expression: re.Pattern[str]
    cure: str


_WILDCARD: Final = "* stands for any characters, and there is no other wildcard"
_IMAGES: Final = _Form(
    re.compile(r"[A-Za-z0-9._:/@*-]+"), f"write a pattern such as registry.example.com/*; {_WILDCARD}"
)
_RESOURCES: Final = _Form(
    re.compile(r"[A-Za-z0-9._/*-]+"), f"write a pattern such as nvidia.com/*; {_WILDCARD}"
)
_VARIABLES: Final = _Form(re.compile(r"[A-Za-z0-9._*-]+"), f"write a pattern such as NCCL_*; {_WILDCARD}")
_TAINTS: Final = _Form(
    re.compile(r"[A-Za-z0-9._/*-]+"), f"write a pattern such as example.com/*; {_WILDCARD}"
)
_MODE: Final = _Form(re.compile("|".join(ALLOCATION_MODES)), f"write {' or '.join(ALLOCATION_MODES)}")
_ENVIRONMENTS: Final = _Form(re.compile(r"[a-z0-9*-]+"), f"write a pattern such as team-a-*; {_WILDCARD}")
_OBJECT: Final = _Form(DNS_NAME, "write the name of an object, such as team-a")
_LABEL: Final = _Form(LABEL_KEY, "write [prefix/]name, such as kueue.x-k8s.io/queue-name")


def parse(value: object) -> Limits:
    """Return the limits in a raw object. A field that is absent has its default.

    Raises FieldError for an unknown field, a value of the wrong type or form, and an entry that occurs twice.
    """
    fields, defaults = Fields("", value), Limits()
    _refuse_nulls(fields)
    limits = Limits(
        max_environments=fields.integer("maxEnvironments", defaults.max_environments, 1, MAX_ENVIRONMENTS),
        images=_texts(fields, "images", _IMAGES, defaults.images),
        priority_class_names=_texts(fields, "priorityClassNames", _OBJECT, defaults.priority_class_names),
        resource_names=_texts(fields, "resourceNames", _RESOURCES, defaults.resource_names),
        max_devices=fields.integer("maxDevices", defaults.max_devices, 1, MAX_DEVICES),
        allocation_modes=_texts(fields, "allocationModes", _MODE, defaults.allocation_modes),
        max_resources=_resources(fields.child("maxResources"), defaults.max_resources),
        environment_variables=_texts(
            fields, "environmentVariables", _VARIABLES, defaults.environment_variables
        ),
        pod_label_keys=_texts(fields, "podLabelKeys", _LABEL, defaults.pod_label_keys),
        pod_annotation_keys=_texts(fields, "podAnnotationKeys", _LABEL, defaults.pod_annotation_keys),
        runtime_class_names=_texts(fields, "runtimeClassNames", _OBJECT, defaults.runtime_class_names),
        scheduler_names=_texts(fields, "schedulerNames", _OBJECT, defaults.scheduler_names),
        toleration_keys=_texts(fields, "tolerationKeys", _TAINTS, defaults.toleration_keys),
        max_timeout_seconds=fields.integer("maxTimeoutSeconds", defaults.max_timeout_seconds, 1, MAX_SECONDS),
        max_command_bytes=fields.integer("maxCommandBytes", defaults.max_command_bytes, 2, MAX_COMMAND_BYTES),
        pull_secrets=tuple(_pull_secret(item) for item in fields.children("pullSecrets")),
        gpu_seconds_per_day=fields.integer(
            "gpuSecondsPerDay", defaults.gpu_seconds_per_day, 0, MAX_GPU_SECONDS
        ),
        groups=tuple(_group(item) for item in fields.children("groups")),
    )
    if twice := _repeated([one.name for one in limits.groups]):
        fields.fail("groups", f"lists the group {twice} twice; write one entry with all its environments")
    secrets = [one.secret_name for one in limits.pull_secrets]
    if twice := _repeated(secrets):
        fields.fail(
            "pullSecrets", f"lists the Secret {twice} twice; write one entry with all its environments"
        )
    fields.close()
    return limits


def _resources(fields: Fields, defaults: Mapping[str, str]) -> dict[str, str]:
    """Return the largest amounts of resources. A resource that is not named has its default.

    Raises FieldError for another resource than cpu, memory and ephemeral-storage, and unless each is a quantity above 0.
    """
    _refuse_nulls(fields)
    found = {}
    for name in MAX_RESOURCES:
        given = fields.raw(name)
        found[name] = defaults[name] if given is None else str(given)
        try:
            is_positive = amount(found[name]) > 0
        except ValueError:
            is_positive = False
        if not is_positive:
            # A pod with a limit of 0 would have none: kubelets do not enforce it.
            fields.fail(name, f"is {shown(given)}; write a quantity above 0, such as {MAX_RESOURCES[name]}")
    fields.close()
    return found


def _pull_secret(fields: Fields) -> PullSecret:
    _refuse_nulls(fields)
    name = fields.required_text("secretName")
    _require(fields, "secretName", _OBJECT, name)
    environments = _environments(fields)
    fields.close()
    return PullSecret(name, environments)


def _group(fields: Fields) -> Group:
    _refuse_nulls(fields)
    name = fields.required_text("name")
    _require(fields, "name", _OBJECT, name)
    group = Group(
        name,
        _environments(fields),
        fields.integer("maxEnvironments", 1, 1, MAX_ENVIRONMENTS) if fields.has("maxEnvironments") else None,
        fields.integer("gpuSecondsPerDay", 0, 0, MAX_GPU_SECONDS) if fields.has("gpuSecondsPerDay") else None,
    )
    fields.close()
    return group


def _environments(fields: Fields) -> tuple[str, ...]:
    """Return the patterns of names of environments. Raises FieldError if there are none."""
    environments = _texts(fields, "environments", _ENVIRONMENTS)
    if not environments:
        fields.fail("environments", 'is missing or empty; write ["*"] for all environments')
    return environments


def _texts(fields: Fields, name: str, form: _Form, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the list of texts in a field, or ``default`` if it is absent.

    Raises FieldError unless every text has the given form and occurs once.
    """
    found = fields.texts(name, default)
    for index, text in enumerate(found):
        _require(fields, f"{name}[{index}]", form, text)
    if twice := _repeated(found):
        fields.fail(name, f"lists {twice!r} twice; remove one")
    return found


def _require(fields: Fields, name: str, form: _Form, text: str) -> None:
    """Raise FieldError for the field ``name`` if a text has another form."""
    if not form.expression.fullmatch(text):
        fields.fail(name, f"is {shown(text)}; {form.cure}")


def _refuse_nulls(fields: Fields) -> None:
    """Raise FieldError for a field without a value. It looks as if nothing were allowed, but would mean the default."""
    for name, value in fields.all().items():
        if value is None:
            fields.fail(str(name), "has no value; write one, [] for an empty list, or leave the field out")


def _repeated(texts: Sequence[str]) -> str:
    """Return the first text that occurs more than once, or "" if none does."""
    return next((text for index, text in enumerate(texts) if text in texts[:index]), "")
