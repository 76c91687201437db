"""One device as the kernels see it: what it can do natively, random inputs, and whether it still answers."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Iterator

_SINCE = {"fp16": (5, 3), "bf16": (8, 0), "tf32": (8, 0), "fp8": (8, 9)}
"""First compute capability with the format in hardware.

torch emulates bf16 below, nine times slower, and says it is supported.
https://docs.nvidia.com/cuda/cuda-c-programming-guide/#features-and-technical-specifications
"""
_NAMES = {"fp32": "float32", "tf32": "float32", "fp16": "float16", "bf16": "bfloat16", "fp8": "float8_e4m3fn"}
_SEED = 20231
_TF32_SWITCHES = ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")


class Skip(Exception):
    """The step has no meaning here; the text says why."""


class Device:
    """A GPU (or, to exercise the kernels, the CPU) with the torch that drives it."""

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
        """The random numbers from here on are always the same, whatever ran before."""
        self.torch.manual_seed(_SEED)

    def is_alive(self) -> bool:
        """Whether the simplest kernel works. After a sticky error nothing does, until a new process comes."""
        try:
            value = self.torch.ones(4, device=self.name) + 1
            self.synchronize()
            return bool(float(value.sum().cpu()) == 8.0)
        except Exception:
            return False

    def synchronize(self) -> None:
        """Waits for the device, so that an error shows in the step that made it."""
        if self.kind == "cuda":
            self.torch.cuda.synchronize()

    def free_cache(self) -> None:
        """Gives back to the GPU what torch keeps for later."""
        if self.kind == "cuda":
            self.torch.cuda.empty_cache()

    def dtype(self, name: str) -> Any:
        """torch's dtype for a format; raises Skip where device or torch do not have it natively."""
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
        """Random-normal values, the same on every run: made on the CPU, for no two GPUs draw alike."""
        values = self.torch.randn(*shape)
        return values.to(dtype).to(self.name) if dtype is not None else values.to(self.name)

    def rows(self, count: int, of: int) -> list[int]:
        """``count`` row numbers spread over ``of`` rows, first and last among them."""
        return sorted({round(step * (of - 1) / (count - 1)) for step in range(count)})

    @contextlib.contextmanager
    def tf32(self, allowed: bool) -> Iterator[None]:
        """Within it, matmul and cuDNN may (or may not) round fp32 inputs to TF32."""
        matmul, cudnn = self.torch.backends.cuda.matmul, self.torch.backends.cudnn
        before = (matmul.allow_tf32, cudnn.allow_tf32)
        matmul.allow_tf32 = cudnn.allow_tf32 = allowed
        try:
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before

    def precision_of(self, dtype: str) -> str:
        """The format to judge by: fp32 counts as tf32 where the environment forces TF32 on everybody."""
        forced = any(os.environ.get(name) == "1" for name in _TF32_SWITCHES)
        capable = self.capability is not None and self.capability >= _SINCE["tf32"]
        return "tf32" if dtype == "fp32" and forced and capable else dtype
