"""Termination messages of the two stages of a probe, as an image could write them."""

import base64
import json
import zlib
from collections.abc import Callable
from typing import Any, Final

from tests.fuzz import hostile
from tests.fuzz.choices import Choices
from tests.support import builders

from gpuenv_probe import codec

Raw = dict[str, Any]
LONGEST: Final = 4096
"""The number of bytes of a termination message that the kubelet keeps."""


def messages(choices: Choices, run: str) -> tuple[str, str]:
    """Return the messages of the stages ``facts`` and ``kernels`` of one run."""
    facts = _message(choices, builders.facts_report(run), _many_gpus)
    kernels = _message(choices, builders.kernels_report(run), _many_steps)
    return facts, kernels


def _message(choices: Choices, honest: Raw, grow: Callable[[Choices, Raw], None]) -> str:
    kind = choices.below(16)
    if kind == 0:
        return codec.encode(honest)
    if kind == 1:
        return choices.rest().decode("utf-8", "replace")[:LONGEST]
    if kind == 2:
        return hostile.text(choices)[:LONGEST]
    report = honest
    if kind >= 10:
        grow(choices, report)
    report = hostile.changed(choices, report, 1 + choices.below(6))
    encoded = _encoded(choices, report)
    if kind == 3:
        cut = choices.below(len(encoded) + 1)
        encoded = encoded[:cut] + hostile.text(choices) + encoded[cut:]
    return encoded.encode("utf-8", "replace")[:LONGEST].decode("utf-8", "ignore")


def _encoded(choices: Choices, report: Any) -> str:
    """Return a report as the codec would write it, if it had no limits and cleaned nothing."""
    try:
        packed = codec._pack(codec.REPORT, report, "report")
    except (AttributeError, TypeError, ValueError):
        packed = report if choices.chance(4) else hostile.changed(choices, _layout(), 1 + choices.below(4))
    text = json.dumps(packed, ensure_ascii=choices.chance(2), separators=(",", ":"), default=str)
    data = zlib.compress(text.encode("utf-8", "surrogatepass"), 9)
    return f"gpuenv-report/{codec.SCHEMA}:{base64.b85encode(data).decode('ascii')}."


def _layout() -> Any:
    """Return the packed form of an honest report, to be damaged."""
    return codec._pack(codec.REPORT, builders.kernels_report("run"), "report")


def _many_gpus(choices: Choices, report: Raw) -> None:
    gpu = report["gpus"][0]
    report["gpus"] = [
        gpu | {"index": number, "product": hostile.text(choices)} for number in range(choices.below(70))
    ]


def _many_steps(choices: Choices, report: Raw) -> None:
    """Let hundreds of steps fail with different words, each of which has to be looked up."""
    words = [hostile.text(choices)[:600] for _ in range(1 + choices.below(6))]
    status = choices.one_of(("Fail", "Wrong", "Warn", "Crash", "Skipped", "Pass", "?"))
    steps = choices.one_of((8, 64, 118, 400, 1024))
    report["steps"] = [
        {
            "name": f"{choices.one_of(('matmul', 'conv', 'x'))}{number if choices.chance(2) else ''}",
            "gpu": number % 16,
            "dtype": "fp32",
            "status": status,
            "error": {
                "layer": "cudart",
                "code": number,
                "name": "",
                "message": f"{words[number % len(words)]} {number}",
            },
        }
        for number in range(steps)
    ]
    if choices.chance(3):
        report["torch"]["warnings"] = [f"{words[0]} {number}" for number in range(steps)]
    if choices.chance(3):
        report["benchmarks"] = [report["benchmarks"][0] | {"gpu": number} for number in range(steps)]
