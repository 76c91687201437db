"""Prefixes of logging systems, colours, quotation marks and spelled-out line breaks go, and nothing else does."""

import itertools
import time

import pytest
from tests.support.world import KNOWLEDGE

from gpuenv.assess.sources.collect_env import read_collect_env
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.text.cleaned_text import clean
from gpuenv.assess.sources.text.log_prefixes import without_prefixes

PREFIXES = [
    "(EngineCore_DP0 pid=41) ",
    "(EngineCore pid=3) ",
    "(APIServer pid=1) ERROR 11-28 10:11:12 [core.py:586] ",
    "(VllmWorker rank=0 pid=123) ",
    "(VllmWorkerProcess pid=75) ERROR 11-28 10:11:12 multiproc_worker_utils.py:226] ",
    "(RayWorkerWrapper pid=12, ip=10.0.0.3) ",
    "(_MapWorker pid=41) ",
    "(raylet) ",
    "(autoscaler +1m8s) ",
    "[rank0]: ",
    "[rank12]:[W1128 10:11:12.123456789 ProcessGroupNCCL.cpp:123] ",
    "[E ProcessGroupNCCL.cpp:828] ",
    "[W socket.cpp:464] ",
    "[default0]:",
    "[1,0]<stderr>:",
    "ERROR 04-28 10:11:12 config.py:12] ",
    "WARNING 11-28 10:11:12 [custom_ops.py:21] ",
    "E1128 10:11:12.123456       1 main.go:235] ",
    "W1128 10:11:12.123000 140 torch/distributed/run.py:792] ",
    "vllm-1  | ",
    "my_service_1 | ",
    "vllm-1  | (EngineCore_DP0 pid=41) ERROR 11-28 10:11:12 [core.py:586] ",
    "[pod/vllm-0/server] ",
    "[pod/x-0/y] 2026-11-28T10:11:12.123Z ",
    "Nov 28 10:11:12 gpu-7 python[12]: ",
    "<14>Nov  8 10:11:12 gpu-7 systemd[1]: ",
    "2026-11-28T10:11:12+0000 host python[1]: ",
    "2026-11-28T10:11:12.1234567Z ",
    "2026-11-28T10:11:12.1234567Z ##[error]",
    "2026-11-28T10:11:12.123456Z 00O ",
    "2026-11-28T10:11:12.123456789Z stderr F ",
    "2026/11/28 10:11:12 ",
    "2026-11-28 10:11:12,123 - vllm.engine - ERROR - ",
    "2026-11-28 10:11:12.123 | ERROR    | a.b:main:12 - ",
    "2026-11-28 10:11:12,123 ERROR ",
    "[2026-11-28 10:11:12 TP0] ",
    "[2026-11-28 10:11:12 DP0 TP1] ",
    "[2026-11-28 10:11:12,123] [ERROR] [launch.py:1:main] ",
    "2026-11-28T10:11:12.123456Z ERROR text_generation_launcher: ",
    "[   12.345678] ",
    "<6>[   12.345678] ",
    "[Sat Nov 28 10:11:12 2026] ",
    "10:11:12.123 ",
    "[10:11:12] ",
]
LINES = [
    "NVIDIA GeForce RTX 5080 with CUDA capability sm_120 is not compatible with the current PyTorch installation.",
    "ImportError: libcudart.so.13: cannot open shared object file: No such file or directory",
    "OSError: [WinError 126] The specified module could not be found.",
    "(8.0) - (12.0)",
    "[sgl_kernel] CRITICAL: Could not load any common_ops library!",
    "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)",
    "|   0  NVIDIA L4                      On  |   00000000:00:03.0 Off |",
    "ERROR: Could not find a version that satisfies the requirement torch==2.10.0",
    "torch==2.8.0+cu128",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_goes_and_the_line_stays(prefix: str) -> None:
    for line in LINES:
        assert without_prefixes(f"first\n{prefix}{line}\nlast") == f"first\n{line}\nlast"


@pytest.mark.parametrize("prefix", [one for one in PREFIXES if one.endswith(" ")])
def test_the_indentation_of_a_traceback_stays(prefix: str) -> None:
    assert without_prefixes(f'{prefix}  File "x.py", line 1, in <module>').startswith("  File")


@pytest.mark.parametrize(
    "line",
    [
        *LINES,
        "[Errno 2] No such file or directory",
        "[0] NCCL WARN Cuda failure",
        "01:00.0 VGA compatible controller: NVIDIA Corporation GB202",
        "0000:3b:00.0 3D controller: NVIDIA Corporation",
        "torch | 2.8.0",
        "RTX-4090 | 24 GB",
        "3.11.5 | packaged by conda-forge",
        "580.65.06",
        "2026-11-28",
        "WARNING[XFORMERS]: xFormers can't load C++/CUDA extensions.",
        "error: subprocess-exited-with-error",
        "  × No solution found when resolving dependencies:",
        "NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off the bus.",
        "(node-7 has 8 GPUs)",
        "[XFORMERS]: x",
    ],
)
def test_what_only_looks_like_a_prefix_stays(line: str) -> None:
    assert without_prefixes(line) == line
    assert without_prefixes(f"a\n{line}\nb") == f"a\n{line}\nb"


def test_a_container_without_a_number_is_known_by_its_repetition() -> None:
    assert without_prefixes("comfyui  | a\ncomfyui  |   b\ncomfyui  | c") == "a\n  b\nc"
    assert without_prefixes("torch | 2.8.0\nnumpy | 2.1") == "torch | 2.8.0\nnumpy | 2.1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[0;31mCUDA error\x1b[0m", "CUDA error"),
        ("[36m(EngineCore_DP0 pid=41)[0;0m CUDA error", "CUDA error"),
        (r"\x1b[1;36m(EngineCore_DP0 pid=41)\x1b[0;0m CUDA error", "CUDA error"),
        ("^[[31mCUDA error^[[0m", "CUDA error"),
        ("> > a\n> b", "a\nb"),
        ("```console\na\n```", "a"),
        (">>> torch.cuda.is_available()", ">>> torch.cuda.is_available()"),
        (r"Traceback:\n  File \"x.py\"\nImportError: a", 'Traceback:\n  File "x.py"\nImportError: a'),
        (r"a\r\n\tb\\nc", "a\n b\nc"),
        (r"C:\new\torch\lib\nvfuser.dll", r"C:\new\torch\lib\nvfuser.dll"),
        (r'Error loading "C:\new\torch\lib\shm.dll"\n', 'Error loading "C:\\new\\torch\\lib\\shm.dll"'),
        (r"site-packages\torch\nn\init.py", r"site-packages\torch\nn\init.py"),
    ],
)
def test_what_pasting_has_added_goes(text: str, expected: str) -> None:
    assert clean(text).strip() == expected


