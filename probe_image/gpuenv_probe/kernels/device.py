"""The device that kernels run on: its native number formats, random inputs, and whether it still works."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Iterator

_SINCE = {"fp16": (5, 3), "bf16": (8, 0), "tf32": (8, 0), "fp8": (8, 9)}
"""The first compute capability that supports each number format in hardware.

On older GPUs torch emulates bf16, nine times slower, and reports it as supported.
https://docs.nvidia.com/cuda/cuda-c-programming-guide/#features-and-technical-specifications
"""
_NAMES = {"fp32": "float32", "tf32": "float32", "fp16": "float16", "bf16": "bfloat16", "fp8": "float8_e4m3fn"}
_SEED = 20231
_TF32_SWITCHES = ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")
"""Environment variables that force TF32 for fp32 computations if they are set to 1."""


class Skip(Exception):
    """The step cannot run on this device or with this torch. The message is the reason that the report states."""


class Device:
    """A GPU and the torch module that computes on it, or the CPU, on which tests exercise the kernels.

    ``kind`` is ``cuda`` or ``cpu``, and ``index`` is the CUDA index of the GPU.
    """

    def __init__(self, torch: Any, kind: str, index: int) -> None:
        self.torch = torch
        self.kind = kind
        self.index = index
        self.name = "cpu" if kind == "cpu" else f"cuda:{index}"
        self.capability: tuple[int, int] | None = None
        if kind == "cuda":
            self.capability = tuple(torch.cuda.get_device_capability(index))
            torch.cuda.set_device(index)
        self.was_alive = self.is_alive()

    def seed(self) -> None:
        """Seed torch's random generator, so that a step draws the same numbers in every run.

        The numbers do not depend on the steps before it, because every step is seeded.
        """
        self.torch.manual_seed(_SEED)

    def is_alive(self) -> bool:
        """Return whether a trivial kernel works. After a sticky CUDA error, every kernel of this process fails."""
        try:
            value = self.torch.ones(4, device=self.name) + 1
            self.synchronize()
            return bool(float(value.sum().cpu()) == 8.0)
        except Exception:
            return False

    def synchronize(self) -> None:
        """Wait for the device, so that an asynchronous error appears in the step that caused it."""
        if self.kind == "cuda":
            self.torch.cuda.synchronize()

    def free_cache(self) -> None:
        """Release the GPU memory that torch caches."""
        if self.kind == "cuda":
            self.torch.cuda.empty_cache()

    def dtype(self, name: str) -> Any:
        """Return torch's dtype of a number format. Raises Skip if the device or torch does not have it natively."""
        torch_name = _NAMES[name]
        if not hasattr(self.torch, torch_name):
            raise Skip(f"this torch has no {torch_name}")
        since = _SINCE.get(name)
        if self.kind == "cpu" and name in ("tf32", "fp8"):
            raise Skip(f"a CPU has no {name}")
        if self.capability is not None and since is not None and self.capability < since:
            major, minor = self.capability
            raise Skip(f"compute capability {major}.{minor} has no {name} in hardware")
        return getattr(self.torch, torch_name)

    def random(self, *shape: int, dtype: Any = None) -> Any:
        """Return normally distributed random numbers as a tensor on the device.

        They are drawn on the CPU, because different GPU models draw different numbers from the same seed.
        """
        values = self.torch.randn(*shape)
        return values.to(dtype).to(self.name) if dtype is not None else values.to(self.name)

    def rows(self, count: int, of: int) -> list[int]:
        """Return ``count`` row numbers of a matrix with ``of`` rows, spread evenly from the first to the last.

        Comparing only these rows with a reference saves time.
        """
        return sorted({round(step * (of - 1) / (count - 1)) for step in range(count)})

    @contextlib.contextmanager
    def tf32(self, allowed: bool) -> Iterator[None]:
        """Return a context manager: in its with block, torch may (``allowed``) or must not compute fp32 in TF32.

        This concerns the matrix products and the convolutions of cuDNN.
        """
        matmul, cudnn = self.torch.backends.cuda.matmul, self.torch.backends.cudnn
        before = (matmul.allow_tf32, cudnn.allow_tf32)
        matmul.allow_tf32 = cudnn.allow_tf32 = allowed
        try:
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before

    def precision_of(self, dtype: str) -> str:
        """Return the number format whose tolerance applies to results in ``dtype``.

        It is tf32 instead of fp32 if an environment variable forces TF32, and ``dtype`` otherwise.
        """
        forced = any(os.environ.get(name) == "1" for name in _TF32_SWITCHES)
        capable = self.capability is not None and self.capability >= _SINCE["tf32"]
        return "tf32" if dtype == "fp32" and forced and capable else dtype
