"""The limits that an administrator sets for all environments of a cluster, and the parser of their file.

An author of an environment may have less power in the cluster than the operator, so these limits bound what an
environment may ask for. This version of gpuenv parses them and enforces none of them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gpuenv.api import names
from gpuenv.api.fields import Fields, shown
from gpuenv.api.label_syntax import DNS_NAME, LABEL_KEY

MAX_ENVIRONMENTS: Final = 10_000
"""The largest value of ``maxEnvironments``."""


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
_ENVIRONMENTS: Final = _Form(re.compile(r"[a-z0-9*-]+"), f"write a pattern such as team-a-*; {_WILDCARD}")
_OBJECT: Final = _Form(DNS_NAME, "write the name of an object, such as team-a")
_LABEL: Final = _Form(LABEL_KEY, "write [prefix/]name, such as kueue.x-k8s.io/queue-name")


@dataclass(frozen=True, slots=True)
class PullSecret:
    """A Secret for pulling images, and patterns of the names of the environments that may use it.

    The Secret is in the namespace of the probe pods.
    """

    secret_name: str
    environments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """What environments may ask for. In ``images`` and ``resource_names``, ``*`` stands for any characters."""

    max_environments: int = 200
    """The largest number of environments in the cluster."""
    images: tuple[str, ...] = ("*",)
    """Patterns of the images."""
    priority_class_names: tuple[str, ...] = (names.PROBE_PRIORITY_CLASS,)
    resource_names: tuple[str, ...] = ("nvidia.com/*", "deviceclass.resource.kubernetes.io/*")
    """Patterns of the extended resources that probe pods may request as their device."""
    pod_label_keys: tuple[str, ...] = ("kueue.x-k8s.io/queue-name",)
    """The keys of the labels that environments may add to their probe pods."""
    pull_secrets: tuple[PullSecret, ...] = ()
    """No environment may use a Secret that is not listed here."""


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
        pod_label_keys=_texts(fields, "podLabelKeys", _LABEL, defaults.pod_label_keys),
        pull_secrets=tuple(_pull_secret(item) for item in fields.children("pullSecrets")),
    )
    secrets = [one.secret_name for one in limits.pull_secrets]
    if twice := _repeated(secrets):
        fields.fail(
            "pullSecrets", f"lists the Secret {twice} twice; write one entry with all its environments"
        )
    fields.close()
    return limits


def _pull_secret(fields: Fields) -> PullSecret:
    _refuse_nulls(fields)
    name = fields.required_text("secretName")
    _require(fields, "secretName", _OBJECT, name)
    environments = _texts(fields, "environments", _ENVIRONMENTS)
    if not environments:
        fields.fail("environments", 'is missing or empty; write ["*"] for all environments')
    fields.close()
    return PullSecret(name, environments)


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
