"""cuDNN convolutions in every number format that the GPU supports."""

from __future__ import annotations

from gpuenv_probe.kernels.device import Device
from gpuenv_probe.kernels.tolerances import FORMATS, compare, inner_product_tolerance

_BATCH, _CHANNELS, _SIDE, _KERNEL = 8, 32, 16, 3
_WINOGRAD = 8.0
"""The factor by which the tolerance is enlarged, because cuDNN may choose a Winograd algorithm.

The error of such an algorithm is several times the error of a direct summation (Barabasz et al., "Error analysis and
improving the accuracy of Winograd convolution", ACM TOMS 2020).
"""


def run(device: Device, dtype: str) -> str | None:
    """Compute a 3x3 convolution of a batch of images, and compare the last image of the result with a reference.

    The reference is computed in float64 on the CPU. Raises WrongResult if the difference exceeds the tolerance.
    """
    torch = device.torch
    torch_dtype = device.dtype(dtype)
    images = device.random(_BATCH, _CHANNELS, _SIDE, _SIDE, dtype=torch_dtype)
    weights = device.random(_CHANNELS, _CHANNELS, _KERNEL, _KERNEL, dtype=torch_dtype)
    with device.tf32(dtype == "tf32"):
        result = torch.nn.functional.conv2d(images, weights, padding=1)
    some = [_BATCH - 1]
    exact_images, exact_weights = images.float().cpu()[some].double(), weights.float().cpu().double()
    reference = torch.nn.functional.conv2d(exact_images, exact_weights, padding=1)
    magnitude = torch.nn.functional.conv2d(exact_images.abs(), exact_weights.abs(), padding=1)
    length = _CHANNELS * _KERNEL * _KERNEL
    form = FORMATS[device.precision_of(dtype)]
    compare(
        "conv",
        result[some],
        reference,
        inner_product_tolerance(form, length, magnitude, reference, _WINOGRAD),
    )
    return None
