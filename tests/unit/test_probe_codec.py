"""The probe report's compact form: nothing lost on the way, nothing hostile gets through, eight GPUs fit."""

from __future__ import annotations

import base64
import json
import random
import zlib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv_probe import codec

SCHEMA_FILE = Path(codec.__file__).with_name("report.schema.json")
SCHEMA: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))

PLAIN_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def values_of(shape: Any) -> st.SearchStrategy[Any]:
    """Random values of one of the codec's shapes."""
    if shape is codec.PLAIN:
        return PLAIN_VALUES
    if shape is codec.COLUMNS:
        return st.dictionaries(st.text(max_size=8), PLAIN_VALUES, max_size=4)
    fields = {name: values_of(inner) for name, inner in shape.fields.items()}
    first = next(iter(fields))
    if isinstance(shape, codec._Table):
        needed = {first: st.text(max_size=8) | st.integers(0, 7)}
        rest = {name: inner for name, inner in fields.items() if name != first}
        return st.lists(st.fixed_dictionaries(needed, optional=rest), max_size=4)
    return st.fixed_dictionaries({}, optional=fields)


REPORTS = values_of(codec.REPORT).map(lambda report: {**report, "schema": codec.SCHEMA})


@settings(max_examples=150)
@given(REPORTS)
def test_round_trip_keeps_everything_that_is_known(report: dict[str, Any]) -> None:
    text = codec.encode(report, limit=10**9)
    assert text.isascii()
    assert text.isprintable()
    assert codec.decode(text, max_bytes=10**8) == codec.normalise(report)


@settings(max_examples=150)
@given(REPORTS, st.integers(200, 3000))
def test_what_does_not_fit_is_left_out_and_named(report: dict[str, Any], limit: int) -> None:
    report = {**report, "stage": "kernels", "run": "r1", "omitted": []}
    text = codec.encode(report, limit)
    assert len(text) <= limit
    decoded = codec.decode(text)
    assert (decoded["stage"], decoded["run"]) == ("kernels", "r1")
    if decoded != codec.normalise(report) and "ended" not in decoded:
        assert decoded["omitted"]


def test_a_report_of_which_nothing_fits_names_no_more_than_that() -> None:
    noise = random.Random(1).choices(range(0x20, 0xD000), k=4000)
    torch = {"importError": {"layer": "os", "code": {"".join(map(chr, noise)): 1}}}
    gpus = [{"index": 0, "health": {"pciId": "x"}}]
    steps = [
        {"name": "alloc", "status": "Pass", "detail": "y", "error": {"layer": "os", "message": "z" * 400}}
    ]
    text = codec.encode({"stage": "kernels", "run": "r", "torch": torch, "gpus": gpus, "steps": steps}, 200)
    assert len(text) <= 200
    assert codec.decode(text)["omitted"] == ["everything"]


@settings(max_examples=300)
@given(st.text(max_size=300))
def test_any_text_is_refused_with_a_kind(text: str) -> None:
    with pytest.raises(codec.CodecError) as caught:
        codec.decode(text)
    assert caught.value.kind in {"empty", "truncated", "notAReport", "schemaVersion", "tooLarge"}


@settings(max_examples=300)
@given(PLAIN_VALUES)
def test_any_json_in_the_envelope_is_a_report_or_refused(document: Any) -> None:
    try:
        report = codec.decode(envelope(json.dumps(document)))
    except codec.CodecError:
        return
    assert report["schema"] == codec.SCHEMA


def envelope(document: str | bytes, version: int = codec.SCHEMA) -> str:
    data = document if isinstance(document, bytes) else document.encode()
    return f"gpuenv-report/{version}:{base64.b85encode(zlib.compress(data, 9)).decode()}."


def columns_of_unequal_length() -> str:
    document: list[Any] = [codec.SCHEMA, "facts", "r", True]
    document += [None] * (list(codec.REPORT.fields).index("gpus") - len(document)) + [[[0, 1], ["A100"]]]
    return json.dumps(document)


