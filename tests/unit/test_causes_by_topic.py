"""Kinds of failures that many programs report in words of their own: each gets a cause, or at least what helps with it."""

import time

import pytest
from tests.support.world import KNOWLEDGE

from gpuenv.assess.engine import assess
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.error_text import read_error_text


def assessed(text: str) -> Assessment:
    return assess(read_error_text(text, KNOWLEDGE), None, (), KNOWLEDGE)


def leading(text: str) -> tuple[str, str, str]:
    """Return verdict, reason, and the words of the first remedy."""
    found = assessed(text)
    return found.verdict, found.reason, found.checks[0].remedies[0].message


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("deepspeed.ops.op_builder.builder.MissingCUDAException: CUDA_HOME does not exist, unable to compile", "-devel"),
        ("OSError: CUDA_HOME environment variable is not set. Please set it to your CUDA install root.", "-devel"),
        ("CMake Error at CMakeLists.txt:1 (project):\n  No CMAKE_CUDA_COMPILER could be found.", "CMAKE_CUDA_COMPILER"),
        ("csrc/ops.cu:3:10: fatal error: cusparse.h: No such file or directory\ncompilation terminated.", "toolkit"),
        ("fatal error C1083: Cannot open include file: 'cuda_runtime.h': No such file or directory", "toolkit"),
        ("host_config.h:132:2: error: #error -- unsupported GNU version! gcc versions later than 11 are not supported!",
         "CUDAHOSTCXX"),
        ("error: Microsoft Visual C++ 14.0 or greater is required. Get it with Build Tools", "Build Tools"),
        ("RuntimeError: Error checking compiler version for cl: [WinError 2] The system cannot find the file", "Build Tools"),
        ("C:/Temp/tmp/cuda_utils.c:14: error: include file 'Python.h' not found", "python3-dev"),
        ("python_headers.h:12:10: fatal error: Python.h: No such file or directory", "python3-dev"),
        ("subprocess.CalledProcessError: Command '['ninja', '-v']' returned non-zero exit status 1.", "prebuilt wheel"),
        ("subprocess.CalledProcessError: Command '['/usr/bin/gcc', 'main.c']' returned non-zero exit status 1.",
         "prebuilt wheel"),
        ("error: command '/opt/conda/bin/nvcc' failed with exit code 255", "--no-build-isolation"),
        ("Your compiler (c++) is not compatible with the compiler Pytorch was\nbuilt with for this platform", "gcc"),
        ("ninja: build stopped: subcommand failed.\n ERROR: Failed building wheel for gsplat", "MAX_JOBS"),
        ("  × python setup.py egg_info did not run successfully.\nerror: metadata-generation-failed", "prebuilt wheel"),
    ],
)  # fmt: skip
def test_what_cannot_be_compiled_says_what_to_install(text: str, cure: str) -> None:
    verdict, reason, remedy = leading(text)
    assert verdict != "Compatible"
    assert reason == "CompileUnavailable"
    assert cure in remedy


@pytest.mark.parametrize(
    ("text", "verdict", "reason", "cure"),
    [
        ("AssertionError: CUDA is not availabe on this machine.", "Incompatible", "CudaInitFailed", "--index-url"),
        ("Device 'cuda' is not available. Switching to 'cpu'.", "Incompatible", "CudaInitFailed", "torch.version.cuda"),
        ("MisconfigurationException: No supported gpu backend found!", "Incompatible", "CudaInitFailed", "nvidia-smi"),
        ("You requested GPUs: [0]\n But your machine only has: []", "Incompatible", "CudaInitFailed", "nvidia-smi"),
        ("C:\\x\\torch\\cuda: UserWarning: cudaGetDeviceCount() returned cudaErrorNotSupported, likely using older driver"
         " or on CPU machine", "Incompatible", "CudaInitFailed", "nvidia-smi"),
        ("WARNING:root:No GPU found", "Unknown", "NotEnoughFacts", "--gpus all"),
        ("CUDA GPU not available. Defaulting to CPU", "Unknown", "NotEnoughFacts", "torch.cuda.init()"),
        ("No GPU detected, running on CPU", "Unknown", "NotEnoughFacts", "CUDA_VISIBLE_DEVICES"),
        ("No CUDA runtime is found, using CUDA_HOME='/usr/local/cuda'", "Unknown", "NotEnoughFacts", "nvidia.com/gpu"),
        ("setUpNet DNN module was not built with CUDA backend; switching to CPU", "Unknown", "NotEnoughFacts", "nvidia-smi"),
    ],
)  # fmt: skip
def test_a_program_that_finds_no_gpu_gets_the_order_of_checks(
    text: str, verdict: str, reason: str, cure: str
) -> None:
    found = leading(text)
    assert found[:2] == (verdict, reason)
    assert cure in found[2]


def test_a_known_cause_counts_before_the_program_that_only_finds_no_gpu() -> None:
    known = "The NVIDIA driver on your system is too old (found version 11040)."
    assert leading(f"{known}\nCUDA is not available\nNo GPU found, running on CPU")[1] == "DriverTooOld"
    assert (
        leading("Torch not compiled with CUDA enabled\nNo GPU detected, running on CPU")[1] == "TorchCpuBuild"
    )
    failed = "ninja: build stopped: subcommand failed.\nfatal error: cusparse.h: No such file or directory"
    assert "its headers" in assessed(failed).checks[0].message


