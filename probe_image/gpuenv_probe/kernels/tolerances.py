"""Tolerances for results in each number format, and the comparison with a float64 reference.

The error of inner products of length K grows like sqrt(K) times the unit roundoff, relative to |A||B| (Higham & Mary,
"A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41, 2019). The bound of each element
is::

    |C - C64| <= LAMBDA * (sqrt(K) * u_accumulate + (u_input + 4 * u_output) / sqrt(K)) * (|A||B|)
                 + (2 * u_output + 4 * u_input) * |C64|

``u_input`` is the kernel's rounding of its inputs. It is 0 for inputs that are already in the kernel's format, because
the reference is computed from the rounded values. TF32 keeps 10 bits of mantissa. Hardware that truncates instead of
rounding shifts the whole sum, which the second line of the bound allows for.

``u_output`` is the rounding of the result and of the partial sums that split-K kernels keep in the output's format.
The factor 4 allows for 32 partial sums.

``u_accumulate`` is the rounding of the sum. Tensor cores add with fewer guard bits than IEEE 754 asks for (Fasi et
al., "Numerical behavior of NVIDIA tensor cores", PeerJ CS 2021), and FP8 on Hopper keeps about 14 bits (DeepSeek-V3
technical report, section 3.3.2).

LAMBDA is 8, because random errors stay below 4 to 5, and a wrong element differs by far more. A test simulates the
rounding of every format on a CPU, and mistakes such as a lost tile, and compares them with these bounds.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

LAMBDA = 8.0


class Format(NamedTuple):
    """The unit roundoffs of kernels that compute in one number format, such as bf16.

    ``inputs`` is the roundoff with which a kernel rounds its inputs, or 0 if it takes them as they are. ``sums`` is
    that of the sums in which it accumulates, and ``output`` that of its result.
    """

    inputs: float
    sums: float
    output: float


FORMATS = {
    "fp32": Format(0.0, 2.0**-23, 2.0**-24),
    "tf32": Format(2.0**-11, 2.0**-22, 2.0**-24),
    "fp16": Format(0.0, 2.0**-22, 2.0**-11),
    "bf16": Format(0.0, 2.0**-22, 2.0**-8),
    "fp8": Format(0.0, 2.0**-14, 2.0**-8),
}


class WrongResult(Exception):
    """A kernel's result differs from its reference by more than the tolerance.

    The message says what is wrong, such as how many values and which is the worst.
    """


def inner_product_tolerance(
    form: Format, length: int, magnitude: Any, reference: Any, slack: float = 1.0
) -> Any:
    """Return the largest allowed error of each element of a matrix product or convolution, as a tensor.

    The formula is in the module's docstring. ``form`` holds the roundoffs of the number format. ``length`` is K, the
    length of the inner products; ``magnitude`` is |A||B|, the product of the absolute values; ``reference`` is C64, the
    product in float64. ``slack`` is a factor by which LAMBDA is multiplied.
    """
    root = math.sqrt(length)
    relative = LAMBDA * slack * (root * form.sums + (form.inputs + 4.0 * form.output) / root)
    return relative * magnitude + (2.0 * form.output + 4.0 * form.inputs) * reference.abs()


def compare(name: str, got: Any, reference: Any, tolerance: Any) -> float:
    """Compare a result with its reference, and return the largest error as a fraction of its tolerance.

    ``name`` is the name of the result in the message. ``got`` is the result, on the CPU or a GPU. ``reference`` and
    ``tolerance`` are float64 tensors on the CPU. Raises WrongResult if the fraction exceeds 1 or is NaN.
    """
    difference = (got.detach().double().cpu() - reference).abs()
    share = difference / (tolerance + 1e-30)
    worst: float | None = float(share.max())
    if worst is None or not worst <= 1.0:  # also true for NaN
        flat = int(share.nan_to_num(nan=math.inf, posinf=math.inf).flatten().argmax())
        wrong = float(got.detach().double().cpu().flatten()[flat])
        right = float(reference.flatten()[flat])
        count = int((~(share <= 1.0)).sum())
        raise WrongResult(
            f"{name}: {count} of {share.numel()} checked values are wrong, "
            f"worst {wrong:.6g} instead of {right:.6g}"
        )
    return worst
