"""Each default stands once in the code. What states it again for its readers (CRDs, chart) says the same."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from gpuenv import manifests
from gpuenv.api import names
from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.api.spec.environment_parser import parse
from gpuenv.cli import operator, uninstall
from gpuenv.controller import run
from gpuenv.controller.monitoring.bind_address import BindAddress
from gpuenv.controller.options import Options
from gpuenv.plan.settings import Settings

CHART = Path(__file__).parents[2] / "helm/gpuenv"
MINIMAL = {"image": "a:1"}
LISTS = {"checks": {"commands": [{"name": "a", "command": ["b"]}]}, "probe": {"env": [{"name": "A"}]}}
"""Entries of lists, with no more than an entry needs."""


@cache
def spec_schema() -> dict[str, Any]:
    (crd,) = [one for one in manifests.crds() if one["spec"]["names"]["kind"] == names.ENVIRONMENT_KIND]
    (version,) = crd["spec"]["versions"]
    return dict(version["schema"]["openAPIV3Schema"]["properties"]["spec"])


def defaulted(schema: dict[str, Any], value: Any) -> Any:
    """Return the value as the API server stores it, with the defaults of the schema."""
    if isinstance(value, dict):
        known = schema.get("properties", {})
        filled = {name: node["default"] for name, node in known.items() if "default" in node} | value
        return {name: defaulted(known.get(name, {}), held) for name, held in filled.items()}
    if isinstance(value, list):
        return [defaulted(schema.get("items", {}), item) for item in value]
    return value


def defaults(schema: dict[str, Any], path: str = "spec") -> Iterator[tuple[str, Any]]:
    """Yield the path and the default of each field that has one; not of mappings, which only hold others."""
    if schema.get("default", {}) != {}:
        yield path, schema["default"]
    for name, node in schema.get("properties", {}).items():
        yield from defaults(node, f"{path}.{name}")
    if "items" in schema:
        yield from defaults(schema["items"], f"{path}[0]")


def set_at(path: str, value: Any) -> dict[str, Any]:
    """Return a specification in which one field is written out."""
    if ".env[0]" in path:
        return MINIMAL | {"probe": {"env": [{"name": "A", "value": value}]}}
    if ".commands[0]" in path:
        return MINIMAL | {
            "checks": {"commands": [{"name": "a", "command": ["b"], path.rpartition(".")[2]: value}]}
        }
    raw: dict[str, Any] = {**MINIMAL}
    inner = raw
    *parents, last = path.split(".")[1:]
    for name in parents:
        inner[name] = {}
        inner = inner[name]
    inner[last] = value
    return raw


DEFAULTS = dict(defaults(spec_schema()))


def test_the_schema_has_the_defaults_that_we_know_of() -> None:
    assert {
        "spec.probe.timeouts.runSeconds",
        "spec.checks.commands[0].timeoutSeconds",
        "spec.suspend",
    } <= DEFAULTS.keys()


@pytest.mark.parametrize("path", sorted(DEFAULTS))
def test_a_default_of_the_schema_is_that_of_the_parser(path: str) -> None:
    plain = MINIMAL | ({"checks": LISTS["checks"]} if ".commands" in path else {})
    plain |= {"probe": LISTS["probe"]} if ".env" in path else {}
    assert parse(set_at(path, DEFAULTS[path])) == parse(plain)


def test_what_the_api_server_stores_means_what_was_written() -> None:
    for raw in (MINIMAL, MINIMAL | LISTS):
        stored = defaulted(spec_schema(), raw)
        assert stored != raw
        assert parse(stored) == parse(raw)


def scalars(value: Any) -> Iterator[Any]:
    """Yield the defaults of a dataclass that are neither empty nor absent, those of its dataclasses too."""
    for one in fields(value):
        held = getattr(value, one.name)
        if is_dataclass(held):
            yield from scalars(held)
        elif held not in (None, "", (), {}, frozenset()) or held is False:
            yield held


def test_the_schema_states_every_default_of_the_parser() -> None:
    code = [
        *scalars(EnvironmentSpec(image="")),
        parse(MINIMAL | LISTS).checks.commands[0].timeout_seconds,
        "",
    ]
    assert Counter(map(repr, code)) == Counter(map(repr, DEFAULTS.values()))


# ---- flags ---------------------------------------------------------------------------------------------


def test_the_operator_starts_with_the_defaults_where_no_flag_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[Options] = []
    monkeypatch.setattr(run, "main", lambda options: started.append(options) or 0)
    assert CliRunner().invoke(operator.command, []).exit_code == 0
    assert started == [Options()]
    assert {one.name for one in operator.command.params} == {one.name for one in fields(Options)}


def test_uninstall_looks_where_the_operator_works() -> None:
    found = {one.name: one.get_default(click.Context(uninstall.command)) for one in uninstall.command.params}
    for name in ("probe_namespace", "lease_namespace", "lease_name"):
        assert found[name] == getattr(Options(), name)


def test_the_planner_and_the_operator_share_their_defaults() -> None:
    # The options name the file of the limits, which the settings contain.
    shared = {one.name for one in fields(Options)} & {one.name for one in fields(Settings)} - {"limits"}
    assert shared == {
        "probe_namespace", "max_probes", "retry_seconds", "stuck_seconds", "user_namespaces",
        "mass_change_percent", "mass_change_min_nodes", "mass_change_window_seconds",
    }  # fmt: skip
    assert all(getattr(Options(), name) == getattr(Settings(), name) for name in shared)


# ---- chart ---------------------------------------------------------------------------------------------


def values(*path: str) -> Any:
    found = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    for name in path:
        found = found[name]
    return found


NOT_IN_THE_CHART = {"kubeconfig", "context", "lease_name", "stuck_seconds"}
"""Options that the chart leaves at their defaults."""
MEANT_TO_DIFFER = {"lease_namespace", "log_format", "knowledge", "limits"}
"""The release's namespace; machines read a pod's log; the directories of two ConfigMaps."""
SAME = {
    "probe_namespace": ("probes", "namespace", "name"),
    "max_probes": ("operator", "maxProbes"),
    "user_namespaces": ("probes", "userNamespaces"),
    "node_label_selector": ("operator", "nodeLabelSelector"),
    "writes_per_second": ("operator", "writesPerSecond"),
    "sweep_seconds": ("operator", "sweepSeconds"),
    "retry_seconds": ("operator", "retrySeconds"),
    "mass_change_percent": ("operator", "massChange", "percent"),
    "mass_change_min_nodes": ("operator", "massChange", "minNodes"),
    "mass_change_window_seconds": ("operator", "massChange", "windowSeconds"),
    "log_level": ("operator", "logLevel"),
    "metrics_bind_address": ("metrics", "bindAddress"),
    "health_probe_bind_address": ("health", "bindAddress"),
}


@pytest.mark.parametrize("option", sorted(SAME))
def test_a_default_of_the_chart_is_that_of_the_operator(option: str) -> None:
    default = getattr(Options(), option)
    assert values(*SAME[option]) == (str(default) if isinstance(default, BindAddress) else default)


def test_the_chart_passes_every_option_that_has_a_value_and_no_other() -> None:
    template = (CHART / "templates/deployment.yaml").read_text(encoding="utf-8")
    passed = {flag.replace("-", "_") for flag in re.findall(r"--([a-z-]+)=", template)}
    assert passed == SAME.keys() | MEANT_TO_DIFFER
    assert passed | NOT_IN_THE_CHART == {one.name for one in fields(Options)}


def test_the_manifests_name_the_namespaces_of_the_operator() -> None:
    found = {one["metadata"]["name"] for one in manifests.load() if one["kind"] == "Namespace"}
    assert found == {Options().probe_namespace, Options().lease_namespace}
