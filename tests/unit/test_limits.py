"""The limits file: what it may say, and the chart's values that say the same."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gpuenv.api.fields import FieldError
from gpuenv.api.limits import limits_parser
from gpuenv.api.limits.groups import Group
from gpuenv.api.limits.limits import Limits, PullSecret
from gpuenv.controller import limits_file, logs, run
from gpuenv.controller.limits_file import LimitsError
from gpuenv.controller.options import Options

CHART = Path(__file__).parents[2] / "helm/gpuenv"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["limits"]
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"]["limits"]
TEAM = {"secretName": "team", "environments": ["team-*"]}
GROUP = {"name": "a", "environments": ["a-*"]}

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"maxEnvironment": 5}, "has no field 'maxEnvironment'; did you mean maxEnvironments?"),
    ({"maxEnvironments": "5"}, "maxEnvironments: is '5'; write a whole number from 1 to 10000"),
    ({"maxEnvironments": 0}, "maxEnvironments: is 0; write a whole number from 1 to 10000"),
    ({"maxEnvironments": 10_001}, "maxEnvironments: is 10001; write a whole number"),
    ({"maxEnvironments": True}, "maxEnvironments: is True; write a whole number"),
    ({"images": None}, "images: has no value; write one, [] for an empty list, or leave the field out"),
    ({"images": "*"}, "images: is a text; write a list of texts"),
    ({"images": [1]}, "images: is a list; write a list of texts"),
    ({"images": [""]}, "images[0]: is ''; write a pattern such as registry.example.com/*; * stands for any"),
    ({"images": ["a", "b?"]}, "images[1]: is 'b?'; write a pattern"),
    ({"images": ["a/*", "b", "a/*"]}, "images: lists 'a/*' twice; remove one"),
    (
        {"priorityClassNames": ["gpuenv-*"]},
        "priorityClassNames[0]: is 'gpuenv-*'; write the name of an object",
    ),
    ({"resourceNames": ["nvidia.com/gpu "]}, "resourceNames[0]: is 'nvidia.com/gpu '; write a pattern"),
    ({"resourceNames": ["a/b", "a/b"]}, "resourceNames: lists 'a/b' twice"),
    ({"podLabelKeys": ["kueue.x-k8s.io/*"]}, "podLabelKeys[0]: is 'kueue.x-k8s.io/*'; write [prefix/]name"),
    ({"podLabelKeys": ["a/b/c"]}, "podLabelKeys[0]: is 'a/b/c'"),
    ({"maxDevices": 65}, "maxDevices: is 65; write a whole number from 1 to 64"),
    ({"allocationModes": ["all"]}, "allocationModes[0]: is 'all'; write ExactCount or All"),
    ({"maxResources": {"cpu": "many"}}, "maxResources.cpu: is 'many'; write a quantity above 0, such as 16"),
    ({"maxResources": {"memory": "-1Gi"}}, "maxResources.memory: is '-1Gi'; write a quantity"),
    ({"maxResources": {"cpu": 0}}, "maxResources.cpu: is 0; write a quantity above 0, such as 16"),
    ({"maxResources": {"memory": "0.0Gi"}}, "maxResources.memory: is '0.0Gi'; write a quantity above 0"),
    ({"maxResources": {"gpu": "1"}}, "maxResources: has no field 'gpu'; "),
    ({"maxResources": {"cpu": None}}, "maxResources.cpu: has no value; write one"),
    ({"environmentVariables": ["A B"]}, "environmentVariables[0]: is 'A B'; write a pattern such as NCCL_*"),
    ({"podAnnotationKeys": ["*"]}, "podAnnotationKeys[0]: is '*'; write [prefix/]name"),
    ({"runtimeClassNames": ["Kata"]}, "runtimeClassNames[0]: is 'Kata'; write the name of an object"),
    ({"schedulerNames": [""]}, "schedulerNames[0]: is ''; write the name of an object"),
    ({"tolerationKeys": [" "]}, "tolerationKeys[0]: is ' '; write a pattern such as example.com/*"),
    ({"maxTimeoutSeconds": 86401}, "maxTimeoutSeconds: is 86401; write a whole number"),
    ({"maxCommandBytes": 100001}, "maxCommandBytes: is 100001; write a whole number"),
    ({"gpuSecondsPerDay": -1}, "gpuSecondsPerDay: is -1; write a whole number"),
    ({"pullSecrets": {"team": ["*"]}}, "pullSecrets: is a mapping; write a list"),
    ({"pullSecrets": ["team"]}, "pullSecrets[0]: is a text; write it as a mapping of fields"),
    ({"pullSecrets": [{"environments": ["*"]}]}, "pullSecrets[0].secretName: is missing; add it"),
    ({"pullSecrets": [TEAM | {"secretName": 5}]}, "pullSecrets[0].secretName: is 5; write a text in quotes"),
    ({"pullSecrets": [TEAM | {"secretName": "A_B"}]}, "pullSecrets[0].secretName: is 'A_B'; write the name"),
    ({"pullSecrets": [{"secretName": "team"}]}, "pullSecrets[0].environments: is missing or empty; write"),
    ({"pullSecrets": [TEAM | {"environments": []}]}, "pullSecrets[0].environments: is missing or empty"),
    ({"pullSecrets": [TEAM | {"environments": ["a.b"]}]}, "pullSecrets[0].environments[0]: is 'a.b'"),
    ({"pullSecrets": [TEAM | {"name": "x"}]}, "pullSecrets[0]: has no field 'name'"),
    ({"pullSecrets": [TEAM, TEAM]}, "pullSecrets: lists the Secret team twice; write one entry"),
    ({"groups": {"a": ["a-*"]}}, "groups: is a mapping; write a list"),
    ({"groups": [{"environments": ["*"]}]}, "groups[0].name: is missing; add it"),
    ({"groups": [{"name": "a"}]}, "groups[0].environments: is missing or empty; write"),
    ({"groups": [GROUP | {"environments": ["a.b"]}]}, "groups[0].environments[0]: is 'a.b'"),
    ({"groups": [GROUP | {"maxEnvironments": 0}]}, "groups[0].maxEnvironments: is 0; write a whole number"),
    ({"groups": [GROUP | {"gpuSecondsPerDay": None}]}, "groups[0].gpuSecondsPerDay: has no value; write one"),
    ({"groups": [GROUP | {"maxDevices": 1}]}, "groups[0]: has no field 'maxDevices'; "),
    ({"groups": [GROUP, GROUP]}, "groups: lists the group a twice; write one entry"),
]


@pytest.mark.parametrize(("change", "words"), MISTAKES)
def test_a_mistake_is_refused_by_the_parser_and_by_the_chart(change: dict[str, Any], words: str) -> None:
    with pytest.raises(FieldError) as caught:
        limits_parser.parse(change)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(VALUES | change, SCHEMA)


def test_one_secret_twice_is_refused() -> None:
    """The chart refuses it in a template, because a schema cannot compare parts of entries."""
    with pytest.raises(FieldError, match="lists the Secret team twice"):
        limits_parser.parse({"pullSecrets": [TEAM, TEAM | {"environments": ["other"]}]})


def test_the_defaults_of_the_chart_are_those_of_the_operator() -> None:
    assert limits_parser.parse(VALUES) == Limits()
    assert limits_parser.parse({}) == Limits()
    # All of them are written out, so that the schema cannot lack a field.
    assert VALUES.keys() == SCHEMA["properties"].keys() == set(SCHEMA["required"])
    assert len(VALUES) == len(Limits.__dataclass_fields__)


def test_every_field_is_read() -> None:
    raw = {
        "maxEnvironments": 5,
        "images": ["registry.example.com:5000/*", "*@sha256:*"],
        "priorityClassNames": [],
        "resourceNames": ["nvidia.com/mig-1g.5gb"],
        "maxDevices": 2,
        "allocationModes": ["All"],
        "maxResources": {"cpu": 4, "memory": "1.5Gi"},
        "environmentVariables": ["NCCL_*"],
        "podLabelKeys": ["kueue.x-k8s.io/queue-name", "team"],
        "podAnnotationKeys": ["example.com/cost-centre"],
        "runtimeClassNames": [],
        "schedulerNames": ["kai-scheduler"],
        "tolerationKeys": ["example.com/*"],
        "maxTimeoutSeconds": 600,
        "maxCommandBytes": 1000,
        "gpuSecondsPerDay": 36000,
        "pullSecrets": [TEAM, {"secretName": "all", "environments": ["*"]}],
        "groups": [
            GROUP | {"maxEnvironments": 3, "gpuSecondsPerDay": 0},
            {"name": "b", "environments": ["*"]},
        ],
    }
    jsonschema.validate(raw, SCHEMA)
    assert limits_parser.parse(raw) == Limits(
        max_environments=5,
        images=("registry.example.com:5000/*", "*@sha256:*"),
        priority_class_names=(),
        resource_names=("nvidia.com/mig-1g.5gb",),
        max_devices=2,
        allocation_modes=("All",),
        max_resources={"cpu": "4", "memory": "1.5Gi", "ephemeral-storage": "32Gi"},
        environment_variables=("NCCL_*",),
        pod_label_keys=("kueue.x-k8s.io/queue-name", "team"),
        pod_annotation_keys=("example.com/cost-centre",),
        runtime_class_names=(),
        scheduler_names=("kai-scheduler",),
        toleration_keys=("example.com/*",),
        max_timeout_seconds=600,
        max_command_bytes=1000,
        gpu_seconds_per_day=36000,
        pull_secrets=(PullSecret("team", ("team-*",)), PullSecret("all", ("*",))),
        groups=(Group("a", ("a-*",), 3, 0), Group("b", ("*",))),
    )


# ---- file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; write {} for the defaults"),
        ("- a", "is a list; write it as a mapping of fields"),
        ("images: [", "is no YAML (line 2: "),
        ("images: [a]\nimages: [b]", "line 2: images: is there twice; remove one"),
        ("imags: [a]", "has no field 'imags'; did you mean images?"),
        ("maxEnvironments: 1.5", "maxEnvironments: is 1.5; write a whole number"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LimitsError) as caught:
        limits_file.read(path)
    assert str(caught.value).startswith(f"{path}: {words}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LimitsError, match=r"limits\.yaml: cannot be read \(No such file"):
        limits_file.read(tmp_path / "limits.yaml")
    (tmp_path / "limits.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(LimitsError, match=r"limits\.yaml: is no text in UTF-8"):
        limits_file.read(tmp_path / "limits.yaml")


def test_the_operator_does_not_start_with_a_mistake(
    tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    path = tmp_path / "limits.yaml"
    path.write_text("images: [a, a]", encoding="utf-8")
    options = Options(kubeconfig="/nonexistent", limits=path)
    assert run.main(options) == run.EXIT_USAGE
    assert f"cannot start: {path}: images: lists 'a' twice; remove one" in caplog.text
