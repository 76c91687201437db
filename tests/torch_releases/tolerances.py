"""Measure with a real torch how much of the probe's tolerances correct rounding uses, and which mistakes they find.

``python tolerances.py ARCHIVE`` prints JSON; ARCHIVE is the probe's zip application. For each number format, seed and
number of partial sums, it holds the largest share of the tolerance that correct rounding uses, and whether small
mistakes exceed the tolerance. The formats are simulated on the CPU: TF32 by rounding inputs to ten bits of mantissa,
FP8 by torch's conversion, and split sums by adding partial sums in the output's format.
"""

import itertools
import json
import sys


def rounded_to_tf32(torch, values, truncated):
    bits = values.view(torch.int32)
    return ((bits + (0 if truncated else 0xFFF + ((bits >> 13) & 1))) & ~0x1FFF).view(torch.float32)


def product(torch, form, left, right, parts):
    """Return the product of two matrices as a GPU may compute it in the number format ``form``.

    Single products are exact and sums are in fp32. The sums are split into ``parts`` partial sums.
    """
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

    from gpuenv_probe.kernels import neural_network, tolerances
    from gpuenv_probe.kernels.device import Device

    inputs = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn}
    rows = []
    for form in tolerances.FORMATS:
        for seed, parts in itertools.product(range(8), (1, 4, 32)):
            torch.manual_seed(seed)
            size = 256 if form == "fp8" else 1024
            left, right = (torch.randn(size, size).to(inputs.get(form, torch.float32)) for _ in range(2))
            exact_left, exact_right = left[:64].float().double(), right.float().double()
            reference, magnitude = exact_left @ exact_right, exact_left.abs() @ exact_right.abs()
            tolerance = tolerances.inner_product_tolerance(
                tolerances.FORMATS[form], size, magnitude, reference
            )
            got = product(torch, form, left[:64], right, parts)
            share = float(((got.double() - reference).abs() / tolerance).max())
            found = {}
            for name, mistake in mistakes(torch, got, left, right).items():
                try:
                    tolerances.compare(name, mistake, reference, tolerance)
                    found[name] = False
                except tolerances.WrongResult:
                    found[name] = True
            rows.append({"form": form, "seed": seed, "parts": parts, "share": share, "found": found})
    torch.backends.cuda.matmul.allow_tf32 = True
    training = [trained(torch, neural_network, Device(torch, "cpu", 0), seed) for seed in range(300)]
    print(json.dumps({"products": rows, "training": training}))


def trained(torch, network, device, seed):
    """Return the largest share of the tolerance that one training step with TF32 products uses.

    The result also says whether the tolerance finds a faulty step, which ignores one image of its batch.
    """
    honest, layer = torch.nn.functional.linear, tf32_linear(torch)
    torch.nn.functional.linear = lambda *given: (layer if given[0].dtype == torch.float32 else honest)(*given)
    try:
        torch.manual_seed(seed)
        share = max(shares_of(network, device))
        torch.manual_seed(seed)
        network.step, step = forgetful(network.step), network.step
        try:
            found = max(shares_of(network, device)) > 1.0
        finally:
            network.step = step
    finally:
        torch.nn.functional.linear = honest
    return {"seed": seed, "share": share, "found": found}


def shares_of(network, device):
    """Return the share of its tolerance that each comparison of ``network.train`` uses; more than 1 is a failure."""
    shares, compare = [], network.compare

    def keep(name, got, reference, tolerance):
        shares.append(float(((got.detach().double() - reference).abs() / tolerance).max()))

    network.compare = keep
    try:
        network.train(device, "fp32")
    finally:
        network.compare = compare
    return shares


def forgetful(step):
    """Return a training step that ignores the first image of its batch on the simulated GPU."""

    def forget(torch, model, images, labels):
        if images.dtype == torch.float32:
            assert not torch.backends.cuda.matmul.allow_tf32, "the kernel switches TF32 off"
            images = images.clone()
            images[0] = 0.0
        return step(torch, model, images, labels)

    return forget


def tf32_linear(torch):
    """Return a linear layer whose three products, forward and backward, round their inputs to TF32."""

    def product(left, right):
        return rounded_to_tf32(torch, left.contiguous(), False) @ rounded_to_tf32(
            torch, right.contiguous(), False
        )

    class Linear(torch.autograd.Function):
        @staticmethod
        def forward(context, inputs, weight, bias):
            context.save_for_backward(inputs, weight)
            return product(inputs, weight.t()) + bias

        @staticmethod
        def backward(context, slope):
            inputs, weight = context.saved_tensors
            return product(slope, weight), product(slope.t(), inputs), slope.sum(0)

    return Linear.apply


def mistakes(torch, got, left, right):
    """Return results of faulty hardware: a lost tile, a flipped exponent bit, a NaN, and two swapped rows."""
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
