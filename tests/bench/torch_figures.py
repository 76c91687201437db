"""Measure the probe's MatMul and DeviceMemory figures with torch.utils.benchmark, to compare the two.

Run it with ``python torch_figures.py "MatMul FP16" DeviceMemory``. It prints one JSON list. gpu_session.py starts it in a
separate process, so that it and the probe do not hold the GPU at the same time. The shapes are those of docs/probe.md.
TFLOPS count 2 n^3 operations, and GB/s count the bytes read and the bytes written.
"""

from __future__ import annotations

import json
import sys
from typing import Any

SETTLE_SECONDS = 1.0
"""Seconds of calls before the timed ones, so that the clocks settle."""
MEASURE_SECONDS = 1.0
"""Seconds of timed calls."""
_LARGE_GPU_BYTES = 16 * 1000**3
_NAMES = {"FP16": "float16", "BF16": "bfloat16", "FP8": "float8_e4m3fn"}

Given = dict[str, Any]


def measure(torch: Any, names: list[str], device: str, size: int, copied: int) -> list[Given]:
    """Return each named figure as ``value``, or a ``detail`` if torch refuses.

    ``size`` is that of the square matrices, and ``copied`` the bytes of the copy.
    """
    rows = []
    for name in names:
        benchmark, _, dtype = name.partition(" ")
        shape = f"{copied >> 20} MiB" if benchmark == "DeviceMemory" else f"{size} x {size}"
        try:
            if benchmark == "DeviceMemory":
                value = 2e-9 * copied / seconds("target.copy_(source)", _copy(torch, device, copied))
            else:
                torch.backends.cuda.matmul.allow_tf32 = dtype == "TF32"
                value = 2e-12 * size**3 / seconds(*_product(torch, device, dtype, size))
            rows.append({"name": name, "shape": shape, "value": value})
        except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
            rows.append({"name": name, "shape": shape, "detail": str(error).split("\n", maxsplit=1)[0][:160]})
    return rows


def _copy(torch: Any, device: str, copied: int) -> Given:
    """Return the variables of the statement that copies."""
    source = torch.randn(copied // 4, device=device)
    return {"source": source, "target": torch.empty_like(source)}


def _product(torch: Any, device: str, dtype: str, size: int) -> tuple[str, Given]:
    """Return the statement that multiplies two matrices, and its variables."""
    kind = getattr(torch, _NAMES.get(dtype, "float32"))
    left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    if dtype == "FP8":
        one = torch.ones((), device=device)
        statement = "torch._scaled_mm(left, right, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)"
        return statement, {"torch": torch, "left": left, "right": right.t().contiguous().t(), "one": one}
    out = torch.empty(size, size, device=device, dtype=kind)
    return "torch.mm(left, right, out=out)", {"torch": torch, "left": left, "right": right, "out": out}


def seconds(statement: str, given: Given) -> float:
    """Return the median seconds of one call of ``statement``; ``given`` holds its variables."""
    from torch.utils import benchmark  # noqa: PLC0415 - gpu_session's tests import this module without torch

    timer = benchmark.Timer(statement, globals=given)
    timer.blocked_autorange(min_run_time=SETTLE_SECONDS)
    return float(timer.blocked_autorange(min_run_time=MEASURE_SECONDS).median)


def main(names: list[str]) -> int:
    """Measure the named figures on the first GPU and print them."""
    import torch  # noqa: PLC0415 - gpu_session's tests import this module without torch

    properties = torch.cuda.get_device_properties(0)
    small = properties.total_memory < _LARGE_GPU_BYTES or (properties.major, properties.minor) < (7, 0)
    free, _ = torch.cuda.mem_get_info(0)
    copied = min(1024**3, free // 4) // 4 * 4
    print(json.dumps(measure(torch, names, "cuda:0", 4096 if small else 8192, copied)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
