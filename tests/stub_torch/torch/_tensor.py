"""A tensor on Python lists: slow, but correct for the operations that the probe uses."""

import math
import operator
import random
import struct
from array import array

from torch import _emulated


class dtype:
    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"torch.{self.name}"


float64, float32, float16, bfloat16 = dtype("float64"), dtype("float32"), dtype("float16"), dtype("bfloat16")
float8_e4m3fn, int32, int64, boolean = dtype("float8_e4m3fn"), dtype("int32"), dtype("int64"), dtype("bool")
_NARROW = (float16, bfloat16, float8_e4m3fn)
_generator = random.Random(0)
_POOL = 8191  # a prime, so that rows of any even length differ although the pool repeats


def rounded(data, kind):
    """Return the values rounded to the dtype ``kind``."""
    if kind is float32:
        return array("f", data).tolist()
    if kind is float16:
        return list(struct.unpack(f"{len(data)}e", struct.pack(f"{len(data)}e", *data)))
    if kind is bfloat16:
        bits = array("I", array("f", data).tobytes())
        kept = array("I", [(value + 0x7FFF + ((value >> 16) & 1)) & 0xFFFF0000 for value in bits])
        return array("f", kept.tobytes()).tolist()
    if kind is float8_e4m3fn:
        return [_fp8(value) for value in data]
    if kind in (int32, int64):
        return [int(value) for value in data]
    return data


def _fp8(value):
    """Return the value rounded to E4M3: 3 bits of mantissa, largest value 448, smallest normal value 2**-6."""
    if value == 0.0:
        return 0.0
    exponent = max(math.frexp(value)[1] - 1, -6)
    step = 2.0 ** (exponent - 3)
    return max(-448.0, min(448.0, round(value / step) * step))


def size_of(shape):
    return math.prod(shape)


class Tensor:
    def __init__(self, data, shape, kind=float32, device="cpu"):
        self._data = data
        self.shape = tuple(shape)
        self.dtype = kind
        self.device = device
        self.grad = None
        self.backward = None

    @property
    def data(self):
        return self._data

    def like(self, data, shape=None, kind=None):
        return Tensor(data, self.shape if shape is None else shape, kind or self.dtype, self.device)

    # Conversions of dtype, device and shape.
    def to(self, what):
        if what is self.dtype or (what is float32 and self.dtype in _NARROW):
            return self.like(self.data, kind=what)  # exact as it is
        if what is float8_e4m3fn:
            _emulated.enter("fp8")
        if isinstance(what, dtype):
            return self.like(rounded(self.data, what), kind=what)
        return Tensor(self.data, self.shape, self.dtype, str(what))

    def cpu(self):
        return self.to("cpu")

    def double(self):
        return self.like(self.data, kind=float64)

    def float(self):
        return self.to(float32)

    def detach(self):
        return self.like(self.data)

    def contiguous(self):
        return self

    def copy_(self, other):
        self._data = list(other.data)
        return self

    def __float__(self):
        return float(self.data[0])

    def __int__(self):
        return int(self.data[0])

    def numel(self):
        return size_of(self.shape)

    def flatten(self):
        return self.like(self.data, (self.numel(),))

    # Operations on each element.
    def _with(self, other, function, kind=None):
        if not isinstance(other, Tensor):
            data = [function(value, other) for value in self.data]
        elif other.shape == self.shape:
            data = list(map(function, self.data, other.data))
        elif not other.shape:
            data = [function(value, other.data[0]) for value in self.data]
        elif not self.shape:
            return other.like([function(self.data[0], value) for value in other.data], kind=kind)
        else:
            raise ValueError(f"shapes {self.shape} and {other.shape}")
        return self.like(data, kind=kind)

    def __add__(self, other):
        return self._with(other, operator.add)

    def __sub__(self, other):
        return self._with(other, operator.sub)

    def __mul__(self, other):
        return self._with(other, operator.mul)

    def __truediv__(self, other):
        return self._with(other, operator.truediv)

    def __mod__(self, other):
        return self._with(other, operator.mod)

    def __le__(self, other):
        return self._with(other, operator.le, boolean)

    def __ne__(self, other):
        return self._with(other, operator.ne, boolean)

    def __invert__(self):
        return self.like([not value for value in self.data])

    __radd__ = __add__
    __rmul__ = __mul__
    __hash__ = object.__hash__

    def abs(self):
        return self.like(list(map(abs, self.data)))

    def relu(self):
        return self.like([value if value > 0 else 0.0 for value in self.data])

    def nan_to_num(self, nan=0.0, posinf=0.0):
        return self.like([nan if math.isnan(value) else value for value in self.data])

    # Reductions over all elements.
    def sum(self, dtype=None):
        return self.like([math.fsum(self.data)], ())

    def max(self):
        return self.like([max(self.data)], ())

    def argmax(self):
        return self.like([max(range(len(self.data)), key=self.data.__getitem__)], ())

    # Indexing, transposition and matrix products.
    def __getitem__(self, index):
        inner = self.shape[1:]
        size = size_of(inner)
        if isinstance(index, int):
            return self.like(self.data[index * size : (index + 1) * size], inner)
        data = [value for row in index for value in self.data[row * size : (row + 1) * size]]
        return self.like(data, (len(index), *inner))

    def transpose(self, first, second):
        *batch, rows, columns = self.shape
        size = rows * columns
        data = []
        for start in range(0, self.numel(), size):
            block = self.data[start : start + size]
            for column in range(columns):
                data.extend(block[column::columns])
        return self.like(data, (*batch, columns, rows))

    def t(self):
        return self.transpose(-1, -2)

    def __matmul__(self, other):
        return Product(self, other)


class Product(Tensor):
    """A matrix product that computes only the rows that are read, because Python is slow."""

    def __init__(self, left, right, kind=None, wrong=False):
        super().__init__(None, (*left.shape[:-1], right.shape[-1]), kind or left.dtype, left.device)
        self._left, self._right, self._wrong = left, right, wrong

    @property
    def data(self):
        if self._data is None:
            blocks = size_of(self.shape[:-2])
            self._data = [value for block in range(blocks) for value in self._block(block)]
        return self._data

    def __getitem__(self, index):
        if len(self.shape) != 2 or isinstance(index, int):
            return super().__getitem__(index)
        rows = Product(self._left[index], self._right, self.dtype, self._wrong)
        rows.device = self.device
        return rows.like(rows.data)

    def _block(self, block):
        inner, width = self._right.shape[-2:]
        height = self._left.shape[-2]
        right = self._right.data[block * inner * width : (block + 1) * inner * width]
        columns = [right[column::width] for column in range(width)]
        start = block * height * inner
        rows = [self._left.data[start + row * inner : start + (row + 1) * inner] for row in range(height)]
        values = [sum(map(operator.mul, row, column)) for row in rows for column in columns]
        if self._wrong:
            values[0] += 1000.0
        return rounded(values, self.dtype)


def randn(*shape):
    pool = rounded([_generator.gauss(0.0, 1.0) for _ in range(_POOL)], float32)
    size = size_of(shape)
    return Tensor((pool * (size // _POOL + 1))[:size], shape)


def manual_seed(seed):
    _generator.seed(seed)
