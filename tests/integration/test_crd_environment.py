"""What the real API server refuses of a GPUEnvironment, in which words, and what it accepts.

The operator's own parser judges the same objects: it understands what the server lets through, with the same
defaults, and does not crash on the rest, because objects may predate a rule.
"""

from typing import Any

import pytest
from tests.support.builders import ABSENT, IMAGE, environment
from tests.support.cluster import Kubectl

from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.api.spec.environment_parser import SpecError, parse
from gpuenv_sandbox.control_plane.admin_client import ApiError, RestClient
from gpuenv_sandbox.control_plane.cluster import ControlPlane

PATH = "/apis/gpuenv.dev/v1alpha1/gpuenvironments"
STRICT = f"{PATH}?dryRun=All&fieldValidation=Strict"
SHA256 = "sha256:" + "0123456789abcdef" * 4


def refused(fields: dict[str, Any], *words: str) -> Any:
    """One row of the table: fields of the spec, and what the refusal must name: first the field, then the cure."""
    name = ", ".join(f"{path}={value!r}"[:60] for path, value in fields.items())
    return pytest.param(fields, words, id="no image" if fields.get("image") is ABSENT else name)


CHECK = {"name": "smoke", "command": ["python", "-c", "pass"]}
MATMUL = {"benchmark": "MatMul"}
MEMORY = {"benchmark": "DeviceMemory"}
REFUSED = [
    refused({"image": ABSENT}, "spec.image: Required", "name the image", "pytorch/pytorch:2.9.1"),
    refused({"image": None}, "spec.image: Required", "name the image"),
    refused({"image": ""}, "spec.image", "is not an image reference"),
    refused({"image": "pytorch/pytorch"}, "spec.image", "needs a tag or a digest: add one"),
    refused({"image": "registry:5000/x"}, "spec.image", "needs a tag or a digest: add one", "port is no tag"),
    refused({"image": "registry.example.com:5000/team/x"}, "spec.image", "needs a tag or a digest"),
    refused({"image": "x:latest"}, "spec.image", "latest", "name a version's tag"),
    refused({"image": "registry:5000/x:latest"}, "spec.image", "latest", "name a version's tag"),
    refused({"image": f"x:latest@{SHA256}"}, "spec.image", "latest", "or the digest alone"),
    refused({"image": "x:"}, "spec.image", "is not an image reference"),
    refused({"image": "Upper/Case:1"}, "spec.image", "is not an image reference", "lower case"),
    refused({"image": "https://example.com/x:1"}, "spec.image", "is not an image reference"),
    refused({"image": "x:1 y"}, "spec.image", "is not an image reference"),
    refused({"image": "x@sha256:abc"}, "spec.image", "is not an image reference", "64 hex digits"),
    refused({"image": f"x@{SHA256.upper()}"}, "spec.image", "is not an image reference"),
    refused({"image": "a" * 513}, "spec.image", "may not be more than 512"),
    refused({"imagePullPolicy": "Sometimes"}, "spec.imagePullPolicy", '"Always", "IfNotPresent", "Never"'),
    refused({"imagePullSecrets": [{"name": ""}]}, "spec.imagePullSecrets[0].name"),
    *(
        refused({f"expect.{field}": text}, f"spec.expect.{field}", "PEP 440", "==2.9.*")
        for field, text in {
            "pytorch": "2.9",
            "cuda": "latest",
            "cudnn": "=9",
            "nccl": ">= two",
            "python": ">=3.10,",
            "driver": "~=570",
        }.items()
    ),
    *(
        refused({"expect.pytorch": text}, "spec.expect.pytorch", "PEP 440")
        for text in ("", " ", "==2.9.*,,<3", "=>2.9", ">2.9.*", "==2.9.x", "~=2", ">=2.9 <3", "^2.9", "===2.9.1")
    ),
    refused({"expect.driverRule": "Newest"}, "spec.expect.driverRule", '"MinorVersion", "Toolkit"'),
    *(
        refused({"expect.computeCapability.min": text}, "spec.expect.computeCapability.min", 'write "8.0"')
        for text in ("8", "80", "sm_80", "8.0a", "0.5", "")
    ),
    refused({"expect.computeCapability.min": 7.5}, "spec.expect.computeCapability.min", "type string"),
    refused({"expect.computeCapability": {"min": "12.0", "max": "7.5"}}, "min is above max", "correct them"),
    *(
        refused({"expect.gpus.minMemory": text}, "spec.expect.gpus.minMemory", "write 40Gi")
        for text in ("40GB", "40 Gi", "", "-40Gi", "lots")
    ),
    *(
        refused({"expect.gpus.minMemory": value}, "spec.expect.gpus.minMemory", "add the unit")
        for value in (40, "40", 0, "0", -1)
    ),
    refused({"checks.imports": ["flash-attn"]}, "spec.checks.imports[0]", "such as flash_attn"),
    refused({"checks.imports": ["os; import x"]}, "spec.checks.imports[0]", "write what follows `import`"),
    refused({"checks.imports": ["vllm", "vllm"]}, "spec.checks.imports[1]", "Duplicate value"),
    refused({"checks": {"commands": [CHECK, CHECK]}}, "spec.checks.commands[1]", "Duplicate value", "smoke"),
    refused({"checks": {"commands": [{"name": "smoke"}]}}, "spec.checks.commands[0].command", "Required value"),
    refused({"checks": {"commands": [{"name": "smoke", "command": []}]}}, "spec.checks.commands[0].command", "at least 1"),
    refused(
        {"checks": {"commands": [CHECK | {"command": ["vllm --version"]}]}},
        "spec.checks.commands[0].command", "such as [vllm, --version]",
    ),
    refused({"checks": {"commands": [CHECK | {"name": "Smoke Test"}]}}, "spec.checks.commands[0].name", "use lower-case letters"),
    refused({"checks": {"commands": [CHECK | {"timeoutSeconds": -1}]}}, "spec.checks.commands[0].timeoutSeconds", "equal to 1"),
    refused({"checks": {"commands": [CHECK | {"timeoutSeconds": 300}]}}, "spec.checks", "raise the run's"),
    refused({"probe.timeouts.runSeconds": 30, "checks": {"commands": [CHECK]}}, "spec.checks", "raise the run's"),
    refused({"benchmarks.profile": "Thorough"}, "spec.benchmarks.profile", '"None", "Quick", "Standard"'),
    refused(
        {"benchmarks": {"profile": "None", "floors": [MATMUL | {"minTFLOPS": 180}]}},
        "spec.benchmarks.floors", "write profile: Quick or Standard, or remove the floors",
    ),
    refused({"benchmarks.floors": [MATMUL]}, "floors[0]", "exactly one minimum"),
    refused(
        {"benchmarks.floors": [MATMUL | {"minTFLOPS": 1, "minPercentOfPeers": 85}]},
        "spec.benchmarks.floors[0]", "exactly one minimum", "write one floor for each",
    ),
    *(
        refused({"benchmarks.floors": [MATMUL | {"minTFLOPS": number}]}, "minTFLOPS", 'in quotes "19.5"')
        for number in (0, -1, 1000001, "0", "0.0", "", "-1", "1e3", "180 TFLOPS", "1.0001", "0180", "1000000.5")
    ),
    refused({"benchmarks.floors": [MATMUL | {"minTFLOPS": 19.5}]}, "minTFLOPS", "integer,string"),
    refused({"benchmarks.floors": [MEMORY | {"minGBps": "fast"}]}, "minGBps", 'in quotes "19.5"'),
    refused({"benchmarks.floors": [MEMORY | {"minPercentOfPeers": 101}]}, "minPercentOfPeers", "100"),
    refused({"benchmarks.floors": [MEMORY | {"minPercentOfPeers": 0}]}, "minPercentOfPeers", "equal to 1"),
    refused({"benchmarks.floors": [MEMORY | {"minPercentOfPeers": 85.5}]}, "minPercentOfPeers", "integer"),
    refused({"benchmarks.floors": [MATMUL | {"dtype": "bf16", "minTFLOPS": 1}]}, "dtype", '"BF16"'),
    refused({"benchmarks.floors": [{"benchmark": "matmul", "minTFLOPS": 1}]}, "floors[0].benchmark", '"MatMul", "Conv"'),
    refused({"benchmarks.floors": [MEMORY | {"minTFLOPS": 1}]}, "floors[0]", "minGBps for DeviceMemory"),
    refused({"benchmarks.floors": [{"benchmark": "Train", "minGBps": 1}]}, "floors[0]", "minPercentOfPeers for any"),
    refused({"benchmarks.floors": [MEMORY | {"dtype": "FP16", "minGBps": 1}]}, "floors[0].dtype", "remove dtype"),
    *(
        refused(
            {"benchmarks.floors": [{"benchmark": benchmark, "dtype": "BF16", "minPercentOfPeers": 85}]},
            "floors[0].dtype", "write FP16 for Conv and FP32 for Train",
        )
        for benchmark in ("Conv", "Train")
    ),
    refused({"nodes.selector.matchExpressions": [{"key": "a", "operator": "In"}]}, "matchExpressions[0].values"),
    refused(
        {"nodes.selector.matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]},
        "spec.nodes.selector.matchExpressions[0].values", "leave them out with Exists",
    ),
    refused(
        {"nodes.selector.matchLabels": {"bad key!": "x y"}},
        "spec.nodes.selector.matchLabels:", "no label can have this key: write [prefix/]name",
        "spec.nodes.selector.matchLabels[bad key!]", "no label can have this value: use letters",
    ),
    *(
        refused({"nodes.selector.matchExpressions": [{"key": key, "operator": "Exists"}]}, "[0].key", "[prefix/]name")
        for key in ("-a", "a.", "/a", "a/b/c", "Upper.com/a", "a..b/c", "x" * 64, f"{'a' * 254}/b", "a\n", "\u212a")
    ),
    *(
        refused(
            {"nodes.selector.matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b", value]}]},
            "spec.nodes.selector.matchExpressions[0].values[1]", "no label can have this value",
        )
        for value in ("x y", "-a", "a_", "a/b", "a\n")
    ),
    refused({"nodes.selector.matchLabels": {"a": "x" * 64}}, "spec.nodes.selector.matchLabels", "63"),
    refused(
        {"nodes.selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}},
        "spec.nodes.selector:", "matches no node", "remove one of them",
    ),
    *(
        refused({"nodes.selector.matchExpressions": [{"key": "a", "operator": "DoesNotExist"}, other]}, "matches no node")
        for other in ({"key": "a", "operator": "Exists"}, {"key": "a", "operator": "In", "values": ["b"]})
    ),
    refused({"probe.tolerations": [{"operator": "Exists", "value": "x"}]}, "tolerations[0].value", "Equal"),
    refused({"probe.tolerations": [{"effect": "NoSchedule"}]}, "tolerations[0].key", "name the taint's key"),
    refused({"probe.tolerations": [{"key": "a", "tolerationSeconds": 5}]}, "tolerationSeconds", "NoExecute"),
    refused({"probe.device.resourceName": "gpu"}, "spec.probe.device.resourceName", "write nvidia.com/gpu"),
    refused({"probe.device.resourceName": "kubernetes.io/gpu"}, "spec.probe.device.resourceName", "nvidia.com/gpu"),
    refused({"probe.device.count": 0}, "spec.probe.device.count", "greater than or equal to 1"),
    refused({"probe.device.count": "All"}, "spec.probe.device.count", "integer"),
    refused({"probe.resources.limits": {"nvidia.com/gpu": 1}}, "spec.probe.resources", "spec.probe.device.count"),
    refused({"probe.resources.limits": {"memory": "8 GB"}}, "limits[memory]", "write one such as 500m, 2 or 4Gi"),
    refused({"probe.resources.requests": {"cpu": -1}}, "requests[cpu]", "not negative"),
    refused({"probe.env": [{"name": "1X", "value": "y"}]}, "spec.probe.env[0].name", "not a digit first"),
    refused({"probe.env": [{"name": "GPUENV_RUN", "value": "y"}]}, "spec.probe.env[0].name", "another name"),
    refused(
        {"probe.env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        "spec.probe.env[0].valueFrom", "valueFrom is refused", "write a literal value",
    ),
    refused({"probe.env": [{"name": "A", "value": 1}]}, "spec.probe.env[0].value", "type string"),
    refused({"probe.python": "python3 -u"}, "spec.probe.python", "without arguments"),
    refused({"probe.runAs": "Root"}, "spec.probe.runAs", '"NonRoot", "Image"'),
    refused({"probe.rootFilesystem": "None"}, "spec.probe.rootFilesystem", '"ReadOnly", "Writable"'),
    refused({"probe.podLabels": {"gpuenv.dev/environment": "x"}}, "spec.probe.podLabels", "remove them"),
    refused({"probe.podAnnotations": {"gpuenv.dev/run-id": "x"}}, "spec.probe.podAnnotations", "remove them"),
    *(
        refused({f"probe.timeouts.{name}": value}, f"spec.probe.timeouts.{name}", "equal to 1")
        for name in ("schedulingSeconds", "setupSeconds", "pullSeconds", "runSeconds")
        for value in (-1, 0)
    ),
    refused({"probe.timeouts.pullSeconds": 86401}, "pullSeconds", "less than or equal to 86400"),
    refused({"strategy.revalidationPeriodSeconds": -1}, "spec.strategy.revalidationPeriodSeconds", "greater than or equal to 60"),
    refused({"strategy.revalidationPeriodSeconds": 0}, "spec.strategy.revalidationPeriodSeconds", "greater than or equal to 60"),
    *(
        refused({"strategy.maxConcurrent": value}, "spec.strategy.maxConcurrent", 'from "1%" to "100%"')
        for value in (0, -1, 10001, "150%", "0%", "-5%", "5", "half", "", "10.5%")
    ),
    refused({"checks.features": ["compile"]}, "spec.checks.features[0]", '"Compile"'),
    refused({"checks.features": ["Collectives"]}, "spec.checks.features", "later version", "remove it"),
    refused({"strategy.sampling": "PerClass"}, "spec.strategy.sampling", "later version", "write Every"),
    refused({"strategy.samplesPerClass": 2}, "spec.strategy.samplesPerClass", "later version", "remove it"),
    refused({"strategy.preflight": "Skip"}, "spec.strategy.preflight", "later version", "write None"),
    refused({"publish.nodeLabel": "Inferred"}, "spec.publish.nodeLabel", "later version", "write Measured"),
    refused({"publish.nodeCondition": True}, "spec.publish.nodeCondition", '"None", "Measured"'),
    refused({"probe.device.allocationMode": "All"}, "spec.probe.device.allocationMode", "write ExactCount"),
    refused({"suspend": "yes"}, "spec.suspend", "boolean"),
]  # fmt: skip

ACCEPTED: list[dict[str, Any]] = [
    {"image": IMAGE},
    {"image": "x:1"},
    {"image": "registry:5000/x:1"},
    {"image": "registry:5000/a/b_c/d--e.f:v1.0_x-Y"},
    {"image": f"x@{SHA256}"},
    {"image": f"registry:5000/x@{SHA256}"},
    {"image": f"nvcr.io/nvidia/pytorch:25.10-py3@{SHA256}"},
    {"image": "x:latest-cuda"},
    {"image": "Registry.Example:5000/x:1"},
    {"image": "x@sha512:" + "0" * 128},
    {"imagePullSecrets": [{"name": "a"}, {"name": "b"}], "imagePullPolicy": "Always"},
    {"nodes.selector": {"matchLabels": {"a.b/c": "d"}, "matchExpressions": [{"key": "e", "operator": "Exists"}]}},
    {"nodes.selector.matchExpressions": [{"key": "e", "operator": "NotIn", "values": ["a", ""]}]},
    {"nodes.selector.matchLabels": {f"{'a' * 253}/{'B' * 63}": "C" * 63, "d": "", "E.f_g-9": "570.124.06"}},
    {
        "nodes.selector.matchExpressions": [
            {"key": "a", "operator": "DoesNotExist"}, {"key": "a", "operator": "NotIn", "values": ["b"]},
            {"key": "c", "operator": "Exists"}, {"key": "c", "operator": "In", "values": ["d"]},
        ]
    },
    {"probe.tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoExecute"}]},
    {"probe.tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}]},
    *({"expect.pytorch": text} for text in ("==2.9.*", ">=2.9,<3", "~=2.9.0", "!=2.9.1", ">=2.9.0rc1", " == 2.9 ")),
    {"expect": {"cuda": ">=12.6,<13", "cudnn": "==9.*", "nccl": ">=2.20", "python": ">=3.10", "driver": ">=570.26"}},
    {"expect": {"computeCapability": {"min": "7.5", "max": "12.1"}, "driverRule": "Toolkit"}},
    {"checks": {"imports": ["vllm"], "features": ["Compile"]}},
    {"expect.computeCapability": {"min": "10.0"}},
    {"expect.gpus": {"products": ["NVIDIA A100*"], "minMemory": "40Gi"}},
    {"expect.gpus.minMemory": 42949672960},
    {"expect.gpus.minMemory": "0.5Ti"},
    {"checks.imports": ["flash_attn", "vllm._C"]},
    {"checks": {"commands": [CHECK, CHECK | {"name": "second", "timeoutSeconds": 299}]}},
    {"benchmarks": {"profile": "Standard", "floors": [MATMUL | {"dtype": "BF16", "minTFLOPS": "180.5"}]}},
    {"checks": {"commands": [CHECK | {"command": ["nvidia-smi"]}]}},
    {"benchmarks": {"profile": "None", "floors": []}},
    {"benchmarks.floors": [MEMORY | {"minPercentOfPeers": 85, "products": ["NVIDIA H100*"]}]},
    {"benchmarks.floors": [MEMORY | {"minGBps": 1500}, MEMORY | {"minGBps": 1}, MEMORY | {"minGBps": "0.001"}]},
    {"benchmarks.floors": [MATMUL | {"minTFLOPS": number} for number in (1, 1000000, "1000000", "180.0")]},
    {"benchmarks.floors": [{"benchmark": "Conv", "dtype": "FP16", "minTFLOPS": 9}]},
    {"benchmarks.floors": [{"benchmark": "Train", "dtype": "FP32", "minPercentOfPeers": 1}]},
    {"probe.device": {"resourceName": "nvidia.com/mig-1g.10gb", "count": 2}},
    {"probe.resources": {"limits": {"memory": "8Gi", "cpu": "1500m"}, "requests": {"cpu": 1, "memory": "0.5Gi"}}},
    {"probe.env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "EMPTY"}]},
    {"probe": {"python": "/opt/conda/bin/python", "useEntrypoint": True, "runAs": "Image", "schedulerName": "kueue"}},
    {"probe": {"rootFilesystem": "Writable", "resources": {"limits": {"ephemeral-storage": "20Gi"}}}},
    {"probe": {"podLabels": {"kueue.x-k8s.io/queue-name": "q"}, "podAnnotations": {"a/b": "c" * 1000}}},
    {"strategy": {"revalidationPeriodSeconds": 60, "maxConcurrent": 1}},
    *({"strategy.maxConcurrent": value} for value in (10000, "1%", "100%")),
    {"publish": {"nodeLabel": "None", "nodeCondition": "Measured"}, "suspend": True},
]  # fmt: skip


@pytest.fixture
def server(policed: ControlPlane) -> RestClient:
    return policed.admin


@pytest.mark.parametrize(("fields", "words"), REFUSED)
def test_refused_with_the_field_and_the_cure(
    server: RestClient, fields: dict[str, Any], words: tuple[str, ...]
) -> None:
    spec = {path.replace(".", "__"): value for path, value in fields.items()}
    with pytest.raises(ApiError) as caught:
        server.create(STRICT, environment(**spec))
    assert caught.value.status == 422
    missing = [word for word in words if word not in caught.value.message]
    assert not missing, caught.value.message


@pytest.mark.parametrize("fields", ACCEPTED, ids=lambda fields: str(fields)[:60])
def test_accepted_and_understood_by_the_operator(server: RestClient, fields: dict[str, Any]) -> None:
    given = environment(**{path.replace(".", "__"): value for path, value in fields.items()})
    stored = server.create(STRICT, given)
    assert parse(stored["spec"]) == parse(given["spec"]), "the schema's defaults are not the operator's"


def test_defaults_are_those_of_the_operator(server: RestClient) -> None:
    stored = server.create(STRICT, environment())
    assert parse(stored["spec"]) == EnvironmentSpec(image=IMAGE)


@pytest.mark.parametrize(
    "name", ["pytorch.2-9", "a" * 51, "a.b"], ids=["dot", "51 characters", "dot between letters"]
)
def test_a_name_that_cannot_be_part_of_a_label_is_refused(server: RestClient, name: str) -> None:
    with pytest.raises(ApiError, match=r"metadata.name: .*at most 50 characters and dashes instead of dots"):
        server.create(STRICT, environment(name))


def test_a_name_of_50_characters_is_accepted(server: RestClient) -> None:
    server.create(STRICT, environment("a" * 50))


def test_without_a_spec_the_refusal_says_what_to_write(server: RestClient) -> None:
    bare = {key: value for key, value in environment().items() if key != "spec"}
    with pytest.raises(ApiError, match=r"spec: Required value: spec is missing: write at least spec.image"):
        server.create(STRICT, bare)


@pytest.mark.parametrize(
    "path", ["expects", "expect__torch", "probe__volumes", "strategy__interval", "probe__timeouts__run"]
)
def test_an_unknown_field_is_refused_by_strict_clients(server: RestClient, path: str) -> None:
    given = environment(**{path: {}})
    with pytest.raises(ApiError, match=f'unknown field "spec.{path.replace("__", ".")}"') as caught:
        server.create(STRICT, given)
    assert caught.value.status == 400


def test_kubectl_refuses_an_unknown_field_by_itself(installed: ControlPlane, kubectl: Kubectl) -> None:
    result = kubectl.run("create", "--dry-run=server", "-f", "-", stdin=str(environment(expects={})))
    assert result.returncode != 0
    assert 'unknown field "spec.expects"' in result.stderr


def test_the_largest_environment_stays_within_the_cost_budget(server: RestClient) -> None:
    """The rules' estimated cost was accepted with the schema; this is the real cost, at the largest sizes."""
    largest = environment(
        checks__imports=[f"module_{number}_{'x' * 100}" for number in range(32)],
        expect__gpus={"products": [f"NVIDIA {number} {'x' * 100}" for number in range(64)]},
        checks__commands=[{"name": f"check-{number}", "command": ["x" * 1024] * 16} for number in range(16)],
        benchmarks__floors=[MATMUL | {"dtype": "BF16", "minTFLOPS": "123456.789"}] * 64,
        probe__env=[{"name": f"VARIABLE_{number}", "value": "x" * 1024} for number in range(64)],
        probe__podAnnotations={f"example.com/{number}": "x" * 1024 for number in range(32)},
        probe__tolerations=[{"key": f"key-{number}"} for number in range(32)],
        nodes__selector={
            "matchLabels": {f"{'p' * 253}/{'n' * 60}{number}": "v" * 63 for number in range(32)},
            "matchExpressions": [
                {"key": f"{'p' * 253}/{'m' * 60}{number}", "operator": "NotIn", "values": ["v" * 63] * 256}
                for number in range(31)
            ]
            + [{"key": "absent", "operator": "DoesNotExist"}],
        },
    )
    server.create(STRICT, largest)


@pytest.mark.parametrize(("fields", "words"), REFUSED)
def test_the_operator_never_crashes_on_what_the_server_refuses(
    fields: dict[str, Any], words: tuple[str, ...]
) -> None:
    spec = {path.replace(".", "__"): value for path, value in fields.items()}
    try:
        parse(environment(**spec)["spec"])
    except SpecError as error:
        assert "\n" not in str(error)
