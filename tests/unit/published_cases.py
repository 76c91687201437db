"""Published cases as people would paste them: each set of facts, dressed as a ``collect_env`` dump in several styles."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Given = dict[str, Any]
Dump = Callable[[Given], str]


@cache
def cases() -> list[dict[str, Any]]:
    """All cases of ``cases/published.yaml``."""
    text = (Path(__file__).parent / "cases" / "published.yaml").read_text(encoding="utf-8")
    return list(yaml.safe_load(text)["cases"])


def plain(given: Given) -> str:
    """As ``python -m torch.utils.collect_env`` prints it."""
    gpus = [f"GPU {number}: {name}" for number, name in enumerate(given.get("gpus", ()))]
    models = gpus[0] if len(gpus) == 1 else "\n" + "\n".join(gpus) + "\n"
    lines = [
        "Collecting environment information...",
        ("PyTorch version: {}", given.get("torch")),
        ("Is debug build: {}", False),
        ("CUDA used to build PyTorch: {}", given.get("cuda")),
        ("ROCM used to build PyTorch: {}", "N/A"),
        "",
        ("OS: {}", given.get("os", "Ubuntu 22.04.4 LTS (x86_64)")),
        ("Python version: {} (64-bit runtime)", given.get("python")),
        ("Is CUDA available: {}", given.get("available")),
        "CUDA runtime version: Could not collect",
        ("GPU models and configuration: {}", models if gpus else None),
        ("Nvidia driver version: {}", given.get("driver")),
        "cuDNN version: Could not collect",
        "HIP runtime version: N/A",
        "",
        "CPU:",
        "Architecture:                    x86_64",
    ]
    told = [
        line if isinstance(line, str) else line[0].format(line[1])
        for line in lines
        if isinstance(line, str) or line[1] is not None
    ]
    if given.get("smi_cuda"):
        told.append(
            f"| NVIDIA-SMI {given['driver']}    Driver Version: {given['driver']}    CUDA Version: {given['smi_cuda']} |"
        )
    return "\n".join(told) + "\n"


def fenced(given: Given) -> str:
    """In a Markdown fence, with a prompt, Windows line ends and colours."""
    body = plain(given).replace("PyTorch version", "\x1b[1mPyTorch version\x1b[0m").replace("\n", "\r\n")
    return f"### Environment\r\n```\r\n(venv) user@host:~$ python -m torch.utils.collect_env\r\n{body}```\r\nThanks!\r\n"


def quoted(given: Given) -> str:
    """As a quotation, bold, with words of another language around it."""
    body = "\n".join(f"> {line}" for line in plain(given).splitlines())
    return f"您好，这是我的环境：\n\n{body}\n\n谢谢\n"


def one_line(given: Given) -> str:
    """The whole dump on one line."""
    return " ".join(plain(given).split())


def logged(given: Given) -> str:
    """Each line with a log prefix."""
    return "\n".join(f"2025-03-26T19:23:29.123Z worker-0 INFO {line}" for line in plain(given).splitlines())


def padded(given: Given) -> str:
    """As newer vLLM prints it: labels padded, headings between."""
    out = ["==============================", "        PyTorch Info", "=============================="]
    for line in plain(given).splitlines():
        label, colon, value = line.partition(": ")
        out.append(f"{label:<29}: {value}" if colon and not line.startswith(("GPU ", "|")) else line)
    return "\n".join(out) + "\n"


STYLES: dict[str, Dump] = {
    "plain": plain,
    "fenced": fenced,
    "quoted": quoted,
    "one-line": one_line,
    "logged": logged,
    "padded": padded,
}
