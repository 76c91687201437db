r"""Removes what logging systems put before the lines of a log: times, levels, processes, ranks, pods, files.

The forms are those of vLLM and SGLang workers, Ray, torchrun, glog and klog, Docker Compose, ``kubectl logs --prefix``,
containerd, journald and syslog, the kernel, GitHub Actions, GitLab, and Python's usual formats. A prefix is removed only in
a form that nothing else has: a bare word before a colon may be an error (``ImportError:``), and a bare word in brackets
may be part of a message (``[WinError 126]``, ``[sgl_kernel]``). The indentation after a prefix stays, because tracebacks
have one. Every step takes time linear in the length of the text.
"""

import re
from collections import Counter
from itertools import islice
from typing import Final

from gpuenv.assess.sources.text.lazy_pattern import LazyPattern

_LEVEL: Final = r"(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL|SEVERE)"
_TIME: Final = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_DATE: Final = r"\d{4}[-/]\d\d[-/]\d\d"
_ZONE: Final = r"(?:Z| ?[+-]\d\d:?\d\d| UTC)?"
_FILE: Final = r"[\w./-]{1,80}\.(?:py|cc|cpp|cu|h|go|rs|c):\d{1,6}"
_MONTH: Final = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAY: Final = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_RANKS: Final = r"(?: (?:TP|DP|PP|EP|CP|DCP|ATTN_TP|MOE_EP)\d{1,4}){1,4}"

_AFTER_TIME: Final = (
    rf"(?: (?:std(?:out|err) [FP]|\d\d[OE]\+?))?(?: {{1,4}}(?:\[{_LEVEL}\]:?|{_LEVEL}(?= )))?"
    rf"(?: {{0,8}}\| {_LEVEL} {{0,8}}\| [\w.<>-]{{1,80}}:[\w.<>-]{{1,60}}:\d{{1,6}} -)?"
    rf"(?: - [\w.]{{1,60}} - {_LEVEL} -)?"
    rf"(?: text_(?:generation|embeddings)_[\w:]{{1,60}}:(?: [\w./-]{{1,80}}:\d{{1,5}}:)?)?"
    r"(?: [\w.-]{1,63} (?=kernel: )| [\w.-]{1,63} [\w./@:-]{1,60}\[\d{1,8}\]:)?"
)
"""Matches what may follow a time: the stream of containerd or GitLab, a level, a logger, a host and its process."""

