"""An upgrade of gpuenv changes no digest of a specification that still means the same.

The pinned digests are part of what gpuenv promises to its users: a digest that changes makes verdicts stale, and
the nodes are probed again. Whoever has to change one on purpose says so in CHANGELOG.md.
"""

from collections import OrderedDict
from dataclasses import dataclass, field, fields, make_dataclass, replace
from types import MappingProxyType
from typing import Any

import pytest

from gpuenv.api.spec.digest import FIRST_DEFAULT, digest
from gpuenv.api.spec.environment import EnvironmentSpec, ProbeSpec, Timeouts, expectations_hash, inputs_hash
from gpuenv.api.spec.environment_parser import parse

IMAGE = "pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime"
TYPICAL = {"image": IMAGE}
DEFAULTS_WRITTEN_OUT: dict[str, Any] = {
    "image": IMAGE,
    "imagePullPolicy": "IfNotPresent",
    "imagePullSecrets": [],
    "nodes": {"selector": {}},
    "expect": {"driverRule": "MinorVersion", "gpus": {"products": []}},
    "checks": {"imports": [], "features": [], "commands": []},
    "benchmarks": {"profile": "Quick", "floors": []},
    "probe": {
        "device": {"resourceName": "nvidia.com/gpu", "allocationMode": "ExactCount", "count": 1},
        "tolerations": [],
        "resources": {"limits": {}, "requests": {}},
        "env": [],
        "useEntrypoint": False,
        "runAs": "NonRoot",
        "podLabels": {},
        "podAnnotations": {},
        "timeouts": {"schedulingSeconds": 120, "setupSeconds": 120, "pullSeconds": 1800, "runSeconds": 300},
    },
    "strategy": {
        "revalidationPeriodSeconds": 604800,
        "maxConcurrent": "10%",
        "sampling": "Every",
        "preflight": "None",
    },
    "publish": {"nodeLabel": "Measured", "nodeCondition": "None"},
    "suspend": False,
}
"""Literals on purpose: the API server has stored these defaults in people's objects, and there they stay."""
EXPECTED: dict[str, Any] = {
    "pytorch": "==2.9.*", "cuda": ">=12.6,<13", "cudnn": "==9.*", "nccl": "~=2.27.0", "python": ">=3.10",
    "driver": ">=570", "driverRule": "Toolkit", "computeCapability": {"min": "7.5", "max": "12.1"},
    "gpus": {"products": ["NVIDIA A100*", "NVIDIA H100*"], "minMemory": "40Gi"},
}  # fmt: skip
FLOORS = [
    {"benchmark": "MatMul", "dtype": "BF16", "products": ["NVIDIA A100*"], "minTFLOPS": 180},
    {"benchmark": "DeviceMemory", "minGBps": "1200.5"},
    {"benchmark": "Train", "minPercentOfPeers": 90},
]
CHECKS = [
    {"name": "smoke", "command": ["python", "-c", "1"], "timeoutSeconds": 5},
    {"name": "usual", "command": ["true"]},
]
PROBE: dict[str, Any] = {
    "device": {"resourceName": "nvidia.com/mig-1g.10gb", "count": 2}, "runtimeClassName": "nvidia",
    "schedulerName": "volcano", "priorityClassName": "high", "python": "/opt/conda/bin/python", "useEntrypoint": True,
    "resources": {"limits": {"memory": "4Gi", "cpu": 2}, "requests": {"memory": "1Gi"}}, "runAs": "Image",
    "env": [{"name": "A", "value": "b"}, {"name": "EMPTY"}, {"name": "CITY", "value": "Köln"}],
    "podLabels": {"queue": "gpu", "a": "b"}, "podAnnotations": {"note": "\U0001f680"},
    "timeouts": {"schedulingSeconds": 60, "setupSeconds": 61, "pullSeconds": 62, "runSeconds": 63},
}  # fmt: skip
ALL: dict[str, Any] = {
    "image": IMAGE,
    "expect": EXPECTED,
    "checks": {"imports": ["flash_attn", "vllm"], "features": ["Compile"], "commands": CHECKS},
    "benchmarks": {"profile": "Standard", "floors": FLOORS},
    "probe": PROBE,
}

PINNED: list[tuple[str, dict[str, Any], str, str]] = [
    # name, spec, digest of the probe's inputs, digest of the expectations
    ("an image alone", TYPICAL, "31fdb65cb4189e74", "17970eb44c72e1c9"),
    ("the defaults written out", DEFAULTS_WRITTEN_OUT, "31fdb65cb4189e74", "17970eb44c72e1c9"),
    ("expectations", TYPICAL | {"expect": EXPECTED}, "31fdb65cb4189e74", "3538ea9832c2f0fd"),
    (
        "imports and features",
        TYPICAL | {"checks": {"imports": ["flash_attn"], "features": ["Compile"]}},
        "2834c7353f4410b5",
        "17970eb44c72e1c9",
    ),
    ("floors", TYPICAL | {"benchmarks": {"floors": FLOORS}}, "31fdb65cb4189e74", "5d8ea04a3271f1f9"),
    ("profile", TYPICAL | {"benchmarks": {"profile": "None"}}, "1dd06902890de07f", "17970eb44c72e1c9"),
    ("commands", TYPICAL | {"checks": {"commands": CHECKS}}, "9b73e9543e0e3b5f", "17970eb44c72e1c9"),
    ("the probe", TYPICAL | {"probe": PROBE}, "6eabfdaf987ceb92", "17970eb44c72e1c9"),
    (
        "one timeout",
        TYPICAL | {"probe": {"timeouts": {"runSeconds": 600}}},
        "a985dc73470dc41f",
        "17970eb44c72e1c9",
    ),
    ("everything", ALL, "9f9a8aa669865f2e", "1a8f93cf1a631e7b"),
]