@pytest.mark.parametrize(
    ("text", "reason", "cure"),
    [
        ("xla_bridge.py:660] Unable to initialize backend 'cuda': Found cuSOLVER version 11002, but JAX was built against"
         " version 11401, which is newer.", "LibraryConflict", "LD_LIBRARY_PATH"),
        ("Unable to use CUDA because of the following issues with CUDA components:\nOutdated cuDNN installation found.",
         "LibraryConflict", "jax[cuda12]"),
        ("cuda_dnn.cc:454] Loaded runtime CuDNN library: 9.5.1 but source was compiled with: 9.8.0.", "LibraryConflict", "cudnn"),
        ("XlaRuntimeError: UNIMPLEMENTED: DNN library is not found.", "LibraryConflict", "LD_LIBRARY_PATH"),
        ("An NVIDIA GPU may be present on this machine, but a CUDA-enabled jaxlib is not installed. Falling back to cpu.",
         "ImportFailed", "jax[cuda12]"),
        ("No GPU/TPU found, falling back to CPU. (Set TF_CPP_MIN_LOG_LEVEL=0 and rerun for more info.)",
         "ImportFailed", "jax.devices()"),
        ('failed to get PTX kernel "add" from module: CUDA_ERROR_NOT_FOUND: named symbol not found', "PtxJitFailed", "jaxlib"),
        ("RuntimeError: cuSolver internal error", "KernelFailed", "GPU memory"),
        ("RuntimeError: cuFFT error: CUFFT_INTERNAL_ERROR", "KernelFailed", "GPU memory"),
        ('could not load library "libcuda"', "DriverNotVisible", "driver"),
        ("Cannot get number of CUDA devices: operation not supported.", "CudaInitFailed", "nvidia-smi"),
        ("lxc c1 20230301.390 ERROR    conf - conf.c:lxc_setup:4437 - Failed to run mount hooks", "SandboxFailed", "Toolkit"),
        ("Error: Failed to run: /snap/lxd/current/bin/lxd forkstart c1 /var/snap/lxd", "SandboxFailed", "nvidia-container-cli"),
        ("cc1plus: error while loading shared libraries: libmpfr.so.4: cannot open shared object file",
         "ImportFailed", "libmpfr.so.4"),
        ("Confidential Compute GPUs Ready state: not-ready", "FabricNotReady", "conf-compute"),
        ("NVRM: _kgspRpcRecvPoll: GSP RM heartbeat timed out", "GpuResetRequired", "reset"),
    ],
)  # fmt: skip
def test_faults_of_other_frameworks_have_causes(text: str, reason: str, cure: str) -> None:
    assert leading(text)[1] == reason
    assert cure in leading(text)[2]


@pytest.mark.parametrize(
    ("text", "verdict", "reason", "cure"),
    [
        ("Could not start backend: Runtime compute cap 120 is not compatible with compile time compute cap 80",
         "Incompatible", "ArchNotInBuild", "build"),
        ("RuntimeError: Unsupported CUDA architecture: sm75", "Degraded", "FeatureOutOfReach", "attention backend"),
        ("RuntimeError: FlashInfer requires GPUs with sm75 or higher", "Degraded", "FeatureOutOfReach", "newer GPU"),
        ("GPU compute capability 8.0 (Ampere) or higher is required to install kernl",
         "Degraded", "FeatureOutOfReach", "newer GPU"),
        ("triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 98304, Hardware limit: 65536.",
         "Degraded", "FeatureOutOfReach", "num_stages"),
        ("error   : Entry function 'k' uses too much shared data (0xc400 bytes, 0xc000 max)",
         "Degraded", "FeatureOutOfReach", "blocks"),
        ("RuntimeError: CUDA error: too many resources requested for launch", "Unknown", "KernelFailed", "smaller batch"),
        ("CUDA kernel failed : invalid configuration argument", "Unknown", "KernelFailed", "empty one"),
        ("Failed to initialize NVIDIA RTC library.", "Degraded", "CompileUnavailable", "nvidia-cuda-nvrtc"),
        ("UserWarning: CUDA path could not be detected. Set CUDA_PATH environment variable",
         "Degraded", "CompileUnavailable", "CUDA_PATH"),
        ("Can't find CUDA libdevice directory ${CUDA_DIR}/nvvm/libdevice.", "Degraded", "CompileUnavailable", "XLA_FLAGS"),
        ("cuInit(): unknown error", "Incompatible", "CudaInitUnknown", "nvidia_uvm"),
    ],
)  # fmt: skip
def test_what_a_program_asks_of_gpu_and_toolkit_is_known(
    text: str, verdict: str, reason: str, cure: str
) -> None:
    found = leading(text)
    assert found[:2] == (verdict, reason)
    assert cure in found[2]


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("RuntimeError: HIP error: invalid device function\nCompile with `TORCH_USE_HIP_DSA`.", "ROCm"),
        ("torch.AcceleratorError: HIP error: out of registers", "rocminfo"),
        ("RuntimeError: level_zero backend failed with error: 20", "NVIDIA's GPUs"),
        ("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}", "lines before it"),
        ("torch.distributed.elastic.multiprocessing.errors.ChildFailedError:", "lines before it"),
        ("Windows fatal exception: access violation\nStack (most recent call first):", "page file"),
        ("nvidia-migmanager[2755]: '/usr/bin/nvidia-smi' failed - stderr:", "kernel log"),
        ("[FAILED] Failed to start NVIDIA Persistence Daemon.", "kernel log"),
        ("RuntimeError: something nobody knows", "whole text"),
    ],
)  # fmt: skip
def test_what_names_no_cause_gets_what_helps_to_find_it(text: str, cure: str) -> None:
    verdict, reason, remedy = leading(text)
    assert (verdict, reason) == ("Unknown", "NotEnoughFacts")
    assert cure in remedy


