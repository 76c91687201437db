"""Reads facts from a pasted error (a traceback, a log, a warning): the errors and the versions in it.

PyTorch's messages are defined in https://github.com/pytorch/pytorch/blob/main/torch/cuda/__init__.py
(``_check_capability``, ``_check_cubins``) and
https://github.com/pytorch/pytorch/blob/main/c10/cuda/CUDAFunctions.cpp. Every step takes time linear in the length of
the text.
"""

import errno
import re
from dataclasses import replace
from itertools import islice

from gpuenv.api import reasons
from gpuenv.assess.facts import (
    UVM,
    DeviceNode,
    DriverFacts,
    Facts,
    Failure,
    Gpu,
    NodeFacts,
    Source,
    TorchFacts,
)
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.assess.sources.readers import MAX_ERRORS, read_facts, without_explained
from gpuenv.assess.sources.rules.known_errors import (
    STARTS,
    Found,
    find_errors,
    only_harmless,
    unknown_xids,
)
from gpuenv.assess.sources.text.advice_words import without_conditions
from gpuenv.assess.sources.text.cleaned_text import clean, is_setting, plain
from gpuenv.assess.sources.text.log_prefixes import platforms_of_prefixes
from gpuenv.knowledge.model import Knowledge
from gpuenv.knowledge.versions import api_number, parse_version

MAX_TAIL = 20_000
_WARNINGS = frozenset(
    {
        "is not compatible with the current pytorch installation",
        "no longer supports this gpu because it is too old",
        "the following list shows the ccs this version of pytorch was built for",
    }
)
"""Parts of warnings, in lower case, that PyTorch prints when it starts CUDA, before any kernel has run."""
_NAME = 90
_MAX_LINES = 2000
_LONGEST_LINE = 300

