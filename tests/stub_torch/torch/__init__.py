"""A stand-in for PyTorch. The README beside this package describes it."""

import math

from torch import _emulated

_emulated.enter("import")

from torch import _C, backends, cuda, nn, optim, version  # noqa: E402 - the fault "import" comes before
from torch._tensor import (  # noqa: E402 - the settings must be read before this import
    Product,
    Tensor,
    bfloat16,
    boolean,
    float8_e4m3fn,
    float16,
    float32,
    float64,
    int32,
    int64,
    manual_seed,
    randn,
    rounded,
    size_of,
)

__version__ = _emulated.SETTINGS["version"]


def _filled(value, shape, device, kind):
    return Tensor([value] * size_of(shape), shape, kind, device)


def ones(*shape, device="cpu", dtype=float32):
    if not shape or isinstance(shape[0], tuple):
        shape = shape[0] if shape else ()
    return _filled(1.0, shape, device, dtype)


def arange(end, dtype=int64):
    if dtype is int32:
        _emulated.enter("alloc")
    return Tensor(list(range(end)), (end,), dtype)


def empty_like(tensor):
    return tensor.like([0] * tensor.numel())


def full_like(tensor, value):
    return tensor.like([value] * tensor.numel())


def equal(left, right):
    return left.shape == right.shape and left.data == right.data


def softmax(tensor, dim):
    width = tensor.shape[-1]
    data = []
    for start in range(0, tensor.numel(), width):
        row = tensor.data[start : start + width]
        top = max(row)
        powers = [math.exp(value - top) for value in row]
        total = sum(powers)
        data.extend(value / total for value in powers)
    return tensor.like(data)


def compile(function):
    _emulated.enter("compile")
    return function


def _scaled_mm(left, right, scale_a, scale_b, out_dtype):
    return Product(left, right, out_dtype, _emulated.enter("matmul"))


class special:
    @staticmethod
    def bessel_j0(tensor):
        """Return J0(x): 1/pi times the integral of cos(x sin t) over 0..pi, by the midpoint rule.

        The integrand is periodic, so that 48 points are exact to rounding.
        """
        wrong = tensor.device != "cpu" and _emulated.enter("bessel_j0")
        points = [math.sin(math.pi * (step + 0.5) / 48) for step in range(48)]
        data = [sum(math.cos(value * point) for point in points) / 48 for value in tensor.data]
        return tensor.like(rounded([value + wrong for value in data], tensor.dtype))


class jit:
    class CompilationUnit:
        def __init__(self, source):
            wrong = _emulated.enter("script")
            exec(source, self.__dict__)
            if wrong:
                formula = self.formula
                self.formula = lambda *given: formula(*given) * math.nan


def _device_matmul(left, right):
    on_gpu = left.device != "cpu"
    return Product(left, right, wrong=on_gpu and _emulated.enter("matmul"))


Tensor.__matmul__ = _device_matmul
__all__ = [
    "_C", "backends", "bfloat16", "boolean", "cuda", "float8_e4m3fn", "float16", "float64", "int64",
    "manual_seed", "nn", "optim", "randn", "version",
]  # fmt: skip