def test_an_error_of_the_program_is_answered_before_missing_facts_are_asked_for() -> None:
    found = assessed("RuntimeError: CUDA error: device-side assert triggered")
    assert (found.verdict, found.reason) == ("Unknown", "NotEnoughFacts")
    first, *_, last = found.checks[0].remedies
    assert "CUDA_LAUNCH_BLOCKING=1" in first.message
    assert last.message.startswith("Give the PyTorch build")


@pytest.mark.parametrize(
    "text",
    [
        "torch 2.9.1+cu128\nnvidia-nccl-cu12 2.27.5\ncuda-toolkit 12.8\nninja 1.13.0",
        "INFO Building wheel for flash-attn (setup.py): finished with status 'done'",
        "Found 1 GPU: NVIDIA L4",
    ],
)
def test_what_works_is_no_failure(text: str) -> None:
    assert read_error_text(text, KNOWLEDGE).errors == ()


@pytest.mark.parametrize(
    "piece", ["calledprocesserror ", "cuda defaulting to cp ", "no gpu foun ", "hip erro\n"]
)
def test_a_hostile_megabyte_takes_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    began = time.thread_time()
    read_error_text(text, KNOWLEDGE)
    assert time.thread_time() - began < 3


@pytest.mark.parametrize(
    ("text", "reason", "cure"),
    [
        ("'nvidia-smi' is not recognized as an internal or external command,\noperable program or batch file.",
         "DriverNotVisible", "System32"),
        ("nvidia-smi : The term 'nvidia-smi' is not recognized as the name of a cmdlet, function, script file",
         "DriverNotVisible", "System32"),
        ("Could not load library cudnn_ops_infer64_8.dll. Error code 1455", "OomKilled", "paging file"),
        ("error generating CDI spec: failed to initialise NVML: ERROR_LIBRARY_NOT_FOUND", "SandboxFailed", "nvidia-smi first"),
        ("failed to generate CDI spec: failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND", "SandboxFailed", "ldconfig"),
        ("| 30%   52C    P8         ERR! / 350W |    1MiB / 24576MiB |     N/A      Default |", "GpuUnhealthy", "kernel log"),
        ("|ERR!   ERR! ERR!    N/A / ERR! |   GPU is broken |    ERR!      Default |", "GpuUnhealthy", "kernel log"),
        ("ImportError: Could not import Flash Attention enabled models: GPU with CUDA capability 6 1 is not supported",
         "FeatureOutOfReach", "newer GPU"),
        ("Error relocating /usr/lib/python3.12/site-packages/torch/lib/libc10.so: __strdup: symbol not found", "TorchBroken",
         "glibc"),
        ("ImportError: Error relocating /app/_ext.cpython-311.so: __vfprintf_chk: symbol not found", "ImportFailed", "glibc"),
        ("Error loading shared library ld-linux-x86-64.so.2: No such file or directory (needed by /opt/nvidia-smi)",
         "ImportFailed", "glibc"),
        ("└─ __cuda =* *, which is missing on the system", "DriverNotVisible", "CONDA_OVERRIDE_CUDA"),
        ("   └─ __cuda >=12.6 *, which conflicts with any installable versions previously reported.", "DriverTooOld",
         "CONDA_OVERRIDE_CUDA"),
        ("- package pytorch-2.7.1-cuda126_mkl_py311 requires __cuda >=12.6, but none of the providers can be installed",
         "DriverTooOld", "Upgrade the driver"),
        ("nouveau 0000:01:00.0: NVIDIA GA102 (172000a1)\nNVRM: No NVIDIA GPU found.", "DriverNotVisible", "nouveau"),
        ("[    9.1] NVRM: No NVIDIA GPU found.", "DriverNotVisible", "lspci"),
    ],
)  # fmt: skip
def test_messages_of_other_programs_name_what_is_to_blame(text: str, reason: str, cure: str) -> None:
    found = assessed(text)
    assert found.reason == reason
    assert cure in found.checks[0].remedies[0].message
    assert {check.reason for check in found.checks} <= {reason, "NotEnoughFacts"}
