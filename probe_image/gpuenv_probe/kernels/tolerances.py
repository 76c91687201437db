"""When is a number wrong? float64 references for sampled rows, tolerances that follow from the formats.

For inner products of length K the error grows like sqrt(K) times the unit roundoff, relative to |A||B|
(Higham & Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41, 2019). Per
element::

    |C - C64| <= LAMBDA * (sqrt(K) * u_accumulate + (u_input + 4 * u_output) / sqrt(K)) * (|A||B|)
                 + (2 * u_output + 4 * u_input) * |C64|

``u_input``: rounding the kernel does to its inputs (TF32 keeps 10 bits of mantissa; cut off instead of
rounded they shift the whole sum, hence the second line); inputs already in the kernel's format are exact,
because the reference starts from the rounded values. ``u_output``: rounding of the result, and of the partial
sums that split-K kernels keep in the output's format (the 4 allows for 32 parts). ``u_accumulate``: tensor
cores add with fewer guard bits than IEEE asks (Fasi et al., "Numerical behavior of NVIDIA tensor cores",
PeerJ CS 2021), and FP8 on Hopper keeps about 14 bits (DeepSeek-V3 technical report, section 3.3.2). LAMBDA is
8: random errors stay below 4 to 5, a wrong element is off by far more. A test plays every format's rounding
on a CPU, and mistakes such as a lost tile, against these bounds.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

LAMBDA = 8.0


class Format(NamedTuple):
    """Unit roundoffs of one way to compute: of inputs inside the kernel, of its sums, of its result."""

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
    """A result outside its tolerance; the text says where and by how much."""


def inner_product_tolerance(
    form: Format, length: int, magnitude: Any, reference: Any, slack: float = 1.0
) -> Any:
    """The bound above, element by element; ``magnitude`` is |A||B|. ``slack`` widens it."""
    root = math.sqrt(length)
    relative = LAMBDA * slack * (root * form.sums + (form.inputs + 4.0 * form.output) / root)
    return relative * magnitude + (2.0 * form.output + 4.0 * form.inputs) * reference.abs()


def compare(name: str, got: Any, reference: Any, tolerance: Any) -> float:
    """Largest share of the tolerance that was used; raises WrongResult when it is over 1 or not a number.

    ``got`` may live on a GPU; ``reference`` and ``tolerance`` are float64 on the CPU.
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
