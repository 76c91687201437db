"""What programs print while they start: versions, GPUs, and failures in words of their own."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.world import KNOWLEDGE

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import Facts
from gpuenv.assess.sources.collect_env import read_collect_env
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.assess.sources.readers import sglang_env, startup_texts

CASES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "reader_texts" / "startup.yaml").read_text(encoding="utf-8")
)["cases"]


def facts(text: str) -> Facts:
    return merge([read_error_text(text, KNOWLEDGE), read_collect_env(text)])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:60])
def test_versions_gpus_and_failures_are_read(case: dict[str, Any]) -> None:
    found = facts(case["text"])
    assert [error.name for error in found.errors] == ([case["rule"]] if "rule" in case else [])
    assert found.torch.version == case.get("torch")
    assert [gpu.product for gpu in found.gpus] == case.get("gpus", [])
    if "reason" in case:
        leading = assess(found, None, (), KNOWLEDGE)
        assert leading.reason == case["reason"]
        assert leading.checks[0].remedies


def test_the_dump_of_sglang_suffices_for_a_verdict() -> None:
    text = next(case["text"] for case in CASES if "sglang" in case["text"])
    found = facts(text)
    assert (found.driver.version, found.container.python, found.torch.available) == (
        "580.82.07",
        "3.12.12",
        True,
    )
    assert {gpu.compute_capability for gpu in found.gpus} == {(10, 3)}
    assert assess(found, None, (), KNOWLEDGE).verdict == "Compatible"


def test_a_build_without_cuda_is_to_blame_and_not_xformers() -> None:
    found = assess(facts(CASES[0]["text"]), None, (), KNOWLEDGE)
    assert (found.verdict, found.reason) == ("Incompatible", "TorchCpuBuild")
    assert "ImportFailed" not in {check.reason for check in found.checks}


@pytest.mark.parametrize(
    "text",
    [
        "INFO [__init__.py:243] Automatically detected platform cuda.",
        "xFormers 0.0.34\nmemory_efficient_attention.cutlassF: available",
        "bitsandbytes 0.49.2",
        "Flash Attention is enabled",
    ],
)
def test_a_start_that_works_is_no_failure(text: str) -> None:
    assert read_error_text(text, KNOWLEDGE).errors == ()


@pytest.mark.parametrize(
    "piece",
    ["xFormers was built for:\n" + " " * 20 + "PyTorch 2.0 with CUDA ", "pytorch version: ", "Device: cuda:0 " + "a" * 80 + "\n",
     "CUDA binary at PosixPath('" + "a" * 200, "CUDA available: True\nGPU " + "0," * 63 + "0: a\n", "PyTorch version (2.1"],
)  # fmt: skip
def test_a_hostile_megabyte_takes_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    start = time.thread_time()
    found = [startup_texts.read(text, KNOWLEDGE), sglang_env.read(text, KNOWLEDGE)]
    assert time.thread_time() - start < 1.5
    assert all(len(one.gpus) <= startup_texts.MAX_GPUS for one in found)
