"""Reads logs of programs that use several GPUs: NCCL, PyTorch's process groups, and torchrun with its ranks.

NCCL moves data between GPUs. Its warnings name the cause in the words of one rank, and the other ranks then fail with
time-outs and closed connections. https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html
"""

import re
from collections.abc import Iterator
from typing import Final

from gpuenv.assess.facts import NO_FACTS, DriverFacts, Facts, Failure, Source, TorchFacts
from gpuenv.knowledge.model import Knowledge

LAYER: Final = "torch"
_SIGNS: Final = (
    "nccl",
    "watchdog",
    "exitcode",
    "shared memory",
    "signal",
    "client socket",
    "distnetworkerror",
)
_RANK: Final = r"\[?[Rr]ank ?(\d{1,5})\]?"
_REACH: Final = 120
"""Number of characters before a fault, on its line, that are searched for the number of the rank."""
_FAULT_WORDS: Final = (
    r"(?:an illegal memory access was encountered|unspecified launch failure|misaligned address"
    r"|an illegal instruction was encountered|invalid program counter|hardware stack error|error (?:700|719))"
)
_ANY_FAULT: Final = _FAULT_WORDS
_WATCHDOG_FAULT: Final = r"(?i)" + r"watchdog thread terminated with exception: CUDA error: " + _FAULT_WORDS
_NCCL_FAULT: Final = (
    r"(?i)" + r"(?:NCCL WARN |Last error:\s{0,20})Cuda failure (?:\d{1,3} )?'?" + _FAULT_WORDS
)
_FAULTS: Final[tuple[tuple[str, tuple[str, ...], str], ...]] = (
    (
        "nccl-duplicate-gpu",
        ("duplicate gpu",),
        (r"Duplicate GPU detected ?: ?rank \d{1,5} and rank \d{1,5} both on CUDA device (\w{1,12})"),
    ),
    (
        "nccl-versions",
        (
            "mismatched nccl",
            "version mismatch",
        ),
        (
            r"(?i)"
            r"Mismatched NCCL version detected[^\n]{0,160}|NCCL version mismatch[^\n]{0,120}"
        ),
    ),
    (
        "shared-memory",
        (
            "shared memory",
            "posix_fallocate",
            "dev/shm",
            "torch_",
        ),
        (
            r"(?i)"
            r"Call to posix_fallocate failed ?: No space left on device|failed to extend /dev/shm/nccl-[^\n]{0,100}"
            r"|Error while creating shared memory segment[^\n]{0,160}|Error: /dev/shm is too small[^\n]{0,80}"
            r"|insufficient shared memory \(shm\)|workers are out of shared memory|unable to allocate shared memory"
            r"[^\n]{0,120}|unable to write to file </torch_\w{1,40}>[^\n]{0,80}"
        ),
    ),
    (
        "nccl-locked-memory",
        ("call to ibv_",),
        (
            r"(?i)"
            r"Call to ibv_(?:reg_mr|create_cq|create_qp)\w{0,12} failed with error Cannot allocate memory"
        ),
    ),
    (
        "nccl-peer-access",
        (
            "peer ",
            "ipc handle",
            "buffer object",
        ),
        (
            r"(?i)"
            r"peer access is not supported between these two devices|failed to open CUDA IPC handle ?: ?\d{1,3}[^\n]{0,80}"
            r"|Cuda failure (?:\d{1,3} )?'?(?:peer access|peer mapping|mapping of buffer object failed)[^\n]{0,60}"
        ),
    ),
    (
        "nccl-network",
        (
            "socket",
            "call to connect",
            "got completion",
            "ncclremoteerror",
            "distnetworkerror",
            "call to recv",
        ),
        (
            r"(?i)"
            r"socketStartConnect: Connect to [^\n]{0,120}|socketProgress: Connection closed by remote peer[^\n]{0,80}"
            r"|Call to connect(?: to [^\n]{0,60})? (?:failed|returned)[^\n]{0,100}|no socket interface found"
            r"|NET/IB\w{0,2} ?: ?Got completion [^\n]{0,160}|ncclRemoteError: [^\n]{0,160}"
            r"|ncclSocketInit: connecting to address[^\n]{0,80}"
            r"|client socket has (?:timed out|failed to connect)[^\n]{0,100}|DistNetworkError: (?!The server socket)[^\n]{0,120}"
            r"|socketPollConnect:? [^\n]{0,120}|Call to recv from [^\n]{0,100}failed[^\n]{0,60}"
        ),
    ),
    (
        "nccl-timeout",
        (
            "watchdog",
            "heartbeat",
            "communicator was aborted",
        ),
        (
            r"(?i)"
            r"Watchdog caught collective operation timeout: WorkNCCL\([^)\n]{0,60}OpType=(\w{1,40})[^\n]{0,200}?before timing out"
            r"|NCCL communicator was aborted on rank \d{1,5}[^\n]{0,120}(?:timeout|timed out)"
            r"|watchdog got stuck for [\d.]{1,12} seconds[^\n]{0,120}|Heartbeat monitor timed out[^\n]{0,120}"
        ),
    ),
)
"""Rules, a sign that a text has if it can match, in lower case, and the words of their faults.

Of several faults in one log, those further up explain the ones below them.
"""
_KILLED: Final = (
    r"(?i)"
    r"exitcode ?: -9\b(?: \(pid: \d{1,10}\))?|Signal 9 \(SIGKILL\) received by PID \d{1,10}"
)
_BUS_ERROR: Final = (
    r"(?i)"
    r"exitcode ?: -7\b(?: \(pid: \d{1,10}\))?|Signal 7 \(SIGBUS\) received by PID \d{1,10}"
    r"|is killed by signal: Bus error"
)
_VERSION: Final = r"NCCL version (\d{1,2}\.\d{1,2}\.\d{1,2})\b"
_DRIVER_API: Final = r"NCCL INFO cudaDriverVersion (1\d{4})\b"


