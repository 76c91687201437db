"""What a real API server makes of a status that somebody writes: it drops unknown fields, and may refuse the rest.

It is written without the operator's own ``fit``, so that each can be tested with the other.
"""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any

import jsonschema

from gpuenv import manifests
from gpuenv.controller.kube.errors import ApiError

Raw = dict[str, Any]

ETCD_BYTES = 1_572_864
"""Size of a request that etcd refuses, by default."""
REQUEST_BYTES = 3 << 20
"""Size of a request that the API server refuses."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_WIDTHS = {"int32": 2**31, "int64": 2**63}


@cache
def schema_of(plural: str) -> Raw:
    """Return the schema of the status of a kind."""
    (crd,) = [one for one in manifests.crds() if one["spec"]["names"]["plural"] == plural]
    (version,) = crd["spec"]["versions"]
    status: Raw = version["schema"]["openAPIV3Schema"]["properties"]["status"]
    return status


def stored(plural: str, status: Any) -> Any:
    """Return the status as an API server stores it. Raises ApiError if it refuses it."""
    sent = json.dumps(status, ensure_ascii=False).encode("utf-8", "replace")
    if len(sent) > REQUEST_BYTES:
        raise ApiError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")
    if re.search(r"\bNaN\b|\bInfinity\b", re.sub(r'"(?:[^"\\]|\\.)*"', "", sent.decode())):
        raise ApiError(400, "BadRequest", "the object provided is unrecognized")
    if len(sent) > ETCD_BYTES:
        raise ApiError(500, "HTTP500", "etcdserver: request is too large")
    pruned = _pruned(schema_of(plural), json.loads(sent))
    wrong = list(errors(plural, pruned))
    if wrong:
        raise ApiError(422, "Invalid", f'{plural} "x" is invalid: [{", ".join(wrong)}]')
    return pruned


def errors(plural: str, status: Any) -> Iterator[str]:
    """Yield everything in a status that breaks the schema of its kind, each with its path."""
    yield from (
        f"{error.json_path.replace('$', 'status')}: {error.message}"
        for error in _validator(plural).iter_errors(status)
    )
    yield from _breaches("status", schema_of(plural), status)


@cache
def _validator(plural: str) -> jsonschema.Draft4Validator:
    return jsonschema.Draft4Validator(schema_of(plural))


def _pruned(schema: Raw, value: Any) -> Any:
    if isinstance(value, list):
        return [_pruned(schema.get("items", {}), item) for item in value]
    if not isinstance(value, dict):
        return value
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    keeps = schema.get("x-kubernetes-preserve-unknown-fields") or others
    return {
        name: _pruned(known.get(name) or (others if isinstance(others, dict) else {}), item)
        for name, item in value.items()
        # What lies in a field of any form has no schema, and is kept.
        if name in known or keeps or not schema
    }


def _breaches(path: str, schema: Raw, value: Any) -> Iterator[str]:
    """Yield breaches of the keywords that Kubernetes reads in its own way."""
    if isinstance(value, int) and not isinstance(value, bool):
        width = _WIDTHS.get(schema.get("format", ""), 2**1000)
        if not -width <= value < width:
            yield f"{path}: {value} is no {schema['format']}"
    elif isinstance(value, str):
        if schema.get("format") == "date-time" and not _is_time(value):
            yield f"{path}: {value!r} is no date-time"
        if "pattern" in schema and "\n" in value:
            yield f"{path}: {value!r} has a line break, which Go's $ does not pass over"
    elif isinstance(value, list):
        keys = [
            json.dumps([item.get(key) for key in schema.get("x-kubernetes-list-map-keys", [])])
            for item in value
            if isinstance(item, dict)
        ]
        if schema.get("x-kubernetes-list-type") == "map" and len(set(keys)) < len(keys):
            yield f"{path}: Duplicate value"
        for place, item in enumerate(value):
            yield from _breaches(f"{path}[{place}]", schema.get("items", {}), item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _breaches(f"{path}.{name}", schema.get("properties", {}).get(name) or {}, item)


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return _TIME.fullmatch(text) is not None
