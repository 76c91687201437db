"""The reader of NCCL's and torchrun's logs, with the words of published reports."""

import pytest

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import DriverFacts, Facts, Gpu, Source, TorchFacts
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.assess.sources.readers import collectives
from gpuenv.knowledge import load

K = load()
NCCL_ERROR = (
    "torch.distributed.DistBackendError: NCCL error in: ../c10d/NCCLUtils.hpp:268, {}, NCCL version 2.21.5"
)

LOGS = {
    "[rank1]:[E1105 10:00:00.000000000 ProcessGroupNCCL.cpp:1896] [PG ID 0 PG GUID 0(default_pg) Rank 1] Process group watchdog "
    "thread terminated with exception: CUDA error: an illegal memory access was encountered": ("KernelFault", "nccl_p2p"),
    "[E ProcessGroupNCCL.cpp:916] [Rank 0] NCCL watchdog thread terminated with exception: CUDA error: unspecified launch "
    "failure": ("KernelFault", "nccl"),
    "host:1:1 [0] NCCL WARN Cuda failure 'an illegal memory access was encountered'\n"
    + NCCL_ERROR.format("unhandled cuda error"): ("KernelFault", "nccl"),
    NCCL_ERROR.format("invalid usage") + "\nncclInvalidUsage: This usually reflects invalid usage of NCCL library.\nLast "
    "error:\nDuplicate GPU detected : rank 3 and rank 0 both on CUDA device f000": ("NoDevice", "local_rank"),
    "[3] include/shm.h:28 NCCL WARN Call to posix_fallocate failed : No space left on device": (
        "SmallWorkspace", "/dev/shm",
    ),
    "misc/shmutils.cc:88 NCCL WARN Error: failed to extend /dev/shm/nccl-WU88OE to 9637892 bytes, error: No space left on "
    "device (28)\nmisc/shmutils.cc:132 NCCL WARN Error while creating shared memory segment /dev/shm/nccl-WU88OE (size "
    "9637888), error: No space left on device (28)": ("SmallWorkspace", "shm-size"),
    "RuntimeError: DataLoader worker (pid 123) is killed by signal: Bus error. It is possible that dataloader's workers are "
    "out of shared memory.": ("SmallWorkspace", "/dev/shm"),
    "Signal 7 (SIGBUS) received by PID 4711\nexitcode  : -7 (pid: 4711)": ("SmallWorkspace", "/dev/shm"),
    "Mismatched NCCL version detected : rank 0 is running 22705 rank 1 is running 22105": ("LibraryConflict", "nccl"),
    "NCCL WARN Call to ibv_reg_mr failed with error Cannot allocate memory": ("OsCallFailed", "memlock"),
    NCCL_ERROR.format("unhandled cuda error") + "\nncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\nCuda "
    "failure 'peer access is not supported between these two devices'": ("KernelFailed", "nccl_p2p_disable"),
    "host:1:1 [0] transport/p2p.cc:238 NCCL WARN failed to open CUDA IPC handle : 217 peer access is not supported between "
    "these two devices": ("KernelFailed", "nccl_p2p_disable"),
    "misc/socket.cc:483 NCCL WARN socketStartConnect: Connect to 10.0.0.2<45763> failed : Software caused connection abort\n"
    + NCCL_ERROR.format("unhandled system error"): ("KernelFailed", "nccl_socket_ifname"),
    "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.": (
        "KernelFailed", "ended first",
    ),
    "NCCL WARN Bootstrap : no socket interface found": ("KernelFailed", "nccl_socket_ifname"),
    "[rank0]:[E321 02:07:08.408271257 ProcessGroupNCCL.cpp:607] [Rank 0] Watchdog caught collective operation timeout: "
    "WorkNCCL(SeqNum=1580, OpType=ALLREDUCE, NumelIn=466119168, NumelOut=466119168, Timeout(ms)=600000) ran for 600060 "
    "milliseconds before timing out.": ("NotEnoughFacts", "rank that is missing"),
    "[E ProcessGroupNCCL.cpp:737] [Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=469508, "
    "OpType=ALLREDUCE, Timeout(ms)=1800000) ran for 1802212 milliseconds before timing out.": (
        "NotEnoughFacts", "timeout",
    ),
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:\ntrain.py FAILED\nRoot Cause (first observed "
    "failure):\n  rank      : 1 (local_rank: 1)\n  exitcode  : -9 (pid: 886322)\n  traceback : Signal 9 (SIGKILL) received by "
    "PID 886322": ("OomKilled", "memory"),
    "Last error:\nCuda failure 999 'unknown error'": ("CudaInitUnknown", "nvidia_uvm"),
    NCCL_ERROR.format("internal error") + "\nncclInternalError: Internal check failed.": ("NotEnoughFacts", "nccl_debug"),
}  # fmt: skip


def judge(error: str) -> Assessment:
    flags = Facts(
        source=Source.FLAGS,
        torch=TorchFacts(version="2.9.1+cu128"),
        driver=DriverFacts(version="580.95.05"),
        gpus=(Gpu(product="NVIDIA L40S"),),
    )
    return assess(merge([flags, read_error_text(error, K)]), None, (), K)


@pytest.mark.parametrize("text", LOGS)
@pytest.mark.parametrize(
    "style", ["{}", "[rank0]: {}", "host:1:1 [0] NCCL INFO Using network Socket\n{}\nAborted (core dumped)"]
)
def test_what_nccl_and_torchrun_say_has_its_reason_and_its_own_cure(text: str, style: str) -> None:
    reason, word = LOGS[text]
    found = judge(style.format(text))
    assert found.reason == reason, [(check.status, check.reason, check.message) for check in found.checks]
    assert found.verdict != "Compatible"
    cure = " ".join(one.message for one in found.checks[0].remedies).lower()
    assert word in cure
    assert "smaller batch" not in cure
    assert "free gpu memory" not in cure


def test_a_fault_that_the_program_names_first_is_its_own() -> None:
    fault = "RuntimeError: CUDA error: an illegal memory access was encountered"
    watchdog = (
        "[rank1]:[E] [Rank 1] Process group watchdog thread terminated with exception: CUDA error: an illegal memory access "
        "was encountered"
    )
    assert [error.name for error in read_error_text(f"{fault}\n{watchdog}", K).errors] == ["kernel-fault"]
    assert read_error_text(f"{watchdog}\n{fault}", K).errors[0].name == "nccl-kernel-fault"
    assert dict(read_error_text(watchdog, K).errors[0].details) == {"rank": "1"}


def test_versions_that_nccl_prints_are_facts() -> None:
    text = "host:1:1 [0] NCCL INFO cudaDriverVersion 12020\nNCCL version 2.19.3+cuda12.3"
    found = read_error_text(text, K)
    assert (found.torch.nccl, found.driver.cuda_version) == ("2.19.3", 12020)
    assert found.errors == ()


@pytest.mark.parametrize(
    "text",
    [
        "NCCL INFO NET/Plugin: No plugin found (libnccl-net.so), using internal implementation",
        "[rank0]:[W914 04:53:45 ProcessGroupNCCL.cpp:1476] Warning: WARNING: destroy_process_group() was not called before "
        "program exit, which can leak resources.",
        "exitcode  : 0",
        "NCCL version 2.27.5+cuda12.9",
        "Process finished with signal 15",
    ],
)
def test_what_is_no_fault_is_not_taken_for_one(text: str) -> None:
    assert collectives.read(text, K).errors == ()