@pytest.mark.parametrize(
    ("spec", "inputs", "expectations"), [row[1:] for row in PINNED], ids=[row[0] for row in PINNED]
)
def test_digests_are_pinned(spec: dict[str, Any], inputs: str, expectations: str) -> None:
    parsed = parse(spec)
    assert (inputs_hash(parsed), expectations_hash(parsed)) == (inputs, expectations)


def test_defaults_that_are_written_out_change_nothing() -> None:
    written, left_out = parse(DEFAULTS_WRITTEN_OUT), parse(TYPICAL)
    assert written == left_out
    assert (inputs_hash(written), expectations_hash(written)) == (
        inputs_hash(left_out),
        expectations_hash(left_out),
    )


def widened(value: Any) -> Any:
    """Return the value as a later version of gpuenv might type it: every dataclass has two new fields."""
    if isinstance(value, tuple):
        return tuple(widened(item) for item in value)
    if not hasattr(value, "__dataclass_fields__"):
        return value
    new = [("hugepages", str, field(default="")), ("volumes", dict[str, str], field(default_factory=dict))]
    kind = make_dataclass(type(value).__name__, new, bases=(type(value),), frozen=True, slots=True)
    return kind(**{one.name: widened(getattr(value, one.name)) for one in fields(value)})


@pytest.mark.parametrize("spec", [row[1] for row in PINNED], ids=[row[0] for row in PINNED])
def test_a_new_field_with_a_default_changes_no_digest(spec: dict[str, Any]) -> None:
    today = parse(spec)
    later = widened(today)
    assert later.probe.timeouts.hugepages == later.expect.hugepages == later.hugepages == ""
    assert (inputs_hash(later), expectations_hash(later)) == (inputs_hash(today), expectations_hash(today))


def test_a_new_field_that_is_used_changes_the_digest() -> None:
    today = parse(ALL)
    later = widened(today)
    commands = (replace(later.checks.commands[0], hugepages="2Mi"), later.checks.commands[1])
    for used in (
        replace(later, probe=replace(later.probe, hugepages="2Mi")),
        replace(later, probe=replace(later.probe, timeouts=replace(later.probe.timeouts, hugepages="2Mi"))),
        replace(later, checks=replace(later.checks, commands=commands)),
    ):
        assert inputs_hash(used) != inputs_hash(today)
        assert expectations_hash(used) == expectations_hash(today)
    floors = (replace(later.floors[0], hugepages="2Mi"), *later.floors[1:])
    for used in (
        replace(later, expect=replace(later.expect, hugepages="2Mi")),
        replace(later, floors=floors),
    ):
        assert expectations_hash(used) != expectations_hash(today)
        assert inputs_hash(used) == inputs_hash(today)


@dataclass(frozen=True)
class NextTimeouts(Timeouts):
    """The timeouts of a later version, in which a run may take ten minutes unless somebody says otherwise."""

    run: int = field(default=600, metadata={FIRST_DEFAULT: 300})


@dataclass(frozen=True)
class NextProbeSpec(ProbeSpec):
    """How a later version makes a pod, by default as the image's own user."""

    run_as: Any = field(default="Image", metadata={FIRST_DEFAULT: "NonRoot"})
    timeouts: Timeouts = NextTimeouts()


def test_a_changed_default_keeps_the_digest_of_the_value_not_that_of_the_default() -> None:
    now = parse(TYPICAL)

    def later(**timeouts: int) -> EnvironmentSpec:
        return replace(now, probe=NextProbeSpec(run_as="NonRoot", timeouts=NextTimeouts(**timeouts)))

    # An object that has the old default stored keeps its verdicts.
    assert inputs_hash(later(run=300)) == inputs_hash(now)
    # One that takes the new default behaves differently, and is probed again: as if somebody had written it.
    assert inputs_hash(later()) == inputs_hash(parse(TYPICAL | {"probe": {"timeouts": {"runSeconds": 600}}}))
    assert inputs_hash(replace(now, probe=NextProbeSpec(timeouts=NextTimeouts(run=300)))) == inputs_hash(
        parse(TYPICAL | {"probe": {"runAs": "Image"}})
    )


def test_the_order_of_mappings_and_sets_does_not_count_and_that_of_lists_does() -> None:
    labels = {"b": "1", "a": "2", "ü": "3"}
    assert digest(labels) == digest(OrderedDict(reversed(labels.items()))) == digest(MappingProxyType(labels))
    assert digest({(12, 8): "a", (9, 0): "b"}) == digest({(9, 0): "b", (12, 8): "a"})
    assert digest({0, 8}) == digest({8, 0}) == digest(frozenset({8, 0}))
    assert digest(["a", "b"]) != digest(["b", "a"])
    assert digest(["a", "b"]) == digest(("a", "b"))

    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)"}]
    turned = TYPICAL | {"probe": {"env": env[::-1]}}
    assert inputs_hash(parse(TYPICAL | {"probe": {"env": env}})) != inputs_hash(parse(turned))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0), (1, True), (0, False), (1, "1"), (None, "None"), ("", None), ("\u00e9", "e\u0301"), ([], {}), ("a", ["a"]),
        (["ab"], ["a", "b"]), ({"a": None}, {}), (0.1 + 0.2, 0.3), ("\ud800", "?"),
    ],
)  # fmt: skip
def test_different_values_have_different_digests(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


def test_a_value_that_has_no_stable_text_has_no_digest() -> None:
    with pytest.raises(TypeError, match="object has no digest"):
        digest({"a": object()})