_FOUND_VERSION = re.compile(r"\(found version (\d{4,5})\)")
_INCOMPATIBLE = re.compile(
    r" with CUDA capability sm_(\d{1,3})(\d) is not compatible with the current PyTorch"
)
_SUPPORTS = re.compile(
    r"PyTorch install(?:ation)? supports CUDA capabilities ((?:(?:sm|compute)_\d{2,3}[af]?[ ,]{0,2}){1,40})"
)
_FOUND_GPU = re.compile(
    r"Found GPU(\d{1,3}) ([^\n]{3,90}?) which is of (?:compute|cuda) capability (?:\(CC\) )?(\d{1,2})\.(\d)"
)
_CODE_CC = re.compile(r"^.{0,60}?- (\d{1,2})\.(\d) which supports hardware CC", re.MULTILINE)
_RANGE = re.compile(
    r"(?:Minimum and Maximum|Supported)[^()]{0,120}?\((\d{1,2})\.(\d)\) ?- ?\((\d{1,2})\.(\d)\)",
    re.IGNORECASE,
)
_MODULE = re.compile(
    r"(?:Kernel Module(?: for [\w ]{1,20})? {1,4}|kernel module has (?:the )?version:? )(\d{3}\.[\d.]{2,12})"
)
_NUMBER = re.compile(
    r"(?:cuInit(?:\(0?\))? returned|CUDA initialization failure with error:?|cudaGetDeviceCount\(\)[^\n]{0,200}? Error"
    r"|cudaGetDeviceCount returned|cuda driver library init failure:"
    r"|\[\[ [^\]\n]{2,80} \(error) (\d{1,4})"
)
_CODED = re.compile(
    r"(?:cuda (?:driver |runtime )?(?:error|failure)(?: code| number)?[:=]?|cuda_error_?|cudaerror_?"
    r"|cuda error at [^\n]{1,160}? code=(?!30\b)|\[(?=\d{1,3}\] call to cu)) ?[(#]?(\d{1,3})\b(?!\.\d)",
    re.IGNORECASE,
)
"""Matches CUDA's error number: ``CUDA error 209 [x.cu, 126]``, ``CUDA error code 209``, ``CUDA error at x.cu:382 code=222``,
and ``[802] Call to cuInit results in UNKNOWN_CUDA_ERROR``, as numba says it.

The samples of CUDA print 30 for an unknown error, which names no cause.
"""
_FAILS = re.compile(
    r"error|exception|fatal|fail|traceback|abort|core dumped|killed|cannot|can't|couldn't|could not (?!collect)"
    r"|unable|not found|no such|refused|denied|invalid|unsupported|not supported|not available",
    re.IGNORECASE,
)
_DUMP = re.compile(
    r"CUDA used to build PyTorch|GPU models and configuration|Nvidia driver version|NVIDIA-SMI \d|GPU \d{1,3}: [A-Z]"
    r"|CUDA available: (?:True|False)|[Tt]orch (?:cuda )?[Vv]ersion(?:: {0,20}| \.{3,40} )\d|(?m:^(?:torch|pytorch) {1,40}\d)"
    r"|(?m:^(?:Successfully installed |Requirement already satisfied: |(?:torch|nvidia-[\w-]{3,40})==\d))"
    r"|torch\.__version__|torch\.version\.cuda|torch\.cuda\.is_available\(\)"
)
_FAILS_IN_DUMP = re.compile(
    r"Traceback|[A-Za-z]{2,40}Error\b|\b[Ee]rror:|ERROR|[Ff]atal|Exception:|[Aa]borted"
)
_HARMLESS_LINE = re.compile(
    r" {0,8}(?:\([^)\n]{1,60}\) )?(?:INFO|DEBUG|TRACE)(?:[: ]|$)"
    r"|[^\n|]{0,80}(?: \| | - |\] ?\[)(?:INFO|DEBUG|TRACE)\b|\[[^\]\n]{1,40}\]\[(?:INFO|DEBUG)\b"
    r"| {4,40}[A-Z][\w ()/.-]{1,60}: (?:[\w.%/:-]{1,30} ?){1,6}$| {4,40}(?:ECC Errors|Volatile|Aggregate|Remapped Rows)$"
)
"""Matches a line that reports no failure: of a log, at a low level, or of ``nvidia-smi -q``."""
_MINOR_MODE = re.compile(
    r"Using driver version (\d{3}[\d.]{1,12}\d) which has support for CUDA (\d{1,2}\.\d{1,2})\.[^\[]{0,600}"
    r"but was unavailable:\s{0,20}[#>|]?\s{0,20}(\[\[[^\]]{0,200}\]\])"
)
"""Matches the message that NVIDIA's containers print when they start and do not use cuda-compat.

The message reports no failure. The script entrypoint.d/50-gpu-driver-check.sh in the container prints it.
"""
_FORWARD_MODE = re.compile(
    r"Using CUDA (\d{1,2}\.\d{1,2}) driver version [\d.]{3,15} with kernel driver version (\d{3}[\d.]{1,12}\d)"
)
"""Matches the message that NVIDIA's containers print when they start and use cuda-compat successfully."""
_DETECTED = re.compile(r"but\s{1,20}version (\d{3}\.[\d.]{1,12}) was detected")
_LISTED = re.compile(r"^[^\n]{0,40}c[r-][w-][x-][rwx-]{6}[^\n]{0,80}?(/dev/nvidia[\w-]{1,20})", re.MULTILINE)
_FLAG = re.compile(r"(?:sm|compute)_\d{2,3}[af]?")


