"""A raw ``spec`` becomes typed once, or one line says which field is wrong and what to write."""

from decimal import Decimal
from typing import Any

import pytest

from gpuenv.api.quantity import whole_bytes
from gpuenv.api.spec.environment import (
    CommandCheck,
    EnvironmentSpec,
    Timeouts,
    expectations_hash,
    inputs_hash,
)
from gpuenv.api.spec.environment_parser import SpecError, parse
from gpuenv.api.spec.floor import Floor

IMAGE = "pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime"


def spec(**fields: Any) -> dict[str, Any]:
    return {"image": IMAGE, **fields}


def test_an_image_is_all_that_is_needed() -> None:
    assert parse({"image": IMAGE}) == EnvironmentSpec(image=IMAGE)


def test_every_field_arrives() -> None:
    parsed = parse(
        spec(
            imagePullPolicy="Always",
            imagePullSecrets=[{"name": "registry"}],
            nodes={"selector": {"matchLabels": {"pool": "a"}}},
            expect={
                "pytorch": "==2.9.*", "cuda": ">=12.6,<13", "cudnn": "==9.*", "nccl": "~=2.27.0", "python": ">=3.10",
                "driver": ">=570", "driverRule": "Toolkit", "computeCapability": {"min": "7.5", "max": "12.1"},
                "gpus": {"products": ["NVIDIA A100*"], "minMemory": "40Gi"},
            },
            checks={
                "imports": ["flash_attn"], "features": ["Compile"],
                "commands": [{"name": "smoke", "command": ["python", "-c", "1"], "timeoutSeconds": 5}],
            },
            benchmarks={"profile": "Standard", "floors": [{"benchmark": "MatMul", "dtype": "BF16", "minTFLOPS": 180}]},
            probe={
                "device": {"resourceName": "nvidia.com/mig-1g.10gb", "count": 2, "allocationMode": "ExactCount"},
                "tolerations": [{"operator": "Exists"}], "runtimeClassName": "nvidia",
                "schedulerName": "s", "priorityClassName": "p", "resources": {"limits": {"memory": "4Gi"}},
                "env": [{"name": "A", "value": "b"}, {"name": "EMPTY"}], "python": "/opt/python", "useEntrypoint": True,
                "runAs": "Image", "rootFilesystem": "Writable", "podLabels": {"a": "b"}, "podAnnotations": {"c": "d"},
                "timeouts": {"schedulingSeconds": 1, "setupSeconds": 2, "pullSeconds": 3, "runSeconds": 40},
            },
            strategy={"revalidationPeriodSeconds": 3600, "maxConcurrent": 7, "sampling": "Every", "preflight": "None"},
            publish={"nodeLabel": "None", "nodeCondition": "Measured"},
            suspend=True,
        )
    )  # fmt: skip
    assert parsed.image_pull_secrets == ("registry",)
    assert parsed.selector == {"matchLabels": {"pool": "a"}}
    assert parsed.probe.tolerations == ({"operator": "Exists"},)
    assert (parsed.expect.min_compute_capability, parsed.expect.max_compute_capability) == ((7, 5), (12, 1))
    assert parsed.expect.min_memory_bytes == 40 * 2**30
    assert parsed.expect.driver_rule == "Toolkit"
    assert (parsed.checks.imports, parsed.checks.features) == (("flash_attn",), {"Compile"})
    assert parsed.checks.commands == (CommandCheck("smoke", ("python", "-c", "1"), 5),)
    assert parsed.floors == (Floor("MatMul", "BF16", min_tflops=Decimal(180)),)
    assert (parsed.probe.device.resource_name, parsed.probe.device_count) == ("nvidia.com/mig-1g.10gb", 2)
    assert parsed.probe.env == (("A", "b"), ("EMPTY", ""))
    assert parsed.probe.timeouts == Timeouts(1, 2, 3, 40)
    assert (parsed.probe.run_as, parsed.probe.root_filesystem) == ("Image", "Writable")
    assert (parsed.revalidation_period_seconds, parsed.max_concurrent) == (3600, 7)
    assert (parsed.node_label, parsed.node_condition, parsed.suspend) == ("None", "Measured", True)


@pytest.mark.parametrize(
    "image",
    [
        "a:1", "registry:5000/a/b:1", "a@sha256:" + "0" * 64, "registry:5000/a@sha256:" + "0" * 64,
        "a:1@sha256:" + "0" * 64, "a/latest:1", "a:latest-gpu",
    ],
)  # fmt: skip
def test_images_that_name_their_content(image: str) -> None:
    assert parse({"image": image}).image == image


