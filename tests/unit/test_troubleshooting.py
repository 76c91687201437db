"""Symptoms that official troubleshooting pages list: each is recognised, and its cure is that of the page."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.world import KNOWLEDGE

from gpuenv.assess.engine import assess
from gpuenv.assess.sources.error_text import read_error_text

CASES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "reader_texts" / "troubleshooting.yaml").read_text(encoding="utf-8")
)["cases"]
HARMLESS = [
    "groups: cannot find name for group ID 993",
    "/sbin/ldconfig.real: /usr/lib/wsl/lib/libcuda.so.1 is not a symbolic link",
    "WARNING: CUDA was previously initialized. We must use the `spawn` multiprocessing start method.",
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"].strip()[:60])
def test_a_symptom_is_answered_with_the_cure_of_its_page(case: dict[str, Any]) -> None:
    found = read_error_text(case["text"], KNOWLEDGE)
    if "rule" in case:
        assert case["rule"] in {error.name for error in found.errors}
    leading = assess(found, None, (), KNOWLEDGE)
    assert leading.reason == case["reason"]
    assert leading.verdict != "Compatible"
    assert case.get("cure", "") in " ".join(remedy.message for remedy in leading.checks[0].remedies)


@pytest.mark.parametrize("text", HARMLESS)
def test_a_warning_that_changes_nothing_is_no_error(text: str) -> None:
    found = read_error_text(text, KNOWLEDGE)
    assert not found.errors
    assert not found.unrecognised


def test_pods_of_the_operator_that_run_are_no_fault() -> None:
    text = "nvidia-driver-daemonset-q7d4z   1/1   Running   0   12m\ngpu-feature-discovery-x2   1/1   Running   0   9m"
    assert "operator-pods-wait" not in {error.name for error in read_error_text(text, KNOWLEDGE).errors}


def test_an_nvswitch_error_that_is_not_fatal_is_no_fault() -> None:
    text = "nvidia-nvswitch2: SXid (PCI:0000:05:00.0): 12028, Non-fatal, Link 32 egress non-posted PRIV error"
    assert "nvswitch-fatal" not in {error.name for error in read_error_text(text, KNOWLEDGE).errors}


def test_the_fabric_of_a_query_that_names_the_gpu_is_a_fact_of_that_gpu() -> None:
    text = "GPU 00000000:1B:00.0\n    Product Name : NVIDIA H100\n    Fabric\n        State   : In Progress\n"
    assert "fabric-in-progress" not in {error.name for error in read_error_text(text, KNOWLEDGE).errors}


@pytest.mark.parametrize(
    "piece",
    [
        "nvidia-driver-daemonset-" + "a-" * 30 + " 0/1 ",
        "nvidia-container-cli: mount error: stat failed: /dev/nvidia" + "/" * 39,
        "could not insert 'nvidia" + "_" * 24,
        "Fabric\n State" + " " * 60 + ": ",
        "NCCL communicator was aborted on rank 1 " * 3,
        "[802] Call to cu",
        "torch.version.cuda NoneType ",
        "NoneType torch.version.cuda\n" + " " * 160 + "\n" + " " * 160,
    ],
)
def test_a_hostile_megabyte_takes_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    started = time.thread_time()
    read_error_text(text, KNOWLEDGE)
    assert time.thread_time() - started < 3
