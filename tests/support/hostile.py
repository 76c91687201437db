"""Probe reports that are as much work as an image can make them, and an honest one to compare them with.

Each is a termination message of at most 4096 bytes, as Kubernetes keeps it.
"""

import base64
import copy
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpuenv.knowledge import load
from gpuenv_probe import codec

RUN = "run"
RECORDED = Path(__file__).parents[1] / "fixtures" / "gpu" / "nvidia-h100-80gb-hbm3-580.159.04-2026-11-28.json"
MESSAGE_BYTES = 4096
_FIELDS = tuple(codec.REPORT.fields)


def honest(gpus: int = 8, run: str = RUN) -> tuple[str, str]:
    """Return the messages of both stages on a node with that many GPUs: those of a recorded H100, repeated."""
    reports = json.loads(RECORDED.read_text(encoding="utf-8"))["profiles"]["Standard"]["reports"]
    texts = []
    for stage in ("facts", "kernels"):
        report = reports[stage] | {"run": run}
        for part, key in (("gpus", "index"), ("steps", "gpu"), ("benchmarks", "gpu")):
            if part in report:
                report[part] = [
                    copy.deepcopy(row) | {key: gpu} | _median(row, gpu)
                    for gpu in range(gpus)
                    for row in report[part]
                ]
        texts.append(codec.encode(report))
    return texts[0], texts[1]


def _median(row: dict[str, Any], gpu: int) -> dict[str, Any]:
    return {"median": round(row["median"] * (1 + gpu / 977), 1)} if "median" in row else {}


def message(run: str = RUN, stage: str = "kernels", **parts: Any) -> str:
    """Return a message with these parts of a report, each already in the form in which the codec writes it."""
    fields = {"schema": codec.SCHEMA, "stage": stage, "run": run, "complete": True} | parts
    data = json.dumps([fields.get(name) for name in _FIELDS], separators=(",", ":"), ensure_ascii=False)
    packed = base64.b85encode(zlib.compress(data.encode("utf-8", "surrogatepass"), 9)).decode()
    return f"gpuenv-report/{codec.SCHEMA}:{packed}."


def fails(count: int, words: Callable[[int], str], gpus: int = 1) -> list[Any]:
    """Return that many failed steps, each with its own error message."""
    every = range(count)
    return [
        [f"matmul{number // gpus}" for number in every],
        [number % gpus for number in every],
        ["fp32"] * count,
        ["Fail"] * count,
        [["cuda", None, "", words(number)] for number in every],
    ]


def _first_parts(length: int) -> str:
    """Return as many first parts of patterns as fit: the text in which most rules have to be tried."""
    parts = sorted({parts[0].removesuffix("$") for rule in load().errors for parts in rule.text}, key=len)
    return " ".join(parts)[:length]


def _wide(depth: int, width: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value] * width
    return value


def _deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


_TRIED = _first_parts(440)
_NUMBERS = [number + 0.5 for number in range(400)]

_MODELS = sorted(model.name for model in load().models.values() if model.cc[0] == 8)
WORST: dict[str, dict[str, Any]] = {
    "numbered errors": {"steps": fails(600, lambda number: f"e{number}")},
    "one rule, often": {"steps": fails(58, lambda n: f"{n} " + "cudaerrornotsupported " * 22)},
    "few steps with one rule": {"steps": fails(50, lambda n: "cudaerrornotsupported " * 22 + str(n))},
    "two parts of which one lacks": {"steps": fails(58, lambda n: f"{n} " + "nvidia-container-cli " * 22)},
    "parts that are close together": {
        "steps": fails(58, lambda n: f"{n} " + "glibcxx_3.glibc_2.cxxabi_1." * 16)
    },
    "most rules": {"steps": fails(58, lambda n: f"{n} {_TRIED}")},
    "most rules, on lines": {"steps": fails(58, lambda n: f"{n}\n" + _TRIED.replace(" ", "\n"))},
    "Xids": {"steps": fails(58, lambda n: f"{n} " + " ".join(f"xid {xid}" for xid in range(70)))},
    "letters that grow in lower case": {"steps": fails(30, lambda n: f"{n} " + "İ" * 400)},
    "unprintable letters": {"steps": fails(20, lambda n: f"{n} " + "\u202e" * 400)},
    "wrong numbers": {"steps": [[f"m{n}" for n in range(700)], None, None, ["Wrong"] * 700, None, [f"{n}" for n in range(700)]]},
    "steps that passed": {
        "steps": [[f"s{n}" for n in range(900)], [n % 16 for n in range(900)], None, ["Pass"] * 900]
    },
    "one step on a thousand GPUs": {"steps": [["matmul"] * 900, list(range(900)), None, ["Pass"] * 900]},
    "rows without values": {part: [[None] * 1500] for part in ("gpus", "steps", "commands", "benchmarks")},
    "rows with one value": {part: [["a"] * 1900] for part in ("gpus", "steps", "commands", "benchmarks")},
    "GPUs": {
        "gpus": [
            list(range(64)),
            [f"NVIDIA RTX 4090 {'y' * 180}{n}" for n in range(64)],
            None,
            [f"{n % 13}.{n % 7}" for n in range(64)],
            None,
            None,
            None,
            {"error": [f"gpu is lost {n} " + "error " * 20 for n in range(64)]},
        ],
        "torch": ["2.9.1+cu128", None, "12.8", False, 91002, True, None, [f"sm_{n}" for n in range(64)]],
    },
    "errors that other builds and drivers cure": {
        "gpus": [list(range(64)), _MODELS[:64]],
        "torch": ["2.4.0+cu118", None, "11.8", False, 90100, True, None, ["sm_37"]],
        "steps": [
            [f"matmul{n}" for n in range(200)],
            list(range(200)),
            None,
            ["Fail"] * 200,
            [["cuda", (35, 100, 209, 222, 801, 803, 804)[n % 7], "", f"{n}"] for n in range(200)],
        ],
    },
    "GPUs with health": {
        "gpus": [list(range(64)), *[None] * 6, {f"h{key}": list(range(64)) for key in range(100)}]
    },
    "benchmarks": {
        "benchmarks": [
            [f"b{n % 7}" for n in range(400)],
            [n % 16 for n in range(400)],
            [f"d{n}" for n in range(400)],
            ["TFLOPS"] * 400,
            *[_NUMBERS] * 3,
        ]
    },
    "commands": {"commands": [[f"c{n}" for n in range(60)], [1] * 60, None, None, ["z\n" * 150] * 60]},
    "warnings": {
        "torch": [*["2.9.1+cu128", None, "12.8", False, None, True, None, ["sm_90"], False], None, None, None,
                  [f"{n} {_TRIED}" for n in range(64)]]
    },
    "numbers": {"container": [[number % 100 for number in range(9000)]]},
    "keys": {"container": [{f"{key:x}": key for key in range(600)}]},
    "a wide object": {"container": [_wide(5, 5)]},
    "a deep object": {"container": [_deep(900)], "ended": _deep(900), "omitted": [_deep(800)]},
    "long texts": {"ended": "x" * 9000, "omitted": ["🙂" * 300] * 16},
}  # fmt: skip
"""The parts of the kernels report, by what makes it much work. ``message(**WORST[name])`` is the message."""


def worst(name: str, run: str = RUN) -> tuple[str, str]:
    """Return the messages of both stages, of which the second is one of ``WORST``."""
    texts = honest(1, run)[0], message(run, **WORST[name])
    assert all(len(text.encode()) <= MESSAGE_BYTES for text in texts), "Kubernetes would cut the message off"
    return texts