GOOD = codec.encode({"stage": "facts", "run": "r1", "complete": True})


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("g", "truncated"),
        ("gpuenv-report/1", "truncated"),
        (GOOD[:-1], "truncated"),
        (GOOD[: len(GOOD) // 2], "truncated"),
        ("Traceback (most recent call last):", "notAReport"),
        ('{"schema": 1}', "notAReport"),
        ("gpuenv-report/1:not base 85 at all.", "notAReport"),
        (GOOD[:30] + "~~~~~" + GOOD[30:], "notAReport"),
        (envelope("{broken"), "notAReport"),
        (envelope("NaN"), "notAReport"),
        (envelope('{"schema": 1}'), "notAReport"),
        (envelope(b"\xff\xfe"), "notAReport"),
        (envelope("[" * 30000), "notAReport"),
        (envelope("9" * 30000), "notAReport"),
        (envelope(columns_of_unequal_length()), "notAReport"),
        (envelope("[2]"), "schemaVersion"),
        (envelope("[1]", version=2), "schemaVersion"),
        (envelope(" " * (codec.MAX_JSON + 1)), "tooLarge"),
        (envelope(b"0" * 50_000_000), "tooLarge"),
    ],
)
def test_hostile_texts(text: str, kind: str) -> None:
    with pytest.raises(codec.CodecError) as caught:
        codec.decode(text)
    assert caught.value.kind == kind
    assert "\n" not in str(caught.value)


def test_every_cut_of_a_report_is_called_truncated() -> None:
    for length in range(1, len(GOOD)):
        with pytest.raises(codec.CodecError) as caught:
            codec.decode(GOOD[:length])
        assert caught.value.kind == "truncated", length


def test_the_rest_of_a_longer_report_that_is_being_overwritten_is_ignored() -> None:
    assert codec.decode(GOOD + "c-o6L)KN-HOfD%_(ow2V(kUq_O^pQrJ(dPP.") == codec.decode(GOOD)


def test_what_json_cannot_hold_is_not_known() -> None:
    report = {
        "stage": "kernels",
        "benchmarks": [{"benchmark": "MatMul", "median": float("nan"), "p20": float("inf")}],
    }
    assert codec.decode(codec.encode(report))["benchmarks"] == [{"benchmark": "MatMul"}]
    assert codec.decode(codec.encode({"stage": "facts", "run": "\ud800"}))["run"] == "?"


def test_schema_and_codec_name_the_same_fields() -> None:
    def compare(shape: Any, schema: dict[str, Any], where: str) -> None:
        if "$ref" in schema:
            schema = SCHEMA["$defs"]["failure"]
        if isinstance(shape, codec._Table):
            assert schema["type"] == "array", where
            schema = schema["items"]
            assert next(iter(shape.fields)) in schema["required"], where
        if isinstance(shape, codec._Table | codec._Record):
            assert list(schema["properties"]) == list(shape.fields), where
            for name, inner in shape.fields.items():
                compare(inner, schema["properties"][name], f"{where}.{name}")

    compare(codec.REPORT, SCHEMA, "report")


def test_eight_gpus_of_the_standard_profile_fit_with_nothing_left_out() -> None:
    for report in (eight_gpu_facts(), eight_gpu_kernels()):
        jsonschema.validate(report, SCHEMA)
        text = codec.encode(report)
        assert len(text) <= codec.LIMIT, f"{report['stage']} takes {len(text)} bytes"
        assert codec.decode(text) == report
        assert "omitted" not in codec.decode(text)


def test_a_report_that_could_not_be_read_because_of_its_size_is_not_written() -> None:
    steps = [{"name": "matmul", "gpu": gpu, "detail": "x" * 400, "status": "Pass"} for gpu in range(100)]
    text = codec.encode({"stage": "kernels", "steps": steps})
    assert len(text) < codec.LIMIT
    assert codec.decode(text)["omitted"] == ["texts over 300 characters"]


