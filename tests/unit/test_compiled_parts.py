"""Imports that fail because a package lacks its compiled part, and faults that programs other than PyTorch report."""

import time

import pytest
from tests.support.world import KNOWLEDGE

from gpuenv.assess.engine import assess
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.readers.loader import compiled_parts


def assessed(text: str) -> Assessment:
    return assess(read_error_text(text, KNOWLEDGE), None, (), KNOWLEDGE)


@pytest.mark.parametrize(
    ("text", "module", "part"),
    [
        ("ModuleNotFoundError: No module named 'mmcv._ext'", "mmcv", "_ext"),
        ("ModuleNotFoundError: No module named 'pointnet2._ext'", "pointnet2", "_ext"),
        ("ModuleNotFoundError: No module named 'pointops_cuda'", "pointops_cuda", "pointops_cuda"),
        ("ImportError: cannot import name '_C' from 'groundingdino' (/w/__init__.py)", "groundingdino", "_C"),
        ("ImportError: cannot import name 'csrc' from 'gsplat' (/w/gsplat/__init__.py)", "gsplat", "csrc"),
        (
            "ImportError: cannot import name 'iou3d_nms_cuda' from partially initialized module 'pcdet.ops.iou3d_nms'",
            "pcdet",
            "iou3d_nms_cuda",
        ),
        ("ImportError: cannot import name 'ball_query_ext' from 'mmdet3d.ops.ball_query'", "mmdet3d", "ball_query_ext"),
    ],
)  # fmt: skip
def test_a_package_without_its_compiled_part_is_named(text: str, module: str, part: str) -> None:
    (failure,) = compiled_parts.read(text, KNOWLEDGE).errors
    assert (failure.name, dict(failure.details)) == (
        "compiled-part-missing",
        {"module": module, "library": part},
    )
    found = assessed(text)
    assert (found.verdict, found.reason) == ("Incompatible", "ImportFailed")
    assert f"Build {module} in this environment" in found.checks[0].remedies[0].message


@pytest.mark.parametrize(
    "text",
    [
        "ModuleNotFoundError: No module named 'yaml'",
        "ModuleNotFoundError: No module named 'mmcv.ext_loader'",
        "ModuleNotFoundError: No module named 'torch._C'",
        "ImportError: cannot import name 'is_torch_available' from 'transformers'",
        "ImportError: cannot import name 'context' from 'numba.cuda'",
    ],
)
def test_other_imports_lack_no_compiled_part(text: str) -> None:
    assert not compiled_parts.read(text, KNOWLEDGE).errors


@pytest.mark.parametrize(
    "piece", ["No module named 'a.", "cannot import name '_C' from 'a.", "No module named '_C_"]
)
def test_a_hostile_text_takes_little_time(piece: str) -> None:
    began = time.process_time()
    assert len(compiled_parts.read(piece * (1_000_000 // len(piece)), KNOWLEDGE).errors) <= 32
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("text", "verdict", "reason", "cure"),
    [
        ("CUDA platform error: No compatible CUDA device is available", "Unknown", "NoDevice", "nvidia-smi"),
        ("[error] Can't find CUDA-Enabled GPU.", "Unknown", "NoDevice", "nvidia-smi"),
        ("No CUDA capable GPU detected", "Unknown", "NoDevice", "nvidia-smi"),
        (
            "Unable to initialize backend 'cuda': FAILED_PRECONDITION: No visible GPU devices.",
            "Unknown",
            "NoDevice",
            "--nv",
        ),
        (
            "I tensorflow/tsl/cuda/cudart_stub.cc:28] Could not find cuda drivers on your machine, GPU will not be used.",
            "Unknown",
            "DriverNotVisible",
            "tensorflow[and-cuda]",
        ),
        (
            "W tensorflow/core/common_runtime/gpu/gpu_device.cc:1956] Cannot dlopen some GPU libraries.",
            "Degraded",
            "ImportFailed",
            "tensorflow[and-cuda]",
        ),
        (
            "[W:onnxruntime:Default, onnxruntime_pybind_state.cc:640 CreateExecutionProviderInstance] Failed to create"
            " CUDAExecutionProvider. Please reference https://onnxruntime.ai",
            "Degraded",
            "ImportFailed",
            "onnxruntime",
        ),
        (
            "UserWarning: Specified provider 'CUDAExecutionProvider' is not in available provider names.",
            "Degraded",
            "ImportFailed",
            "pip install onnxruntime-gpu",
        ),
        ("ggml_cuda_init: failed to initialize CUDA: initialization error", "Incompatible", "CudaInitFailed", "NVRM"),
        ("CUDA error code 209", "Incompatible", "ArchNotInBuild", "cu128"),
        ('CUDA error at x.cu:382 code=222(<unknown>) "cudaMemcpy"', "Incompatible", "PtxNewerThanDriver", "driver"),
        ("RuntimeError: --cuda_ext was requested, but nvcc was not found.", "Incompatible", "CompileUnavailable", "CUDA_HOME"),
        ("No such file or directory: ':/usr/local/cuda/bin/nvcc'", "Incompatible", "CompileUnavailable", "CUDA_HOME"),
        ("ERROR: Wheel 'torch' located at /tmp/torch-2.0.1.whl is invalid.", "Unknown", "NotEnoughFacts", "--no-cache-dir"),
    ],
)  # fmt: skip
def test_faults_of_other_programs_and_tools_are_known(
    text: str, verdict: str, reason: str, cure: str
) -> None:
    found = assessed(text)
    assert (found.verdict, found.reason) == (verdict, reason)
    assert cure in " ".join(remedy.message for remedy in found.checks[0].remedies)


def test_a_dll_of_torch_in_a_packed_program_is_that_of_torch() -> None:
    fault = r'OSError: [WinError 126] Error loading "C:\App\_internal\torch\lib\fbgemm.dll" or one of its dependencies.'
    assert assessed(fault).reason == "TorchBroken"
    without_brackets = fault.replace("[WinError 126]", "WinError 127")
    assert assessed(without_brackets).reason == "TorchBroken"
