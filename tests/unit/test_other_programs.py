"""Faults that programs beside PyTorch print: TensorRT, CuPy, ffmpeg, Slurm, compilers and others."""

import pytest
from tests.support.world import KNOWLEDGE

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import Facts
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.collect_env import read_collect_env
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.merged_facts import merge


def facts(text: str) -> Facts:
    return merge([read_error_text(text, KNOWLEDGE), read_collect_env(text)])


def assessed(text: str) -> Assessment:
    return assess(facts(text), None, (), KNOWLEDGE)


@pytest.mark.parametrize(
    ("text", "verdict", "reason", "cure"),
    [
        ("failed call to cuInit: UNKNOWN ERROR (303)", "Incompatible", "DriverNotVisible", "nvidia-smi"),
        ("Could not locate cudnn_ops64_9.dll. Please make sure it is in your path", "Incompatible", "CudnnLoadFailed", "cuDNN"),
        ("engine plan file is not compatible with this version of TensorRT", "Degraded", "LibraryConflict", "Build the engine"),
        ("ImportError: CuPy is not correctly installed.", "Incompatible", "ImportFailed", "cupy-cuda12x"),
        ("This CTranslate2 package was not compiled with CUDA support", "Degraded", "ImportFailed", "with CUDA"),
        ("(-216:No CUDA support) error in function 'throw_no_cuda'", "Degraded", "ImportFailed", "opencv"),
        ("Driver does not support the required nvenc API version. Required: 13.0", "Degraded", "DriverFeatureMissing", "R570"),
        ("OpenEncodeSessionEx failed: unsupported device (2)", "Degraded", "FeatureOutOfReach", "NVENC"),
        ("Cannot load libnvcuvid.so.1", "Unknown", "DriverNotVisible", "video"),
        ("vkCreateInstance failed: VK_ERROR_INCOMPATIBLE_DRIVER", "Unknown", "DriverNotVisible", "graphics"),
        ("error: gres/gpu count reported lower than configured (0 < 4)", "Unknown", "NoDevice", "gres.conf"),
        ("ERROR: /usr/bin/nvidia-container-runtime: find runc path: not found", "Unknown", "SandboxFailed", "runc"),
        ("error: -- unsupported GNU version! gcc versions later than 11", "Degraded", "CompileUnavailable", "g++-12"),
        ("fatal error: cuda_runtime.h: No such file or directory", "Incompatible", "CompileUnavailable", "CUDA toolkit"),
        ("fatal error: stddef.h: No such file or directory", "Degraded", "CompileUnavailable", "C compiler"),
        ("Warning: no GPU has been detected.\nFalling back to CPU mode.", "Unknown", "NotEnoughFacts", "nvidia-smi"),
        ("0 active drivers ([]). There should only be one.", "Unknown", "NoDevice", "nvidia-smi"),
        ("open /dev/nvidia0: Operation not permitted", "Incompatible", "OsCallFailed", "cgroup"),
        ("RuntimeError: Triton Error [CUDA]: out of memory", "Unknown", "OutOfMemory", "memory"),
        ("Library cublas64_12.dll is not found or cannot be loaded", "Incompatible", "ImportFailed", "nvidia-cublas"),
        ("GPU installed in this system is not supported by the NVIDIA driver", "Incompatible", "NoDevice", "newer one"),
        ("NVRM: GPU 0000:01:00.0 is already bound to nouveau.", "Incompatible", "DriverNotVisible", "nouveau"),
        ("nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 20034, Fatal, Link 54 LTSSM", "Incompatible", "NvlinkFault", "nvlink"),
        ("Could not unload NVIDIA driver kernel modules, driver is in use", "Unknown", "GpuBusy", "lsof"),
        ("Unable to enable MIG Mode for GPU 00000000:01:00.0: Not Supported", "Degraded", "FeatureOutOfReach", "MIG"),
        ("query NVSwitch device information from NVSwitch driver failed", "Unknown", "NotEnoughFacts", "no NVSwitch"),
        ("AttributeError: module 'torch._C' has no attribute '_cuda_setDevice'", "Incompatible", "TorchCpuBuild", "CUDA"),
        ("AttributeError: module 'torch' has no attribute 'cuda'", "Incompatible", "TorchBroken", "torch.py"),
        ("AttributeError: module 'torch' has no attribute 'compiler'", "Unknown", "LibraryConflict", "release"),
        ("RuntimeError: Numpy is not available", "Degraded", "LibraryConflict", "numpy<2"),
        ("Intel MKL FATAL ERROR: Cannot load libmkl_avx2.so", "Incompatible", "LibraryConflict", "MKL"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=1", "Unknown", "OomKilled", "memory"),
        ("OSError: [Errno 28] No space left on device", "Unknown", "SmallWorkspace", "TMPDIR"),
        ("NvRmMemInitNvmap failed with Permission denied", "Incompatible", "OsCallFailed", "video"),
        ("NvMapMemAllocInternalTagged: 1075072515 error 12", "Unknown", "OutOfMemory", "swap"),
        ("Windows has stopped this device because it has reported problems.", "Incompatible", "NoDevice", "Uninstaller"),
        ("cuInit returned 500", "Incompatible", "CudaInitFailed", "driver"),
        ("transport/nvls.cc:244 NCCL WARN Cuda failure 1 'invalid argument'", "Unknown", "KernelFailed", "NCCL_NVLS_ENABLE"),
        ("doesn't have a source distribution or wheel for the current platform", "Unknown", "NoSuchBuild", "index"),
    ],
)  # fmt: skip
def test_faults_of_other_programs_have_a_reason_and_a_cure(
    text: str, verdict: str, reason: str, cure: str
) -> None:
    found = assessed(text)
    assert (found.verdict, found.reason) == (verdict, reason)
    assert (
        cure.lower()
        in " ".join(
            f"{found.checks[0].message} {remedy.message}" for remedy in found.checks[0].remedies
        ).lower()
    )


def test_what_names_a_cause_counts_before_words_that_no_gpu_was_found() -> None:
    text = "RuntimeError: Found no NVIDIA driver on your system.\nno GPU detected, falling back to CPU"
    assert [error.name for error in facts(text).errors] == ["no-driver"]


def test_a_newer_c_library_that_a_module_needs_is_a_fault_of_the_module() -> None:
    words = "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.32' not found (required by {})"
    assert assessed(words.format("flash_attn_2_cuda.so")).reason == "ImportFailed"
    assert assessed(words.format("/usr/lib/libfoo.so.1")).reason == "TorchBroken"


def test_a_library_of_macos_that_lacks_a_symbol_is_read() -> None:
    text = (
        "ImportError: dlopen(/a/site-packages/torch/_C.so, 2): Symbol not found: _cusparseCreateCsr\n"
        "  Referenced from: /a/site-packages/torch/lib/libtorch_cuda.dylib\n"
        "  Expected in: /usr/local/cuda/lib/libcusparse.10.dylib\n"
    )
    (failure,) = facts(text).errors
    assert failure.name == "symbol-of-library"
    assert dict(failure.details)["library"] == "libcusparse.10.dylib"


@pytest.mark.parametrize(
    ("version", "available", "cuda", "cpu_build"),
    [
        ("2.1.0.dev20230905", "False", "Could not collect", True),
        ("2.1.0+cu121", "False", "Could not collect", None),
        ("2.1.0", "True", "Could not collect", None),
        ("N/A", "N/A", "Could not collect", None),
        ("2.1.0", "False", "12.1", False),
    ],
)
def test_a_dump_without_the_cuda_of_torch_tells_a_build_without_cuda(
    version: str, available: str, cuda: str, cpu_build: bool | None
) -> None:
    dump = f"PyTorch version: {version}\nCUDA used to build PyTorch: {cuda}\nIs CUDA available: {available}\n"
    assert read_collect_env(dump).torch.cpu_build is cpu_build
