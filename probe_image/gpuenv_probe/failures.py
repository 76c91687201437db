"""Failures in the form of the probe report: the layer that failed, the error's number, its name and its message."""

from __future__ import annotations

import re
import signal
from typing import Any, Dict

Failure = Dict[str, Any]

MESSAGE_LENGTH = 400
"""Characters of an error message that are kept. The beginning is kept, because torch appends advice at the end."""

# torch writes CUDA's error number as "CUDA error 2", or as "Error 802: system not yet initialized" after a sentence
# about CUDA (c10/cuda/CUDAFunctions.cpp). The bare form must not match other numbers, such as "HTTP Error 404" or
# make's "*** Error 2".
_NUMBER = re.compile(r"\b(?:CUDA error|cudaError)[ :]+(\d{1,3})\b")
_BARE_NUMBER = re.compile(r"(?:^|[.?!:] |\n)Error (\d{1,3}): ")
_CUDA_TEXT = re.compile(r"CUDA error: ([^\n]+)")
_MESSAGES_WITHOUT_NUMBER = (
    ("Found no NVIDIA driver", 35),
    ("The NVIDIA driver on your system is too old", 35),
    ("CUDA driver initialization failed", 3),
    ("No CUDA GPUs are available", 100),
    ("CUDA unknown error", 999),
    ("CUDA out of memory", 2),
)
"""Parts of torch's messages for CUDA errors that do not contain the error's number, each with that number.

The numbers are those of the CUDA runtime API.

Source: c10/cuda/CUDAFunctions.cpp and c10/cuda/CUDACachingAllocator.cpp of PyTorch.
"""
_ADVICE = re.compile(
    r"\n(?:CUDA kernel errors might|For debugging consider|Compile with|Search for ).*", re.DOTALL
)


def failure(layer: str, code: int | None = None, name: str = "", message: str = "") -> Failure:
    """Return a failure in the form of the probe report, without those fields that are empty or None.

    ``layer`` is the layer that failed: cuda, cudart, nvml, torch, python, os or signal. ``code`` is the number that
    this layer gives the error, or None if it has no number. ``name`` is the error's name, such as the exception's type.
    """
    found: Failure = {"layer": layer}
    if code is not None:
        found["code"] = code
    if name:
        found["name"] = name
    if message:
        found["message"] = shorten(message)
    return found


def shorten(text: str, length: int = MESSAGE_LENGTH) -> str:
    """Return ``text`` cut to at most ``length`` characters; its beginning is kept."""
    text = text.strip()
    return text if len(text) <= length else text[: length - 1] + "…"


def of_exception(error: BaseException) -> Failure:
    """Return a Python exception as a failure, with the CUDA runtime's error number if it can be found."""
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
    """Return the failure of a process that ended unexpectedly.

    ``status`` is its exit code, or the negative number of the signal that killed it, as in subprocess. ``last_words``
    is the end of its output.
    """
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return failure("signal", -status, name, last_words)
    return failure("os", status, f"exit code {status}", last_words)


def _cuda_code(error: BaseException, text: str) -> int | None:
    """Return the CUDA runtime's number of the error that torch raised as ``error``, or None if there is none.

    ``text`` is the exception's message, from which the number is read if the exception has no attribute for it.
    """
    code = getattr(error, "error_code", None)  # torch.AcceleratorError, since 2.8
    if isinstance(code, int) and not isinstance(code, bool):
        return code
    number = _NUMBER.search(text) or ("cuda" in text.lower() and _BARE_NUMBER.search(text))
    if number:
        return int(number.group(1))
    words = _CUDA_TEXT.search(text)
    if words:
        return _runtime_texts().get(words.group(1).strip())
    return next((code for message, code in _MESSAGES_WITHOUT_NUMBER if message in text), None)


def _runtime_texts() -> dict[str, int]:
    """Return a dict from the CUDA runtime's text for each error to the error's number, or {} without torch.

    The texts come from the runtime that torch was built with: a list in this file would become out of date. The dict is
    also empty if torch cannot give the texts.
    """
    try:
        import torch

        runtime = torch._C._cudart
        return {runtime.cudaGetErrorString(runtime.cudaError(code)): code for code in range(999, 0, -1)}
    except (ImportError, AttributeError, TypeError, ValueError):
        return {}
