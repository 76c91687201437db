"""Failures as the report carries them: which layer spoke, its number, its name, its words."""

from __future__ import annotations

import re
import signal
from typing import Any, Dict

Failure = Dict[str, Any]

MESSAGE_LENGTH = 400
"""Characters of an error's text that are kept. torch appends advice to the text proper, which comes first."""

# "Error 802: system not yet initialized" (c10/cuda/CUDAFunctions.cpp) after a sentence about CUDA, "CUDA error 2"
# and the like. "HTTP Error 404" and make's "*** Error 2" have numbers of their own.
_NUMBER = re.compile(r"\b(?:CUDA error|cudaError)[ :]+(\d{1,3})\b")
_BARE_NUMBER = re.compile(r"(?:^|[.?!:] |\n)Error (\d{1,3}): ")
_CUDA_TEXT = re.compile(r"CUDA error: ([^\n]+)")
_SPOKEN = (
    ("Found no NVIDIA driver", 35),
    ("The NVIDIA driver on your system is too old", 35),
    ("CUDA driver initialization failed", 3),
    ("No CUDA GPUs are available", 100),
    ("CUDA unknown error", 999),
    ("CUDA out of memory", 2),
)
"""Errors torch tells in words of its own, without their number: c10/cuda/CUDAFunctions.cpp,
CUDACachingAllocator.cpp.
"""
_ADVICE = re.compile(
    r"\n(?:CUDA kernel errors might|For debugging consider|Compile with|Search for ).*", re.DOTALL
)


def failure(layer: str, code: int | None = None, name: str = "", message: str = "") -> Failure:
    """One failure. ``layer``: cuda, cudart, nvml, torch, python, os or signal."""
    found: Failure = {"layer": layer}
    if code is not None:
        found["code"] = code
    if name:
        found["name"] = name
    if message:
        found["message"] = shorten(message)
    return found


def shorten(text: str, length: int = MESSAGE_LENGTH) -> str:
    """``text`` in at most ``length`` characters, its head kept."""
    text = text.strip()
    return text if len(text) <= length else text[: length - 1] + "…"


def of_exception(error: BaseException) -> Failure:
    """What a Python exception says; CUDA errors keep their runtime number where torch lets it be known."""
    text = _ADVICE.sub("", str(error)) or type(error).__name__
    if isinstance(error, OSError) and error.errno is not None:
        return failure("os", error.errno, type(error).__name__, text)
    if isinstance(error, (ImportError, SyntaxError, SystemExit)):
        return failure("python", None, type(error).__name__, text)
    code = _cuda_code(error, text)
    if code is not None:
        return failure("cudart", code, type(error).__name__, text)
    module = type(error).__module__
    from_torch = isinstance(error, RuntimeError) or module.startswith("torch") or "CUDA" in text
    return failure("torch" if from_torch else "python", None, type(error).__name__, text)


def of_exit(status: int, last_words: str) -> Failure:
    """How a process ended that should not have: by signal (negative ``status``) or by exit code."""
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return failure("signal", -status, name, last_words)
    return failure("os", status, f"exit code {status}", last_words)


def _cuda_code(error: BaseException, text: str) -> int | None:
    code = getattr(error, "error_code", None)  # torch.AcceleratorError, since 2.8
    if isinstance(code, int) and not isinstance(code, bool):
        return code
    number = _NUMBER.search(text) or ("cuda" in text.lower() and _BARE_NUMBER.search(text))
    if number:
        return int(number.group(1))
    words = _CUDA_TEXT.search(text)
    if words:
        return _runtime_texts().get(words.group(1).strip())
    return next((code for spoken, code in _SPOKEN if spoken in text), None)


def _runtime_texts() -> dict[str, int]:
    """CUDA's own error texts and numbers, asked of the runtime inside torch: no table is newer."""
    try:
        import torch

        runtime = torch._C._cudart
        return {runtime.cudaGetErrorString(runtime.cudaError(code)): code for code in range(999, 0, -1)}
    except (ImportError, AttributeError, TypeError, ValueError):
        return {}
