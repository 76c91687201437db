"""Lists of packages, what pip could not put together, and ldd: what is installed, what does not fit, and what is no error."""

import time

import pytest
from tests.support.world import KNOWLEDGE

from gpuenv.assess.engine import assess
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.collect_env import read_collect_env
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.knowledge.companions import release_of

HOSTILE_SECONDS = 3.0


def assessed(text: str) -> Assessment:
    facts = merge([read_error_text(text, KNOWLEDGE), read_collect_env(text)])
    return assess(facts, None, (), KNOWLEDGE)


@pytest.mark.parametrize(
    ("torch", "torchvision", "torchaudio"),
    [
        ("2.9.1+cu128", "0.24", "2.9"),
        ("2.0.1", "0.15", "2.0"),
        ("1.13.1", "0.14", "0.13"),
        ("9.0", "", ""),
        ("x", "", ""),
    ],
)
def test_each_release_of_torch_has_its_companions(torch: str, torchvision: str, torchaudio: str) -> None:
    assert release_of("torchvision", torch) == torchvision
    assert release_of("torchaudio", torch) == torchaudio


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("Package     Version\n----------- ------------\ntorch       2.8.0+cu128\ntorchvision 0.21.0+cu124\n",
         '"torchvision==0.23.*" --index-url https://download.pytorch.org/whl/cu128'),
        ("torch==2.9.1+cu130\ntorchaudio==2.9.1+cu128\n", '"torchaudio==2.9.*" --index-url https://download.pytorch.org/whl/cu130'),
        ("[pip3] torch==2.7.1\n[pip3] torchvision==0.21.0\n", '"torchvision==0.22.*"'),
        ("Successfully installed filelock-3.19.1 torch-2.6.0+cu124 torchaudio-2.5.1", '"torchaudio==2.6.*"'),
        ("ERROR: Cannot install torch==2.9.1 and torchvision==0.19.0 because these package versions have conflicting "
         "dependencies.", '"torchvision==0.24.*" with torch 2.9.1'),
        ("ERROR: Cannot install -r requirements.txt (line 1) and numpy==2.1 because these package versions have conflicting "
         "dependencies.\ntorch", "The conflict is caused by"),
    ],
)  # fmt: skip
def test_companions_of_another_torch_are_named_with_the_release_that_fits(text: str, cure: str) -> None:
    found = assessed(text)
    assert (found.verdict, found.reason) == ("Unknown", "LibraryConflict")
    assert cure in found.checks[0].remedies[0].message


@pytest.mark.parametrize(
    "text",
    [
        "Successfully installed torch-2.6.0 torchvision-0.21.0 nvidia-cuda-runtime-cu12-12.4.127",
        "Successfully installed certifi-2025.8.3 torch-2.9.1+cu130",
        "nvidia-cuda-runtime-cu12==12.8.90\nnvidia-cudnn-cu12==9.10.2.21\ntorch==2.8.0",
        "torch==2.9.1+cu128\ntorchvision==0.24.1\ntorchaudio==2.9.1+cu128",
        "torch==2.8.0a0+5228986c39.nv25.5\ntorchvision==0.22.0a0+95f10a4e",
        "torch==2.10.0.dev20251101+cu130\ntorchvision==0.25.0.dev20251101+cu130",
    ],
)
def test_what_is_installed_is_a_fact_and_no_error(text: str) -> None:
    facts = merge([read_error_text(text, KNOWLEDGE), read_collect_env(text)])
    assert (facts.errors, facts.unrecognised) == ((), ())
    assert facts.torch.version is not None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Because myapp depends on torch (2.9.1+cu130) which doesn't match any versions, version solving failed.",
         ["poetry source add --priority=explicit pytorch-cu130 https://download.pytorch.org/whl/cu130"]),
        ("  × No solution found when resolving dependencies:\n  ╰─▶ Because there is no version of torch==2.9.1+cu130 and your "
         "project depends on torch==2.9.1+cu130, we can conclude that your project's requirements are unsatisfiable.",
         ["[[tool.uv.index]]", 'explicit = true', 'index = "pytorch-cu130"']),
    ],
)  # fmt: skip
def test_projects_name_an_index_in_their_own_way(text: str, parts: list[str]) -> None:
    cure = assessed(text).checks[0].remedies[0].message
    for part in parts:
        assert part in cure
    assert "(--index-url" not in cure


@pytest.mark.parametrize(
    ("text", "reason", "parts"),
    [
        ("libcudnn.so.9 => not found", "ImportFailed", ["libcudnn.so.9", "nvidia-cudnn", "only if nothing loads it before"]),
        ("$ ldd /opt/py/site-packages/vllm/_C.abi3.so\n\tlibcudart.so.13 => not found\n\tlibcublas.so.13 => not found",
         "ImportFailed", ["libcudart.so.13, libcublas.so.13", "vllm", "nvidia-cuda-runtime"]),
        ("/opt/py/site-packages/flash_attn_2_cuda.cpython-311-x86_64-linux-gnu.so:\n\tlibc10.so => not found", "ImportFailed",
         ["libc10.so", "flash_attn", "no error"]),
        ("$ ldd /usr/bin/myprogram\n\tlibcuda.so.1 => not found", "DriverNotVisible", ["libcuda.so.1", "--gpus all"]),
        ("ldd -r ./libfoo.so\n\tlibgomp.so.1 => not found\n", "ImportFailed", ["libgomp.so.1", "libgomp1"]),
    ],
)  # fmt: skip
def test_libraries_that_ldd_misses_are_named_and_no_failure_for_certain(
    text: str, reason: str, parts: list[str]
) -> None:
    found = assessed(text)
    assert (found.verdict, found.reason) == ("Unknown", reason)
    first = found.checks[0]
    for part in parts:
        assert part in f"{first.message} {first.remedies[0].message}"


@pytest.mark.parametrize(
    "line",
    ["a" * 5_000 + " => not found\n", "ldd -r x => not found ", "Cannot install torch==1 and ", "Successfully installed torch-1 ",
     "torch==2.9.1+cu128\ntorchvision==0.1\n", "libx.so => not found\nx:\n"],
)  # fmt: skip
def test_hostile_lists_take_bounded_time(line: str) -> None:
    text = line * (1_000_000 // len(line))
    started = time.process_time()
    facts = read_error_text(text, KNOWLEDGE)
    assert time.process_time() - started < HOSTILE_SECONDS
    assert len(facts.errors) < 40