def read_error_text(text: str, knowledge: Knowledge, *, given: bool = True) -> Facts:
    """Return the facts in an error text.

    ``given`` True means that a person passed the text as an error, so that something fails for that person. If the text
    then matches no rule, ``unrecognised`` of the returned facts holds the line that describes the failure best.
    """
    whole = plain(text)
    logged = platforms_of_prefixes(whole)
    text = clean(text)
    text, started = _container_start(without_conditions(text))
    read = read_facts(text, knowledge)
    gpus, flags, ends = _gpus(text), _arch_flags(text), _arch_ends(text)
    version = _FOUND_VERSION.search(text)
    module = _MODULE.search(text) or _DETECTED.search(text)
    loaded = int(version[1]) if version else started.cuda_version
    judged = bool(flags or ends) and any(gpu.compute_capability for gpu in gpus)
    failures = _failures(text, read.errors, knowledge, judged=judged)
    nodes = _device_nodes(text)
    told = bool(failures or judged or nodes or started.version) or only_harmless(text, knowledge)
    own = Facts(
        source=Source.ERROR_TEXT,
        node=NodeFacts(signs=logged),
        driver=DriverFacts(
            version=module[1] if module else started.version,
            cuda_version=loaded,
            nvml_cuda_version=started.nvml_cuda_version,
            device_nodes=nodes,
        ),
        gpus=gpus,
        torch=TorchFacts(arch_flags=flags, arch_ends=ends),
        unrecognised=(_telling_line(text),) if given and not told and _is_error(text, whole) else (),
    )
    return replace(merge([own, read]), errors=failures)


def _failures(
    text: str, read: tuple[Failure, ...], knowledge: Knowledge, *, judged: bool
) -> tuple[Failure, ...]:
    """Return the errors in a text: those that the readers found (``read``), then those that match patterns or numbers.

    ``judged`` says that the text names the GPU and the targets of the build, so that the tables judge them.
    """
    text = without_explained(text, read)
    rules = (knowledge.errors_by_name.get(failure.name) for failure in read)
    numbers = _numbers(text, knowledge)
    numbered = any(("cuda", failure.code) in knowledge.errors_by_code for failure in numbers)
    explained = numbered or any(rule is None or rule.status != "Note" for rule in rules)
    found = (
        Failure(
            layer=entry.rule.layer,
            name=entry.rule.name,
            # A rule for the whole text matches anywhere in it, but the error itself is usually at the end.
            message=_telling_line(text) if entry.rule.fallback == "text" else entry.words,
        )
        for entry in find_errors(text, knowledge)
        if not (judged and _is_warning(entry, text))
        and not (explained and entry.rule.fallback == "text")
        and not (numbered and entry.rule.fallback and _CODED.search(entry.words))
    )
    return read + tuple(islice(found, MAX_ERRORS)) + numbers


def _is_error(text: str, whole: str) -> bool:
    """Return whether a text that was passed as an error can contain an error.

    An empty text cannot, nor can a pasted environment in which no words for an error occur, nor a text of which every line
    is harmless: a log line of the level INFO, or a value that ``nvidia-smi -q`` shows. ``whole`` is the text with its
    prefixes, which contain the levels.
    """
    if not text.strip() or (_DUMP.search(text) and not _FAILS_IN_DUMP.search(text)):
        return False
    lines = (line for line in islice(whole.splitlines(), _MAX_LINES) if line.strip())
    return not all(
        _HARMLESS_LINE.match(line) and not _FAILS.search(line.replace("ECC Errors", "")) for line in lines
    )


def _telling_line(text: str) -> str:
    """Return the last line that contains a word such as "error" or "failed", or else the last line.

    Tracebacks and logs end with the error.
    """
    lines = [line.strip() for line in text[-MAX_TAIL:].splitlines() if line.strip()][-_MAX_LINES:]
    lines = [line for line in lines if not is_setting(line[:_LONGEST_LINE])] or lines
    failing = (line for line in reversed(lines) if _FAILS.search(line[:_LONGEST_LINE]))
    return next(failing, lines[-1] if lines else "")[:_LONGEST_LINE]


def _container_start(text: str) -> tuple[str, DriverFacts]:
    """Return the text without harmless lines of NVIDIA's start script, and the driver that the script names.

    The script runs when one of NVIDIA's containers starts, and prints the versions of driver and CUDA.
    """
    minor = _MINOR_MODE.search(text)
    if minor:
        cuda = parse_version(minor[2])
        driver = DriverFacts(version=minor[1], nvml_cuda_version=api_number(cuda) if cuda else None)
        return _MINOR_MODE.sub("", text), driver
    forward = _FORWARD_MODE.search(text)
    if forward:
        cuda = parse_version(forward[1])
        return text, DriverFacts(version=forward[2], cuda_version=api_number(cuda) if cuda else None)
    return text, DriverFacts()