@pytest.mark.parametrize(
    "schema",
    ["[" * 5000 + "]" * 5000, '{"a":' * 5000 + "1" + "}" * 5000, '"' + "x" * 9999 + '"', "null"],
    ids=["lists", "objects", "text", "null"],
)
def test_a_schema_that_is_no_number_is_not_shown(schema: str) -> None:
    """Python 3.13 reads thousands of lists in each other. To show them takes as much of its stack again."""
    with pytest.raises(codec.CodecError) as caught:
        codec.decode(envelope(f"[{schema}]"))
    assert caught.value.kind in ("schemaVersion", "notAReport")
    assert len(str(caught.value)) < 200


def test_omissions_come_in_the_fixed_order() -> None:
    report = eight_gpu_kernels()
    names = [name for name, _ in codec.OMISSIONS]
    for limit in range(200, 3000, 100):
        decoded = codec.decode(codec.encode(report, limit))
        omitted = decoded.get("omitted", [])
        assert omitted == [name for name in names if name in omitted]
        jsonschema.validate(decoded, SCHEMA)


def test_encoding_refuses_what_the_schema_does_not_know() -> None:
    with pytest.raises(ValueError, match="has no field 'verdict'"):
        codec.encode({"stage": "facts", "verdict": "Compatible"})
    with pytest.raises(ValueError, match="every row needs 'index'"):
        codec.encode({"stage": "facts", "gpus": [{"product": "A100"}]})


def eight_gpu_facts() -> dict[str, Any]:
    """A facts report as long as real ones get: eight GPUs whose health differs in every figure."""
    seeded = random.Random(8)
    gpus: list[dict[str, Any]] = [
        {
            "index": index,
            "product": "NVIDIA H100 80GB HBM3",
            "uuid": f"GPU-{seeded.getrandbits(128):032x}",
            "computeCapability": "9.0",
            "memoryMiB": 81559,
            "memoryFreeMiB": 81000 + seeded.randrange(300),
            "health": {
                "pciId": f"00000000:{seeded.randrange(256):02X}:00.0",
                "eccMode": True,
                "eccCorrected": 0,
                "eccUncorrected": 0,
                "remapCorrectable": seeded.randrange(2),
                "remapUncorrectable": 0,
                "remapPending": False,
                "remapFailed": False,
                "throttleReasons": 1,
                "smClockMHz": 345,
                "smClockMaxMHz": 1980,
                "memoryClockMHz": 2619,
                "temperatureC": 25 + seeded.randrange(15),
                "powerW": 69.0 + seeded.randrange(9),
                "powerLimitW": 700,
                "powerDefaultW": 700,
                "pcieGen": 5,
                "pcieGenMax": 5,
                "pcieWidth": 16,
                "pcieWidthMax": 16,
                "fabricState": 3,
                "recoveryAction": 0,
                "utilisationPercent": 0,
                "computeMode": 0,
                "persistence": True,
                "unavailable": {"3": ["mig", "retiredPagesPending"], "13": ["remappedRows"]},
            },
        }
        for index in range(8)
    ]
    nodes = [
        "nvidiactl",
        "nvidia-uvm",
        "nvidia-uvm-tools",
        "nvidia-modeset",
        *(f"nvidia{index}" for index in range(8)),
    ]
    return {
        "schema": 1,
        "stage": "facts",
        "run": "k3v9x2m1qz",
        "complete": True,
        "container": {
            "python": "3.11.14",
            "executable": "/opt/conda/bin/python3",
            "glibc": "glibc 2.35",
            "machine": "x86_64",
            "uid": 1000,
            "memoryLimitMiB": 16384,
            "cpuLimit": 7.5,
            "pidsLimit": 32768,
            "shmMiB": 64,
            "writable": ["/tmp", "/dev/shm", "/home/user", "/workspace"],
            "env": {
                "NVIDIA_VISIBLE_DEVICES": ",".join(gpu["uuid"] for gpu in gpus),
                "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
                "NVIDIA_REQUIRE_CUDA": "cuda>=12.8 brand=unknown,driver>=470,driver<471 brand=grid",
                "CUDA_VERSION": "12.8.1",
                "LD_LIBRARY_PATH": "/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
            },
            "triton": "3.5.1",
            "ptxas": "12.8.93",
            "notes": ["runs as root"],
        },
        "driver": {
            "version": "570.172.08",
            "cudaVersion": 12080,
            "nvmlCudaVersion": 12080,
            "cuInit": 0,
            "deviceCount": 8,
            "libcuda": {"path": "/usr/lib/x86_64-linux-gnu/libcuda.so.570.172.08", "origin": "host"},
            "deviceNodes": [{"path": f"/dev/{name}", "errno": 0} for name in nodes],
        },
        "gpus": gpus,
        "torch": {
            "version": "2.9.1+cu128",
            "gitVersion": "5811a8d7da873dd699ff6687092c225caffcf1bb",
            "cuda": "12.8",
            "cpuBuild": False,
            "cudnn": 91002,
            "cudnnEnabled": True,
            "nccl": "2.27.5",
            "archFlags": ["sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"],
        },
    }


