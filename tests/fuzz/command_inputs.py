"""Texts and files that people give to ``gpuenv explain``, damaged in every way."""

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any, Final

import yaml
from tests.fuzz import hostile
from tests.fuzz.choices import Choices
from tests.fuzz.shown import check_command
from tests.support import builders

CODES: Final = (0, 1, 2, 3, 4)
"""The exit codes of ``gpuenv explain``: the verdicts, and 2 for an input that is refused."""
_ROOT: Final = Path(__file__).parents[2]
_LOG: Final = (
    "Traceback (most recent call last):\n",
    '  File "train.py", line 3, in <module>\n',
    "RuntimeError: CUDA error: ",
    "UserWarning: NVIDIA L4 with CUDA capability sm_89 is not compatible with the current PyTorch installation.\n",
    "NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off the bus.\n",
    "(EngineCore_0 pid=12) ERROR 11-28 09:00:00 [core.py:1] ",
    "2026-11-28T09:00:00.000Z stderr F ",
    "\x1b[31m",
    "| ",
    "> ",
)
_DUMP: Final = (
    "PyTorch version: 2.9.1+cu128",
    "CUDA used to build PyTorch: 12.8",
    "Nvidia driver version: 570.86.15",
    "GPU models and configuration: GPU 0: NVIDIA A100-SXM4-80GB",
    "GPU 1: NVIDIA L4",
    "cuDNN version: /usr/lib/libcudnn.so.9.10.2",
    "Python version: 3.11.7 (main) (64-bit runtime)",
    "OS: Ubuntu 22.04.4 LTS (x86_64)",
    "Libc version: glibc-2.35",
    "Is CUDA available: False",
    "[pip3] torch==2.9.1+cu128",
)
_LARGEST_YAML: Final = 200_000
"""The largest number of characters of JSON that is also written as YAML, which takes long."""
_TRAPS: Final = ("&a [*a]", "<<: *x", "!!python/object:os.system x", "\t", "\0", "---\n", "? ", "'")
"""Pieces of YAML that have a meaning of their own."""
_FORMS: Final = ("table", "table", "json", "markdown")
_NODES: Final = "name,gpu,driver\na,NVIDIA L4,535.104.05\nb,Tesla V100-SXM2-16GB,470.57.02\n"
_ENVIRONMENT: Final = yaml.safe_load((_ROOT / "examples/all-fields.yaml").read_text(encoding="utf-8"))


def error_text(data: bytes) -> None:
    """Explain an error that ``data`` describes."""
    choices = Choices(data)
    pieces = [choices.one_of(_LOG) + hostile.text(choices) for _ in range(1 + choices.below(8))]
    text = "\n".join(pieces) if choices.chance(2) else choices.rest().decode("utf-8", "replace")
    _explain("--error", "-", "-o", choices.one_of(_FORMS), text=text)


def dump(data: bytes) -> None:
    """Explain the output of collect_env that ``data`` describes."""
    choices = Choices(data)
    lines = [
        line if choices.chance(2) else line.partition(":")[0] + ": " + hostile.text(choices) for line in _DUMP
    ]
    _explain("--collect-env", "-", "-o", choices.one_of(_FORMS), text="\n".join(lines))


def environment_file(data: bytes) -> None:
    """Explain with a damaged file of an environment."""
    choices = Choices(data)
    _with_file("-f", _damaged(choices, _ENVIRONMENT), "--torch", "2.9.1+cu128", "--gpu", "NVIDIA L4")


def node_list(data: bytes) -> None:
    """Explain for the nodes in a damaged CSV file, or in damaged output of kubectl."""
    choices = Choices(data)
    if choices.chance(2):
        cells = [hostile.text(choices) for _ in range(choices.below(9))]
        content = (_NODES + ",".join(cells) + "\n" + choices.rest().decode("utf-8", "replace")).encode(
            "utf-8", "replace"
        )
    else:
        content = _damaged(
            choices, {"apiVersion": "v1", "kind": "List", "items": [builders.node("n1"), builders.node("n2")]}
        )
    _with_file("--nodes", content, "--torch", "2.9.1+cu128")


def saved_report(data: bytes) -> None:
    """Explain a damaged report of ``gpuenv check``."""
    choices = Choices(data)
    report: Any = builders.facts_report("run") | {"steps": builders.kernels_report("run")["steps"]}
    _with_file("--report", _damaged(choices, report))


def _damaged(choices: Choices, document: Any) -> bytes:
    document = hostile.changed(choices, document, 1 + choices.below(4))
    content = json.dumps(document, ensure_ascii=choices.chance(2), default=str)
    if choices.chance(2) and len(content) < _LARGEST_YAML:
        with contextlib.suppress(RecursionError):  # PyYAML cannot write what is too deep for it
            content = yaml.dump(json.loads(content), allow_unicode=choices.chance(2), Dumper=yaml.SafeDumper)
    if choices.chance(4):
        place = choices.below(len(content) + 1)
        content = content[:place] + choices.one_of(_TRAPS) + content[place:]
    return content.encode("utf-8", "surrogatepass" if choices.chance(2) else "replace")


def _with_file(option: str, content: bytes, *arguments: str) -> None:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(content)
        file.flush()
        _explain(option, file.name, *arguments)


def _explain(*arguments: str, text: str | None = None) -> None:
    given = None if text is None else text.encode("utf-8", "surrogatepass")
    check_command("explain", *arguments, text=given, codes=CODES)
