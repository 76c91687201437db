"""Kernels that are compiled at run time: by TorchScript, by torch's jiterator (with NVRTC), or by torch.compile."""

from __future__ import annotations

import os
import pwd
import warnings
from typing import Any

from gpuenv_probe.kernels.device import Device, Skip
from gpuenv_probe.kernels.tolerances import compare

_ELEMENTS = 16384
_PASSES = 3
"""The number of calls of each compiled function.

TorchScript compiles a function at its second call and runs the compiled code at the third.
"""


_SCRIPT = """
def formula(x, y):
    return (x * y + y).relu() * 0.5
"""


def _formula(x: Any, y: Any) -> Any:
    return (x * y + y).relu() * 0.5


def torchscript(device: Device, dtype: str) -> str | None:
    """Run a function until TorchScript has fused it, and check its last result.

    The function is compiled from text, because torch.jit.script needs a source file and a zip application has none.
    """
    unit = getattr(getattr(device.torch, "jit", None), "CompilationUnit", None)
    if unit is None:
        raise Skip("this torch has no TorchScript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer releases call TorchScript deprecated
        scripted = unit(_SCRIPT).formula
    _check_formula(device, scripted)
    return None


def bessel(device: Device, dtype: str) -> str | None:
    """Run torch's Bessel function J0, which torch compiles with NVRTC at its first call, and check its result.

    torch has had this function since 1.12, with its jiterator. torch requests machine code from NVRTC instead of PTX,
    so that the function works with drivers that are older than the CUDA toolkit.
    """
    torch = device.torch
    function = getattr(getattr(torch, "special", None), "bessel_j0", None)
    if function is None:
        raise Skip("this torch has no run-time compiled kernel (1.12 brought bessel_j0)")
    values = device.random(_ELEMENTS) * 4.0
    reference = function(values.cpu().double())
    compare("bessel_j0", function(values), reference, torch.full_like(reference, 2.0**-16))
    return None


def torch_compile(device: Device, dtype: str) -> str | None:
    """Run a function through torch.compile and check its last result.

    torch.compile needs Triton, ptxas, a C compiler and a writable directory.
    """
    torch = device.torch
    if not hasattr(torch, "compile"):
        raise Skip("this torch has no torch.compile (2.0 brought it)")
    _ensure_user_name()
    _check_formula(device, torch.compile(_formula))
    return None


def _ensure_user_name() -> None:
    """Set USER if this uid has no user name, because torch.compile needs one for its cache directory."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("USER", f"uid{os.getuid()}")


def _check_formula(device: Device, function: Any) -> None:
    """Call ``function``, a compiled form of ``_formula``, and compare its last result with a float64 reference.

    The function is called ``_PASSES`` times, because TorchScript compiles it only after the first call. Raises
    WrongResult if the difference exceeds the tolerance.
    """
    left, right = device.random(_ELEMENTS), device.random(_ELEMENTS)
    exact_left, exact_right = left.cpu().double(), right.cpu().double()
    reference = _formula(exact_left, exact_right)
    magnitude = (exact_left * exact_right).abs() + exact_right.abs()
    for _ in range(_PASSES):
        result = function(left, right)
    compare("formula", result, reference, 2.0**-21 * magnitude + 1e-12)