STANDARD_STEPS = (
    *(("matmul", dtype) for dtype in ("fp32", "tf32", "fp16", "bf16", "fp8")),
    *(("conv", dtype) for dtype in ("fp32", "fp16", "bf16")),
    *(("attention", dtype) for dtype in ("fp32", "fp16", "bf16")),
    *(
        (name, "")
        for name in ("alloc", "train", "torchscript", "jit", "compile", "stream", "import:flash_attn")
    ),
)
STANDARD_BENCHMARKS = (
    *(("MatMul", {"dtype": dtype}, "TFLOPS") for dtype in ("FP32", "TF32", "FP16", "BF16", "FP8")),
    ("Conv", {"dtype": "FP16"}, "TFLOPS"),
    ("Train", {"dtype": "FP32"}, "1/s"),
    *((benchmark, {}, "GB/s") for benchmark in ("DeviceMemory", "HostToDevice", "DeviceToHost")),
)


def eight_gpu_kernels() -> dict[str, Any]:
    """A kernels report of the Standard profile: every figure differs, as noise makes it."""
    seeded = random.Random(80)

    def figure(centre: float) -> float:
        return float(f"{centre * seeded.uniform(0.97, 1.03):.4g}")

    return {
        "schema": 1,
        "stage": "kernels",
        "run": "k3v9x2m1qz",
        "complete": True,
        "gpus": [
            {
                "index": gpu,
                "health": {
                    "busyThrottleReasons": 4,
                    "busySmClockMHz": 1300 + seeded.randrange(600),
                    "busyPowerW": 600 + seeded.randrange(100),
                    "busyTemperatureC": 50 + seeded.randrange(20),
                    "busyPcieGen": 5,
                    "busyPcieWidth": 16,
                },
            }
            for gpu in range(8)
        ],
        "torch": {"available": True, "warnings": []},
        "steps": [
            {"name": name, "gpu": gpu, "dtype": dtype, "status": "Pass"}
            for gpu in range(8)
            for name, dtype in STANDARD_STEPS
        ],
        "commands": [{"name": "smoke", "exitCode": 0, "timedOut": False, "tail": "ok"}],
        "benchmarks": [
            {
                "benchmark": benchmark,
                "gpu": gpu,
                **dtype,
                "unit": unit,
                "median": (middle := figure(500)),
                "p20": float(f"{middle * 0.99:.4g}"),
                "p80": float(f"{middle * 1.01:.4g}"),
                "samples": 20 + seeded.randrange(9000),
            }
            for gpu in range(8)
            for benchmark, dtype, unit in STANDARD_BENCHMARKS
        ],
    }