_ROUND: Final = (
    # (EngineCore_DP0 pid=41), (VllmWorker rank=0 pid=41), (RayWorkerWrapper pid=41, ip=10.0.0.1)
    r"(?:[\w.:<>-]{1,60} )?(?:rank=\d{1,5},? )?pid=\d{1,9}(?:, ip=[\da-fA-F.:]{3,45})?\)",
    # (raylet), (autoscaler +8s)
    r"(?:raylet|gcs_server|dashboard|autoscaler \+[\dhms]{1,12})(?:, ip=[\d.]{7,15})?\)",
)
"""What follows an opening parenthesis. The forms are grouped by their first character, because that is fast."""
_SQUARE: Final = (
    # [rank0]:, [default0]:, [1,0]<stderr>:
    r"(?:rank|default)\d{1,5}\]:",
    r"\d{1,4},\d{1,5}\]<std(?:out|err)>:",
    # [W1128 10:11:12.123 ProcessGroupNCCL.cpp:123], [E ProcessGroupNCCL.cpp:828]
    rf"[DIWEFC](?:\d{{4}} {_TIME})?(?: \d{{1,9}})? {_FILE}\]",
    # [pod/vllm-0/server]
    r"pod/[\w.-]{1,253}/[\w.-]{1,63}\]",
    # [   12.345678], [Sat Nov 28 10:11:12 2026]
    r" {0,8}\d{1,9}\.\d{6}\]",
    rf"{_DAY} {_MONTH} {{1,2}}\d{{1,2}} {_TIME} \d{{4}}\]",
    # [2026-11-28 10:11:12 TP0], [2026-11-28 10:11:12,123] [ERROR] [launch.py:1:main]
    rf"{_DATE}[T ]{_TIME}{_ZONE}(?:{_RANKS})?\](?: \[{_LEVEL}\])?(?: \[[\w./-]{{1,80}}:\d{{1,6}}:[\w<>.]{{1,60}}\])?",
    # [10:11:12]
    rf"{_TIME}\]",
)
_DIGIT: Final = (
    # 2026-11-28T10:11:12.123Z, and 10:11:12.123
    rf"{_DATE}[T ]{_TIME}{_ZONE}(?![\d:]){_AFTER_TIME}",
    rf"{_TIME}(?= ){_AFTER_TIME}",
)
_NUMBERED: Final = r"[a-z][a-z\d._-]{0,60}[-_]\d{1,3} {1,40}\|(?= |$)"
"""Matches the name of a container and its number, as Docker Compose puts them before a line."""
_LETTER: Final = (
    # E1128 10:11:12.123456 1 main.go:2]
    rf"[DIWEF]\d{{4}} {_TIME} {{1,12}}(?:\d{{1,9}} )?{_FILE}\]",
    # INFO 11-28 10:11:12 [core.py:586], ERROR 11-28 10:11:12 core.py:586]
    rf"{_LEVEL} (?:\d{{4}}-)?\d\d-\d\d {_TIME}(?: \[?{_FILE}\])?",
    # Nov 28 10:11:12 host python[123]:
    rf"{_MONTH} {{1,2}}\d{{1,2}} {_TIME}(?= ){_AFTER_TIME}",
    # vllm-1  |, comfyui_1 |
    _NUMBERED,
)
_PREFIX: Final = LazyPattern(
    rf"^(?=[ \[(<#\dA-Za-z]) {{0,12}}(?:(?:<\d{{1,3}}>1? ?)?(?:\((?:{'|'.join(_ROUND)})|\[(?:{'|'.join(_SQUARE)})"
    rf"|(?=\d)(?:{'|'.join(_DIGIT)})|(?=[A-Za-z])(?:{'|'.join(_LETTER)})"
    r"|#\d{1,3} \d{1,5}\.\d{1,3}(?= )|##\[(?:error|warning|group|section|debug|command)\]) ?){1,8}",
    re.MULTILINE,
)
"""Matches all prefixes of a line: one line often has those of several systems."""
_BEGINNING: Final = re.compile(
    rf"^ {{0,12}}(?:[\[(<#\d]|(?:[A-Z]{{4,8}}|[DIWEF]\d{{4}}|{_MONTH}) |[a-z][a-z\d._-]{{1,64}} {{1,40}}\|)",
    re.MULTILINE,
)
"""Matches how every prefix begins. Many texts have no such line; compiling the pattern of all prefixes takes 4 ms."""
_COMPOSE: Final = re.compile(r"^([A-Za-z][\w.-]{0,60}) {0,40}\| ", re.MULTILINE)
_OF_PLATFORMS: Final = (
    ("kubernetes", LazyPattern(r"^ {0,12}\[pod/[\w.-]{1,253}/[\w.-]{1,63}\]", re.MULTILINE)),
    ("kubernetes", LazyPattern(rf"^ {{0,12}}{_DATE}T{_TIME}{_ZONE} std(?:out|err) [FP] ", re.MULTILINE)),
    ("docker", LazyPattern(rf"^ {{0,12}}{_NUMBERED}", re.MULTILINE)),
)
"""Pairs of a platform and the prefix that only its logs have: those of ``kubectl logs --prefix``, the kubelet, Compose."""
_MOST_LINES: Final = 2_000
_FEWEST_LINES: Final = 3
"""How many lines have to begin with the same name and a bar, so that the name is that of a container."""


def platforms_of_prefixes(text: str) -> tuple[str, ...]:
    """Return the platforms whose logging systems have put prefixes before lines of the text."""
    if not _BEGINNING.search(text):
        return ()
    shown = [name for name, pattern in _OF_PLATFORMS if pattern.search(text)]
    return tuple(dict.fromkeys([*shown, *(["docker"] if _containers(text) else [])]))


def without_prefixes(text: str) -> str:
    """Return the text without the prefixes that logging systems put before its lines."""
    for name in _containers(text):
        text = re.sub(rf"^{re.escape(name)} {{0,40}}\| ?", "", text, flags=re.MULTILINE)
    return _PREFIX.sub("", text) if _BEGINNING.search(text) else text


def _containers(text: str) -> list[str]:
    """Return the names that begin several lines, with a bar after them, as Docker Compose prints them."""
    names = Counter(match[1] for match in islice(_COMPOSE.finditer(text), _MOST_LINES))
    return [name for name, count in names.most_common(8) if count >= _FEWEST_LINES]
