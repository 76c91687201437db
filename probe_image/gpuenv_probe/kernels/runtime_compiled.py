"""Kernels that are compiled at run time: TorchScript, NVRTC through jiterator, torch.compile."""

from __future__ import annotations

import os
import pwd
import warnings
from typing import Any

from gpuenv_probe.kernels.device import Device, Skip
from gpuenv_probe.kernels.tolerances import compare

_ELEMENTS = 16384
_PASSES = 3
"""TorchScript's profiling executor compiles on its second pass, and runs what it compiled on its third."""


_SCRIPT = """
def formula(x, y):
    return (x * y + y).relu() * 0.5
"""


def _formula(x: Any, y: Any) -> Any:
    return (x * y + y).relu() * 0.5


def torchscript(device: Device, dtype: str) -> str | None:
    """A scripted function, often enough to be fused.

    Scripted from text: a zip application has no source files.
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
    """A Bessel function: torch compiles it for this very GPU when it is first called (jiterator, NVRTC).

    Since 1.12; it asks NVRTC for machine code, not PTX, and so works on drivers older than the toolkit.
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
    """A compiled function: needs Triton, its ptxas, a C compiler and a place to write."""
    torch = device.torch
    if not hasattr(torch, "compile"):
        raise Skip("this torch has no torch.compile (2.0 brought it)")
    _name_the_user()
    _check_formula(device, torch.compile(_formula))
    return None


def _name_the_user() -> None:
    """The compiler's cache directory carries the user's name; a pod's numeric user may have none."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("USER", f"uid{os.getuid()}")


def _check_formula(device: Device, function: Any) -> None:
    left, right = device.random(_ELEMENTS), device.random(_ELEMENTS)
    exact_left, exact_right = left.cpu().double(), right.cpu().double()
    reference = _formula(exact_left, exact_right)
    magnitude = (exact_left * exact_right).abs() + exact_right.abs()
    for _ in range(_PASSES):
        result = function(left, right)
    compare("formula", result, reference, 2.0**-21 * magnitude + 1e-12)
