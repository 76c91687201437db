"""Output of pip, uv, conda and poetry: what is wanted, what is installed, and which builds exist instead."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.world import KNOWLEDGE

from gpuenv.assess.engine import assess
from gpuenv.assess.sources.collect_env import read_collect_env
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.assess.sources.readers import resolvers

CASES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "reader_texts" / "resolvers.yaml").read_text(encoding="utf-8")
)["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:60])
def test_what_is_wanted_is_read_and_never_taken_for_installed(case: dict[str, Any]) -> None:
    facts = merge([read_error_text(case["text"], KNOWLEDGE), read_collect_env(case["text"])])
    (wanted,) = facts.errors
    details = dict(wanted.details)
    assert wanted.name == "no-such-wheel"
    for name in ("package", "version", "python", "cuda", "offered"):
        if name in case or name in ("version", "python", "cuda"):
            assert details.get(name) == case.get(name), name
    assert facts.torch.version is None
    assert not facts.unrecognised


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:60])
def test_the_cure_names_what_exists(case: dict[str, Any]) -> None:
    found = assess(read_error_text(case["text"], KNOWLEDGE), None, (), KNOWLEDGE)
    assert (found.verdict, found.reason) == ("Unknown", "NoSuchBuild")
    words = " ".join(one.message for one in found.checks[0].remedies)
    for part in case["cure"]:
        assert part in words


def test_a_python_that_a_release_has_no_wheels_for_gets_the_releases_that_have() -> None:
    text = "Because torch==2.8.0 has no wheels with a matching Python ABI tag (e.g., `cp314`)"
    found = assess(read_error_text(text, KNOWLEDGE), None, (), KNOWLEDGE)
    assert "PyTorch 2.8 has wheels for Python 3.9 to 3.13, not for 3.14" in found.message
    cure = found.checks[0].remedies[0].message
    assert "For Python 3.14, there are PyTorch 2.9" in cure
    assert "--index-url" not in cure, "the index is not to blame"


def test_an_index_without_the_release_gets_those_that_have_it() -> None:
    text = "Looking in indexes: https://download.pytorch.org/whl/cu131\nERROR: No matching distribution found for torch==2.10.0"
    found = assess(read_error_text(text, KNOWLEDGE), None, (), KNOWLEDGE)
    assert "for CUDA 13.1" in found.message
    cure = found.checks[0].remedies[0].message
    assert "cu126" in cure
    assert "cu130" in cure
    assert "64-bit" not in cure, "Python is not to blame"


@pytest.mark.parametrize(
    ("text", "installed"),
    [
        ("torchvision 0.23.0 requires torch==2.8.0, but you have torch 2.9.0+cu128 which is incompatible.", "2.9.0+cu128"),
        ("ERROR: vllm 0.11.0 requires torch==2.8.0, but you have torch 2.9.1 which is incompatible.", "2.9.1"),
        ("torch 2.8.0 requires nvidia-cudnn-cu12==9.10.2.21; platform_system == \"Linux\", but you have nvidia-cudnn-cu12 "
         "9.13.0.50 which is incompatible.", "2.8.0"),
    ],
)  # fmt: skip
def test_packages_that_do_not_fit_each_other_name_what_is_installed(text: str, installed: str) -> None:
    facts = read_error_text(text, KNOWLEDGE)
    assert facts.torch.version == installed
    found = assess(facts, None, (), KNOWLEDGE)
    assert "LibraryConflict" in {check.reason for check in found.checks}
    assert found.verdict == "Unknown"


@pytest.mark.parametrize(
    "text",
    [
        "fastapi 0.1 requires numpy<2, but you have numpy 2.1.0 which is incompatible.",
        "ERROR: No matching distribution found for numpy==9",
        "ERROR: No matching distribution found for torchmetrics==9",
        "Collecting torch==2.8.0\n  Downloading torch-2.8.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        "Because you require torch==2.8.0 and your project requires python>=3.9",
    ],
)
def test_what_says_nothing_about_torch_is_no_error_of_the_resolver(text: str) -> None:
    assert resolvers.read(text, KNOWLEDGE).errors == ()


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("torch==2.8.0+cu128\ntorchvision==0.23.0", "2.8.0+cu128"),
        ("Package    Version\n---------- -------\ntorch      2.8.0+cu128\n", "2.8.0+cu128"),
        ("pytorch                   2.5.1           py3.11_cuda12.4_cudnn9.1.0_0    pytorch", "2.5.1"),
        ("pytorch 2.5.1 py3.11_cuda12.4_cudnn9.1.0_0 pytorch", "2.5.1"),
        ("[pip3] numpy==2.1 [pip3] torch==2.8.0 [pip3] triton==3.4.0", "2.8.0"),
        ("[conda] torch 2.8.0 pypi_0 pypi", "2.8.0"),
        ("Because torch==2.8.0 depends on x", None),
        ("      torch==2.8.0 and you require it", None),
        ("RUN pip install torch==2.8.0", None),
        ("Try pip install torch==2.8.0", None),
    ],
)
def test_a_list_of_packages_is_told_from_a_sentence_about_them(text: str, version: str | None) -> None:
    assert read_collect_env(text).torch.version == version


@pytest.mark.parametrize(
    "piece",
    ["no version of torch==", "ERROR: No matching distribution found for torch==1.0 (from versions: ", "torch " * 50 + "no wheel",
     "nothing provides torch" + "{" * 100, "\n  (", "- " * 100 + "not available from current channels:", "torch==" + "1" * 60,
     "a 1.0 requires torch" + "x" * 100 + "which is incompatible\n"],
)  # fmt: skip
def test_a_hostile_megabyte_takes_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece)) + " no version which is incompatible"
    start = time.thread_time()
    found = resolvers.read(text, KNOWLEDGE).errors
    assert time.thread_time() - start < 1.5
    assert len(found) <= 2 * resolvers.MAX_PLACES