def test_a_prefix_is_no_part_of_a_gpu_name() -> None:
    text = "NVIDIA GeForce RTX 5080 with CUDA capability sm_120 is not compatible with the current PyTorch installation."
    for prefix in PREFIXES:
        (gpu,) = read_error_text(f"{prefix}{text}", KNOWLEDGE).gpus
        assert gpu.product == "NVIDIA GeForce RTX 5080"


@pytest.mark.parametrize(
    "advice",
    [
        "For debugging consider passing CUDA_LAUNCH_BLOCKING=1",
        "For debugging consider passing CUDA_LAUNCH_BLOCKING=1.\nCompile with `TORCH_USE_CUDA_DSA`",
        "You can set CUDA_VISIBLE_DEVICES= to hide the GPUs",
        "Try running with CUDA_VISIBLE_DEVICES=-1",
        "please unset CUDA_VISIBLE_DEVICES=none",
        "by setting CUDA_LAUNCH_BLOCKING=1 in the environment",
        "If you want to debug, use CUDA_LAUNCH_BLOCKING=1",
    ],
)
def test_advice_is_no_fact(advice: str) -> None:
    assert read_collect_env(advice).container.env == {}


@pytest.mark.parametrize(
    "line",
    [
        "CUDA_VISIBLE_DEVICES=-1",
        "export CUDA_VISIBLE_DEVICES=-1",
        "set CUDA_VISIBLE_DEVICES=-1",
        "$ CUDA_VISIBLE_DEVICES=-1 python train.py",
        "docker run -e CUDA_VISIBLE_DEVICES=-1 image",
        "  CUDA_VISIBLE_DEVICES: -1",
    ],
)
def test_what_is_set_is_a_fact(line: str) -> None:
    assert read_collect_env(line).container.env == {"CUDA_VISIBLE_DEVICES": "-1"}


@pytest.mark.parametrize(
    "piece",
    ["\n[", "\n(", "\n", " ", "\n2026-11-28 10:11:12 ", "\n(a pid=", "\nvllm-1  |", "\naa | ", "[rank0]:", "\\n", "\\", "\n>",
     "[0", " " * 500 + "[", "\nNov 28 10:11:12 aaaa ", "\nERROR 11-28 10:11:12 ", "\x1b]", "CUDA_VISIBLE_DEVICES=1 "],
)  # fmt: skip
def test_a_hostile_megabyte_takes_linear_time(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        start = time.thread_time()
        clean(text)
        return time.thread_time() - start

    assert seconds(1_000_000) < 3


def test_prefixes_of_several_systems_go_in_any_order() -> None:
    for first, second in itertools.permutations(["vllm-1  | ", "2026-11-28T10:11:12.1Z ", "[rank0]: "], 2):
        assert without_prefixes(f"{first}{second}CUDA error") == "CUDA error"