def _numbers(text: str, knowledge: Knowledge) -> tuple[Failure, ...]:
    """Return the errors that the text identifies only by number: CUDA errors, and Xids that are in no rule.

    An Xid is an error that NVIDIA's kernel driver logs with a number.
    """
    starting = _distinct(_NUMBER, text)
    later = [code for code in _distinct(_CODED, text) if code not in starting]
    return (
        *(Failure("cudart", code, message=f"{STARTS}: error {code}") for code in starting),
        *(
            Failure("cudart", code, message=f"CUDA fails with error {code}")
            for code in later
            if ("cuda", code) in knowledge.errors_by_code
        ),
        *(
            Failure("xid", code, message=f"the kernel driver tells of Xid {code}")
            for code in unknown_xids(text, knowledge)[:MAX_ERRORS]
        ),
    )


def _distinct(pattern: re.Pattern[str], text: str) -> list[int]:
    numbers = dict.fromkeys(int(match[1]) for match in islice(pattern.finditer(text), 10 * MAX_ERRORS))
    return [number for number in numbers if number][:MAX_ERRORS]


def _device_nodes(text: str) -> tuple[DeviceNode, ...] | None:
    """Return the device files in the output of ``ls -l /dev/nvidia*``, or None if the text contains no such output.

    /dev/nvidia-uvm is always included: if it is not in the output, its errno says that it does not exist.
    """
    listed = list(dict.fromkeys(_LISTED.findall(text)))
    if not any(path in listed for path in ("/dev/nvidiactl", "/dev/nvidia0")):
        return None
    missing = () if UVM in listed else (DeviceNode(UVM, errno.ENOENT),)
    return tuple(DeviceNode(path, 0) for path in listed[:MAX_ERRORS]) + missing


def _is_warning(found: Found, text: str) -> bool:
    """Return whether ``found`` is only PyTorch's warning about the GPU's architecture, and no kernel failed.

    The rules of binary compatibility are more reliable: PyTorch also warns about GB10 and Orin, on which it works.
    """
    if found.rule.reason != reasons.ArchNotInBuild:
        return False
    lowered = text.lower()
    return not any(part in lowered for parts in found.rule.text for part in parts if part not in _WARNINGS)


def _gpus(text: str) -> tuple[Gpu, ...]:
    found: dict[str, Gpu] = {}
    for index, name, major, minor in _FOUND_GPU.findall(text):
        found.setdefault(
            name, Gpu(index=int(index), product=name, compute_capability=(int(major), int(minor)))
        )
    for match in _INCOMPATIBLE.finditer(text):
        before = text[max(0, match.start() - _NAME) : match.start()].rsplit("\n", maxsplit=1)[-1]
        title = before.split("UserWarning")[-1].split(":")[-1].split("|")[-1].strip(" ->")
        if title not in found:
            capability = (int(match[1]), int(match[2]))
            found[title] = Gpu(index=len(found), product=title or None, compute_capability=capability)
    return tuple(found.values())[:MAX_ERRORS]


def _arch_flags(text: str) -> tuple[str, ...] | None:
    listed = _SUPPORTS.search(text)
    if listed:
        return tuple(_FLAG.findall(listed[1]))
    codes = _CODE_CC.findall(text)
    if codes:
        return tuple(dict.fromkeys(f"sm_{major}{minor}" for major, minor in codes))
    return None


def _arch_ends(text: str) -> tuple[str, str] | None:
    """Return the oldest and the newest target of the build, which PyTorch's warning names as a range."""
    span = _RANGE.search(text)
    return (f"sm_{span[1]}{span[2]}", f"sm_{span[3]}{span[4]}") if span else None
