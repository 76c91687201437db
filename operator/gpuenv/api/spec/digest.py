"""Digests of typed values. An upgrade of gpuenv does not change the digest of an unchanged value.

A node report stores the digests of the inputs that led to its verdict. As soon as one of them differs from the digest
of the present inputs, the verdict is stale. An upgrade of gpuenv must therefore not change the digest of a value that
still means the same. These rules ensure that:

* A dataclass field is left out of the digest if its value equals its default. So a new field with a default changes
  no digest.
* The order of a mapping or a set does not count. The order of a list does, because it can change what a probe
  does: a command is a list, and a variable of ``env`` may refer to variables before it.
* Texts with different code points have different digests, and so have numbers with different JSON forms (``1`` and
  ``1.0``). A Decimal counts by its value: ``19.5`` and ``19.50`` have the same digest.
* When a default changes, the field names its first default as ``metadata={FIRST_DEFAULT: ...}``. From then on, the
  field is left out if its value equals the first default, and not if it equals the new one. The API server has stored
  the first default in existing objects: they keep their digest and their verdicts. Objects with the new default get a
  new digest, and are validated again.
* Names of fields are part of the digest. If a field is renamed, or moved to another dataclass, the verdicts of every
  environment that sets it become stale.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeGuard

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FIRST_DEFAULT: Final = "first default"
"""Key in the metadata of a dataclass field. Its value is the default that the field had when it was introduced."""
LENGTH: Final = 16
"""The number of hexadecimal digits in a digest."""


def digest(value: object) -> str:
    """Return a short hexadecimal digest of a value: a text, number, boolean or None, or a collection of these.

    Collections are dataclasses, mappings, lists, tuples and sets.
    """
    import hashlib  # noqa: PLC0415  loads OpenSSL, which gpuenv explain never needs

    return hashlib.sha256(_text(value).encode()).hexdigest()[:LENGTH]


def _text(value: object) -> str:
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _plain(value: object) -> Any:
    """Return ``value`` converted to the types that JSON has. Raises TypeError if a part has no JSON form."""
    if _is_record(value):
        return {field.name: held for field in dataclasses.fields(value) for held in _held(value, field)}
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else _text(key): _plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, AbstractSet):
        return [json.loads(text) for text in sorted(_text(item) for item in value)]
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    raise TypeError(f"{type(value).__name__} has no digest")


def _held(record: object, field: "dataclasses.Field[Any]") -> Iterator[Any]:
    """Yield the value of a field in JSON types, or nothing if the digest leaves the field out.

    A field that holds a dataclass is left out if all fields of that dataclass are left out. It is not compared with
    its own default, which contains the present defaults of the inner fields, because only their first defaults count.
    """
    value, default = getattr(record, field.name), _default(field)
    plain = _plain(value)
    left_out = plain == {} if _is_record(value) and _is_record(default) else value == default
    if not left_out:
        yield plain


def _default(field: "dataclasses.Field[Any]") -> object:
    """Return the first default of a field, or ``dataclasses.MISSING`` for a required field."""
    if FIRST_DEFAULT in field.metadata:
        return field.metadata[FIRST_DEFAULT]
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _is_record(value: object) -> TypeGuard["DataclassInstance"]:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)
