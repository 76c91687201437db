"""Run by an interpreter that has a real torch: how much of its tolerance each format's own rounding uses.

``python tolerances.py ARCHIVE`` prints, for each format and several sizes and seeds, the largest share of the
tolerance that honest rounding uses, and whether small mistakes are found. The formats are played on the CPU:
TF32 by rounding inputs to ten bits of mantissa, FP8 by torch's own conversion, split sums by adding parts
kept in the output's format.
"""

import itertools
import json
import sys


def rounded_to_tf32(torch, values, truncated):
    bits = values.view(torch.int32)
    return ((bits + (0 if truncated else 0xFFF + ((bits >> 13) & 1))) & ~0x1FFF).view(torch.float32)


def product(torch, form, left, right, parts):
    """A B as a GPU may compute it in ``form``: products exact, sums in fp32, ``parts`` of them kept apart."""
    kinds = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.bfloat16}
    left, right = left.float(), right.float()
    if form == "tf32":
        left, right = (rounded_to_tf32(torch, values, truncated=parts > 1) for values in (left, right))
    size = left.shape[1] // parts
    total = None
    for part in range(parts):
        piece = left[:, part * size : (part + 1) * size] @ right[part * size : (part + 1) * size]
        piece = piece.to(kinds.get(form, torch.float32))
        total = piece if total is None else (total + piece).to(piece.dtype)
    return total


def main():
    sys.path.insert(0, sys.argv[1])
    import torch

    from gpuenv_probe import numerics

    inputs = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn}
    rows = []
    for form in numerics.FORMATS:
        for seed, parts in itertools.product(range(8), (1, 4, 32)):
            torch.manual_seed(seed)
            size = 256 if form == "fp8" else 1024
            left, right = (torch.randn(size, size).to(inputs.get(form, torch.float32)) for _ in range(2))
            exact_left, exact_right = left[:64].float().double(), right.float().double()
            reference, magnitude = exact_left @ exact_right, exact_left.abs() @ exact_right.abs()
            tolerance = numerics.inner_product_tolerance(numerics.FORMATS[form], size, magnitude, reference)
            got = product(torch, form, left[:64], right, parts)
            share = float(((got.double() - reference).abs() / tolerance).max())
            found = {}
            for name, mistake in mistakes(torch, got, left, right).items():
                try:
                    numerics.compare(name, mistake, reference, tolerance)
                    found[name] = False
                except numerics.WrongResult:
                    found[name] = True
            rows.append({"form": form, "seed": seed, "parts": parts, "share": share, "found": found})
    print(json.dumps(rows))


def mistakes(torch, got, left, right):
    """Results as broken hardware gives them: one lost tile, one flipped exponent bit, a NaN, a swapped pair
    of rows.
    """
    lost = got.clone()
    lost[7] = (got[7].float() - left[7, :16].float() @ right[:16].float()).to(got.dtype)
    flipped = got.clone()
    column = int(got[3].float().abs().argmax())
    flipped[3, column] = got[3, column] * 4
    nan = got.clone()
    nan[0, 0] = float("nan")
    swapped = got.clone()
    swapped[[1, 2]] = got[[2, 1]]
    return {"lost tile": lost, "flipped bit": flipped, "nan": nan, "swapped rows": swapped}


if __name__ == "__main__":
    main()
