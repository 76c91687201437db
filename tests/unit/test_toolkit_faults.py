"""Builds that fail because of the toolkit, files that a policy blocks, and errors that do not say what is missing."""

import time

import pytest
from tests.support.world import KNOWLEDGE

from gpuenv.assess.engine import assess
from gpuenv.assess.model import Check
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.readers import toolkit_faults

MISSING = ": cannot open shared object file: No such file or directory"


def leading(text: str) -> Check:
    return assess(read_error_text(text, KNOWLEDGE), None, (), KNOWLEDGE).checks[0]


def cure(text: str) -> str:
    return leading(text).remedies[0].message


@pytest.mark.parametrize(("toolkit", "torch"), [("11.8", "12.8"), ("13.0", "12.9")])
@pytest.mark.parametrize("gap", [" ", "\n"])
def test_a_toolkit_of_another_cuda_than_torch_is_to_be_replaced_and_torch_is_not(
    toolkit: str, torch: str, gap: str
) -> None:
    text = (
        f"RuntimeError: \nThe detected CUDA version ({toolkit}) mismatches the version that was used to compile{gap}"
        f"PyTorch ({torch}). Please make sure to use the same CUDA versions."
    )
    found = leading(text)
    assert found.reason == "CompileUnavailable"
    assert toolkit in found.message
    assert torch in found.message
    words = cure(text)
    assert "CUDA_HOME" in words
    assert f"({torch})" in words
    assert "wheel" in words
    assert "einstall torch" not in words


@pytest.mark.parametrize(
    ("target", "versions"),
    [("compute_120", "12.8 or newer"), ("sm_90a", "11.8 or newer"), ("compute_70", "9.0 to 12.9")],
)
def test_an_architecture_that_nvcc_does_not_know_wants_a_toolkit_that_does(
    target: str, versions: str
) -> None:
    text = f"nvcc fatal   : Unsupported gpu architecture '{target}'\nninja: build stopped: subcommand failed."
    found = leading(text)
    assert found.reason == "CompileUnavailable"
    assert f"{target}; CUDA toolkits of {versions} can" in found.message
    assert "compiler" not in cure(text)


def test_an_architecture_that_the_tables_do_not_know_names_no_version() -> None:
    assert "another release" in leading("nvcc fatal : Unsupported gpu architecture 'compute_999'").message


@pytest.mark.parametrize("rule", KNOWLEDGE.errors, ids=lambda rule: rule.name)
def test_no_cure_builds_every_dependency_from_source(rule: object) -> None:
    assert ":all:" not in str(rule)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ImportError: DLL load failed while importing _C_ext: An Application Control policy has blocked this file.",
         "ImportFailed"),
        ("OSError: [WinError 4551] Eine Richtlinie hat diese Datei blockiert. Error loading "
         "\"D:\\x\\Lib\\site-packages\\torch\\lib\\c10.dll\" or one of its dependencies.", "TorchBroken"),
        ("ImportError: DLL load failed while importing cv2: This program is blocked by group policy.", "ImportFailed"),
    ],
)  # fmt: skip
def test_a_file_that_a_policy_of_windows_blocks_needs_no_redistributable(text: str, reason: str) -> None:
    assert leading(text).reason == reason
    assert "policy" in leading(text).message
    assert "Redistributable" not in cure(text)


@pytest.mark.parametrize("version", ["GLIBCXX_3.4.30", "CXXABI_1.3.15"])
@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("/opt/conda/lib/python3.10/site-packages/foo/_C.so", "ImportFailed"),
        ("/opt/conda/lib/python3.10/site-packages/torch/lib/libtorch_cpu.so", "TorchBroken"),
        ("/usr/bin/fancy", "TorchBroken"),
    ],
)
def test_an_old_libstdcxx_is_no_old_c_library(version: str, user: str, reason: str) -> None:
    text = f"ImportError: /usr/lib/x86_64-linux-gnu/libstdc++.so.6: version `{version}' not found (required by {user})"
    found = leading(text)
    assert found.reason == reason
    assert "libstdc++" in found.message
    assert "libstdcxx-ng" in cure(text)
    assert "glibc" not in cure(text)


@pytest.mark.parametrize(
    ("words", "module"),
    [
        ("Could not load library libonnxruntime_providers_cuda.so. Error: ", "onnxruntime"),
        ("Failed to load library libonnxruntime_providers_cuda.so with error: ", "onnxruntime"),
        ("Could not load library of the model. Error: ", "the extension"),
        ("Could not load libraries: ", "the extension"),
        ("Unable to load any sgl_kernel architecture variant: ", "sgl_kernel"),
        ("Cannot load any turbo_mind kernels: ", "turbo_mind"),
    ],
)
def test_words_of_a_sentence_are_no_modules(words: str, module: str) -> None:
    message = leading(f"{words}libcublasLt.so.12{MISSING}").message
    assert message.startswith(f"{module} needs libcublasLt.so.12")


@pytest.mark.parametrize(
    "text",
    [
        "RuntimeError: Failed to infer device type",
        "RuntimeError: Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. If you "
        "are running on a CPU-only machine, please use torch.load with map_location=torch.device('cpu')",
    ],
)
def test_what_a_text_does_not_say_is_not_claimed(text: str) -> None:
    found = leading(text)
    assert found.status == "Fail"
    assert "driver is there" not in found.message
    assert "torch.version.cuda" in cure(text)
    assert "nvidia-smi" in cure(text)
    assert "fork" not in cure(text)


def test_a_hostile_text_takes_little_time() -> None:
    began = time.monotonic()
    for words in (
        "The detected CUDA version (1",
        "nvcc fatal   : Unsupported gpu architecture 'compute_",
        "Unsupported gpu architecture ",
    ):
        toolkit_faults.read(words * (1_000_000 // len(words)), KNOWLEDGE)
    assert time.monotonic() - began < 3
