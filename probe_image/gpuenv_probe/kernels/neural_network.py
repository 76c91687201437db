"""Attention, and one training step of a small neural network."""

from __future__ import annotations

import math
from typing import Any

from gpuenv_probe.kernels.device import Device, Skip
from gpuenv_probe.kernels.tolerances import compare

_HEADS, _LENGTH, _WIDTH = 2, 128, 64
_ATTENTION_ROUNDOFF = {"fp32": 2.0**-11, "fp16": 2.0**-11, "bf16": 2.0**-8}
"""The unit roundoff of the attention weights (the softmax of QK), by the number format of the inputs.

The weights are rounded once to the format of the inputs before they are multiplied by V. The entry of fp32 is the
roundoff of TF32, because PyTorch's memory-efficient kernel may use TF32. FlashAttention's own tests allow twice the
error of a plain implementation.
"""
_FEATURES, _HIDDEN, _CLASSES, _BATCH = 784, 128, 10, 32
_RATE = 0.1


def attention(device: Device, dtype: str) -> str | None:
    """Compute scaled-dot-product attention, and compare the result of all heads with a float64 reference.

    Raises WrongResult if the difference exceeds the tolerance.
    """
    torch = device.torch
    function = getattr(torch.nn.functional, "scaled_dot_product_attention", None)
    if function is None:
        raise Skip("this torch has no scaled_dot_product_attention (2.0 brought it)")
    torch_dtype = device.dtype(dtype)
    query, key, value = (device.random(1, _HEADS, _LENGTH, _WIDTH, dtype=torch_dtype) for _ in range(3))
    with device.tf32(False):
        result = function(query, key, value)
    exact = [tensor.float().cpu().double() for tensor in (query, key, value)]
    weights = torch.softmax(exact[0] @ exact[1].transpose(-1, -2) / math.sqrt(_WIDTH), dim=-1)
    reference = weights @ exact[2]
    tolerance = 8.0 * _ATTENTION_ROUNDOFF[dtype] * (weights @ exact[2].abs())
    compare("attention", result, reference, tolerance)
    return None


def model(torch: Any) -> Any:
    """Return a small neural network: 784 inputs, 128 hidden units and 10 outputs.

    Its activation is tanh instead of ReLU: if rounding changed the sign of a ReLU's input, a whole row of gradients
    would change.
    """
    nn = torch.nn
    return nn.Sequential(nn.Linear(_FEATURES, _HIDDEN), nn.Tanh(), nn.Linear(_HIDDEN, _CLASSES))


def train(device: Device, dtype: str) -> str | None:
    """Train a small network for one step of SGD, and compare the loss and the new weights with float64 references.

    Each gradient may differ by 1/128 of the largest gradient of the same tensor, which allows for the roundoff of TF32
    (2**-11) over a few layers. TF32 is switched off here, but an image (TORCH_ALLOW_TF32_CUBLAS_OVERRIDE) or a launcher
    (NVIDIA_TF32_OVERRIDE) can force it on. Raises WrongResult if a difference exceeds its tolerance.
    """
    torch = device.torch
    network = model(torch)
    twin = model(torch).double()
    twin.load_state_dict(network.state_dict())
    network = network.to(device.name)
    images, labels = torch.randn(_BATCH, _FEATURES), torch.arange(_BATCH) % _CLASSES
    with device.tf32(False):
        loss = step(torch, network, images.to(device.name), labels.to(device.name))
    exact_loss = step(torch, twin, images.double(), labels)
    compare("loss", loss, exact_loss, torch.full_like(exact_loss, 2.0**-7) * exact_loss.abs())
    for (name, weight), (_, exact) in zip(network.named_parameters(), twin.named_parameters()):
        largest = exact.grad.abs().max()
        tolerance = torch.full_like(exact, float(_RATE * largest * 2.0**-7)) + 2.0**-22 * exact.detach().abs()
        compare(f"weights {name}", weight, exact.detach(), tolerance)
    return None


def step(torch: Any, network: Any, images: Any, labels: Any) -> Any:
    """Run forward pass, backward pass and one step of SGD; return the loss before that step."""
    optimizer = torch.optim.SGD(network.parameters(), lr=_RATE)
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    optimizer.step()
    return loss.detach()