def read(text: str, knowledge: Knowledge) -> Facts:  # noqa: ARG001  the signature of all readers
    """Return the faults of collective operations in a text, and the versions that NCCL prints."""
    lowered = text.lower()
    if not any(sign in lowered for sign in _SIGNS):
        return NO_FACTS
    version = re.search(_VERSION, text) if "nccl version" in lowered else None
    api = re.search(_DRIVER_API, text) if "cudadriverversion" in lowered else None
    return Facts(
        source=Source.ERROR_TEXT,
        torch=TorchFacts(nccl=version[1] if version else None),
        driver=DriverFacts(cuda_version=int(api[1]) if api else None),
        errors=(
            *_kernel_fault(text, lowered),
            *_collective_faults(text, lowered),
            *_ended_ranks(text, lowered),
        ),
    )


def _kernel_fault(text: str, lowered: str) -> Iterator[Failure]:
    """Yield a kernel's fault that NCCL noticed first.

    Errors of kernels are asynchronous, so NCCL's watchdog often notices one of another kernel. If the program itself
    names the fault before NCCL does, its words say more, and nothing is yielded.
    """
    if "watchdog thread" not in lowered and "cuda failure" not in lowered:
        return
    match = re.search(_WATCHDOG_FAULT, text) or re.search(_NCCL_FAULT, text)
    first = re.search(_ANY_FAULT, text)
    if match and first and first.start() >= match.start():
        yield _failure("nccl-kernel-fault", match, text)


def _collective_faults(text: str, lowered: str) -> Iterator[Failure]:
    """Yield the fault that explains the others."""
    for name, signs, pattern in _FAULTS:
        match = re.search(pattern, text) if any(sign in lowered for sign in signs) else None
        if match:
            yield _failure(name, match, text)
            return


def _ended_ranks(text: str, lowered: str) -> Iterator[Failure]:
    """Yield why torchrun lost a rank: it was killed, or shared memory did not suffice."""
    if "exitcode" not in lowered and "signal" not in lowered:
        return
    if bus := re.search(_BUS_ERROR, text):
        yield _failure("shared-memory", bus, text)
    elif killed := re.search(_KILLED, text):
        yield _failure("rank-killed", killed, text)


def _failure(name: str, match: re.Match[str], text: str) -> Failure:
    line = text.rfind("\n", 0, match.start()) + 1
    rank = re.compile(_RANK).search(text, max(line, match.start() - _REACH), match.end())
    device = match[1] if match.re.groups and match[1] and name == "nccl-duplicate-gpu" else ""
    known = (("rank", rank[1] if rank else ""), ("device", device))
    return Failure(LAYER, name=name, message=match[0], details=tuple(pair for pair in known if pair[1]))
