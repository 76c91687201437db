"""cuBLAS matrix products in every format the GPU has."""

from __future__ import annotations

from typing import Any

from gpuenv_probe.kernels.device import Device, Skip
from gpuenv_probe.kernels.tolerances import FORMATS, compare, inner_product_tolerance

_SIZE = 1024
_FP8_SIZE = 256
_ROWS = 4


def run(device: Device, dtype: str) -> str | None:
    """C = A B with random-normal A and B, compared with float64 on some of its rows."""
    torch_dtype = device.dtype(dtype)
    size = _FP8_SIZE if dtype == "fp8" else _SIZE
    if dtype == "fp8":
        left, right, product = _fp8_product(device, size)
    else:
        left, right = (device.random(size, size, dtype=torch_dtype) for _ in range(2))
        with device.tf32(dtype == "tf32"):
            product = left @ right
    rows = device.rows(_ROWS, size)
    exact_left, exact_right = left.float().cpu()[rows].double(), right.float().cpu().double()
    reference = exact_left @ exact_right
    magnitude = exact_left.abs() @ exact_right.abs()
    form = FORMATS[device.precision_of(dtype)]
    tolerance = inner_product_tolerance(form, size, magnitude, reference)
    compare("matmul", product[rows], reference, tolerance)
    return None


def _fp8_product(device: Device, size: int) -> tuple[Any, Any, Any]:
    """Both factors and their product. Old releases have the format, but not its conversions and copies."""
    kind, one = device.dtype("fp8"), device.torch.ones((), device=device.name)
    try:
        left, right = (device.random(size, size, dtype=kind) for _ in range(2))
        right = right.t().contiguous().t()
        left.float()  # as the comparison will
    except (TypeError, NotImplementedError, RuntimeError) as error:
        raise _refused(device, error) from None
    return left, right, scaled_mm(device, left, right, one)


def _refused(device: Device, error: Exception) -> Exception:
    """The error itself where the device no longer answers, else why fp8 is skipped."""
    if not device.is_alive():
        return error
    words = (str(error).splitlines() or [type(error).__name__])[0]
    return Skip(f"torch refuses fp8 here: {words[:120]}")


def scaled_mm(device: Device, left: Any, right: Any, one: Any) -> Any:
    """FP8 product with bf16 result; ``right`` is column-major, ``one`` the scale of both, on the device.

    torch's function for it is private and has changed more than once: what it refuses is skipped.
    """
    torch = device.torch
    function = getattr(torch, "_scaled_mm", None)
    if function is None:
        raise Skip("this torch has no fp8 matrix product")
    try:
        product = function(left, right, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    except (TypeError, NotImplementedError, ValueError, RuntimeError) as error:
        raise _refused(device, error) from None
    return product[0] if isinstance(product, tuple) else product