REFUSED: list[tuple[Any, str, str]] = [
    (None, "spec.image", "is missing"),
    ([], "spec", "a list"),
    ({"image": ""}, "spec.image", "is missing"),
    ({"image": 5}, "spec.image", 'is 5; write a text in quotes, "5"'),
    ({"image": "a"}, "spec.image", "needs a tag or a digest"),
    ({"image": "registry:5000/a"}, "spec.image", "needs a tag or a digest"),
    ({"image": "a:latest"}, "spec.image", "must not use the tag latest"),
    ({"image": "registry:5000/a:latest"}, "spec.image", "must not use the tag latest"),
    ({"image": "a b:1"}, "spec.image", "no image reference"),
    (spec(imagePullPolicy="Sometimes"), "spec.imagePullPolicy", "choose one of Always"),
    (spec(imagePullSecrets=["a"]), "spec.imagePullSecrets[0]", "is a text; write it as a mapping"),
    (spec(expect={"pytorch": "2.9"}), "spec.expect.pytorch", "PEP 440"),
    (spec(expect={"cuda": "===12"}), "spec.expect.cuda", "PEP 440"),
    (spec(expect={"driver": "~=570"}), "spec.expect.driver", "PEP 440"),
    (spec(expect={"python": 3.11}), "spec.expect.python", "in quotes"),
    (spec(expect={"computeCapability": {"min": "8"}}), "spec.expect.computeCapability.min", '"8.0"'),
    (spec(expect={"computeCapability": {"min": 80}}), "spec.expect.computeCapability.min", "major.minor"),
    (
        spec(expect={"computeCapability": {"min": "9.0", "max": "8.0"}}),
        "spec.expect.computeCapability.min",
        "above",
    ),
    (spec(expect={"gpus": {"minMemory": "40GB"}}), "spec.expect.gpus.minMemory", "40Gi"),
    (spec(expect={"gpus": {"minMemory": "-1Gi"}}), "spec.expect.gpus.minMemory", "40Gi"),
    (spec(checks={"imports": ["flash-attn"]}), "spec.checks.imports", "module name"),
    (spec(checks={"features": ["compile"]}), "spec.checks.features", "known are Compile"),
    (spec(checks={"features": ["Collectives"]}), "spec.checks.features", "reserved for a later version"),
    (spec(strategy={"sampling": "PerClass"}), "spec.strategy.sampling", "reserved for a later version"),
    (spec(strategy={"samplesPerClass": 2}), "spec.strategy.samplesPerClass", "later version"),
    (spec(strategy={"preflight": "Skip"}), "spec.strategy.preflight", "use None"),
    (spec(publish={"nodeLabel": "Inferred"}), "spec.publish.nodeLabel", "use None or Measured"),
    (spec(publish={"nodeLabel": True}), "spec.publish.nodeLabel", "choose one of None, Measured"),
    (spec(probe={"device": {"allocationMode": "All"}}), "spec.probe.device.allocationMode", "use ExactCount"),
    (
        spec(checks={"commands": [{"name": "a", "command": []}]}),
        "spec.checks.commands[0].command",
        "is missing",
    ),
    (spec(checks={"commands": [{"command": ["a"]}]}), "spec.checks.commands[0].name", "is missing"),
    (
        spec(checks={"commands": [{"name": "a", "command": "a b"}]}),
        "spec.checks.commands[0].command",
        "a list of texts",
    ),
    (
        spec(checks={"commands": [{"name": "a", "command": ["vllm --version"]}]}),
        "spec.checks.commands[0].command",
        "write [vllm, --version]",
    ),
    (
        spec(checks={"commands": [{"name": "a", "command": ["a"], "timeoutSeconds": 0}]}),
        "spec.checks.commands[0].timeoutSeconds",
        "from 1",
    ),
    (spec(probe={"env": [{"name": "A", "valueFrom": {}}]}), "spec.probe.env[0].valueFrom", "literal value"),
    (
        spec(probe={"resources": {"requests": {"nvidia.com/mig-1g.5gb": 1}}}),
        "spec.probe.resources.requests",
        "write it there",
    ),
    (spec(expect={"driver": ">=" + "9" * 200}), "spec.expect.driver", "write at most 128"),
    (spec(probe={"env": [{"name": "GPUENV_RUN"}]}), "spec.probe.env[0].name", "choose another name"),
    (
        spec(probe={"resources": {"limits": {"nvidia.com/gpu": 1}}}),
        "spec.probe.resources.limits",
        "probe.device",
    ),
    (spec(probe={"podLabels": {"gpuenv.dev/x": "y"}}), "spec.probe.podLabels", "operator's own"),
    (
        spec(probe={"podAnnotations": {"compat.gpuenv.dev/x": "y"}}),
        "spec.probe.podAnnotations",
        "operator's own",
    ),
    (spec(probe={"timeouts": {"runSeconds": -1}}), "spec.probe.timeouts.runSeconds", "whole number"),
    (spec(probe={"device": {"count": True}}), "spec.probe.device.count", "whole number"),
    (spec(strategy={"maxConcurrent": 0}), "spec.strategy.maxConcurrent", "from 1"),
    (spec(strategy={"maxConcurrent": "150%"}), "spec.strategy.maxConcurrent", '"100%"'),
    (spec(strategy={"maxConcurrent": "0%"}), "spec.strategy.maxConcurrent", '"1%"'),
    (spec(strategy={"revalidationPeriodSeconds": 1}), "spec.strategy.revalidationPeriodSeconds", "from 60"),
    (
        spec(nodes={"selector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}),
        "spec.nodes.selector.matchExpressions[0].operator",
        "NotIn",
    ),
    (
        spec(nodes={"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
        "spec.nodes.selector.matchExpressions[0].values",
        "must be given",
    ),
    (spec(nodes={"selector": {"matchLabels": {"a": 1}}}), "spec.nodes.selector.matchLabels", "in quotes"),
]


@pytest.mark.parametrize(("raw", "field", "cure"), REFUSED)
def test_nonsense_is_refused_with_field_and_cure_in_one_line(raw: Any, field: str, cure: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse(raw)
    message = str(refused.value)
    assert message.startswith(field)
    assert cure in message
    assert "\n" not in message


INPUTS: list[tuple[str, dict[str, Any]]] = [
    ("image", {"image": "a:2"}),
    ("python", {"probe": {"python": "/opt/python"}}),
    ("timeouts", {"probe": {"timeouts": {"runSeconds": 30}}}),
    ("root file system", {"probe": {"rootFilesystem": "Writable"}}),
    ("env", {"probe": {"env": [{"name": "A", "value": "b"}]}}),
    ("profile", {"benchmarks": {"profile": "None"}}),
    ("checks", {"checks": {"commands": [{"name": "a", "command": ["b"]}]}}),
    ("imports", {"checks": {"imports": ["vllm"]}}),
    ("compile", {"checks": {"features": ["Compile"]}}),
]


@pytest.mark.parametrize("change", [row[1] for row in INPUTS], ids=[row[0] for row in INPUTS])
def test_what_changes_the_probes_outcome_needs_a_new_run(change: dict[str, Any]) -> None:
    assert inputs_hash(parse(spec(**change))) != inputs_hash(parse(spec()))


OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("expect", {"expect": {"pytorch": "==2.9.*"}}),
    ("floors", {"benchmarks": {"floors": [{"benchmark": "MatMul", "minTFLOPS": 1}]}}),
    ("selector", {"nodes": {"selector": {"matchLabels": {"a": "b"}}}}),
    ("tolerations", {"probe": {"tolerations": [{"operator": "Exists"}]}}),
    ("strategy", {"strategy": {"revalidationPeriodSeconds": 60}}),
    ("publish", {"publish": {"nodeLabel": "None"}}),
    ("secrets", {"imagePullSecrets": [{"name": "a"}]}),
    ("suspend", {"suspend": True}),
    (
        "defaults written out",
        {"probe": {"device": {"count": 1}, "rootFilesystem": "ReadOnly"}, "benchmarks": {"profile": "Quick"}},
    ),
]


@pytest.mark.parametrize("change", [row[1] for row in OTHERS], ids=[row[0] for row in OTHERS])
def test_what_does_not_needs_none(change: dict[str, Any]) -> None:
    assert inputs_hash(parse(spec(**change))) == inputs_hash(parse(spec()))


def test_expectations_and_floors_are_hashed_apart() -> None:
    plain = expectations_hash(parse(spec()))
    assert expectations_hash(parse(spec(expect={"cuda": ">=12"}))) != plain
    assert (
        expectations_hash(parse(spec(benchmarks={"floors": [{"benchmark": "Conv", "minTFLOPS": 1}]})))
        != plain
    )
    assert expectations_hash(parse(spec(strategy={"maxConcurrent": 3}))) == plain


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("40Gi", 40 * 2**30), ("1.5Gi", 3 * 2**29), ("40G", 40 * 10**9), ("1k", 1000), ("1Ti", 2**40)],
)
def test_quantities(text: str, value: int) -> None:
    assert whole_bytes(text) == value


@pytest.mark.parametrize("text", ["", "0", "-1", "1GB", "Gi", "1e3", "0.1", "1 Gi", "٤"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError):
        whole_bytes(text)
