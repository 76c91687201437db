"""cuBLAS matrix products in every number format that the GPU supports."""

from __future__ import annotations

from typing import Any

from gpuenv_probe.kernels.device import Device, Skip
from gpuenv_probe.kernels.tolerances import FORMATS, compare, inner_product_tolerance

_SIZE = 1024
_FP8_SIZE = 256
_ROWS = 4


def run(device: Device, dtype: str) -> str | None:
    """Multiply two random matrices, and compare some rows of the product with a float64 reference.

    Raises WrongResult if the difference exceeds the tolerance.
    """
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
    """Return two random fp8 matrices and their product. Raises Skip if torch cannot compute in fp8."""
    kind, one = device.dtype("fp8"), device.torch.ones((), device=device.name)
    try:
        left, right = (device.random(size, size, dtype=kind) for _ in range(2))
        right = right.t().contiguous().t()
        left.float()  # the comparison needs this conversion
    except (TypeError, NotImplementedError, RuntimeError) as error:
        raise _skip_or_error(device, error) from None
    return left, right, scaled_mm(device, left, right, one)


def _skip_or_error(device: Device, error: Exception) -> Exception:
    """Return the exception to raise after torch failed with ``error`` in an fp8 operation.

    The exception is ``error`` if the device no longer works. Otherwise it is a Skip, because torch merely refuses fp8.
    """
    if not device.is_alive():
        return error
    words = (str(error).splitlines() or [type(error).__name__])[0]
    return Skip(f"torch refuses fp8 here: {words[:120]}")


def scaled_mm(device: Device, left: Any, right: Any, one: Any) -> Any:
    """Return the product of two fp8 matrices in bf16.

    ``right`` is column-major. ``one`` is a tensor on the device with the number 1, which serves as the scale of both
    matrices. The function of torch is private and has changed several times, so Skip is raised if torch refuses the
    call.
    """
    torch = device.torch
    function = getattr(torch, "_scaled_mm", None)
    if function is None:
        raise Skip("this torch has no fp8 matrix product")
    try:
        product = function(left, right, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    except (TypeError, NotImplementedError, ValueError, RuntimeError) as error:
        raise _skip_or_error(device, error) from None
    return product[0] if isinstance(product, tuple) else product
