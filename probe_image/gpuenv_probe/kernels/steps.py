"""The steps of a kernels worker process: import torch, initialise CUDA, then one step per kernel and dtype."""

from __future__ import annotations

from typing import Any, Callable, Optional

from gpuenv_probe import failures, statuses
from gpuenv_probe.facts import torch_facts
from gpuenv_probe.failures import Failure
from gpuenv_probe.kernels import convolution, matmul, memory_and_streams, neural_network, runtime_compiled
from gpuenv_probe.kernels.device import Device, Skip
from gpuenv_probe.kernels.tolerances import WrongResult
from gpuenv_probe.step import Context, Partial, Step

Kernel = Callable[[Device, str], Optional[str]]

KERNELS: tuple[tuple[str, tuple[str, ...], float, Kernel], ...] = (
    ("alloc", ("",), 60.0, memory_and_streams.alloc),
    ("matmul", ("fp32", "tf32", "fp16", "bf16", "fp8"), 60.0, matmul.run),
    ("conv", ("fp32", "tf32", "fp16", "bf16"), 60.0, convolution.run),
    ("attention", ("fp32", "fp16", "bf16"), 60.0, neural_network.attention),
    ("train", ("fp32",), 60.0, neural_network.train),
    ("stream", ("",), 30.0, memory_and_streams.stream),
    ("torchscript", ("fp32",), 90.0, runtime_compiled.torchscript),
    ("jit", ("fp32",), 90.0, runtime_compiled.bessel),
)
"""The kernels that always run: for each its name, number formats, seconds per step, and function.

Every number format is one step; "" stands for a kernel without one. The function gets the device and the format. It
returns a detail for the probe report, or None.
"""
COMPILE = ("compile", ("fp32",), 180.0, runtime_compiled.torch_compile)
"""The kernel that runs only if the environment sets the feature ``Compile``; its fields are those of ``KERNELS``."""


def steps(job: dict[str, Any]) -> list[Step]:
    """Return the steps of the kernels worker process for one GPU.

    In the worker's job, ``gpu`` is the CUDA index of the GPU, and ``compile`` is true if ``COMPILE`` runs as well.
    """
    gpu = int(job.get("gpu", 0))
    table = [*KERNELS, COMPILE] if job.get("compile") else list(KERNELS)
    setup = [
        Step(
            "import torch",
            torch_facts.IMPORT_LIMIT,
            torch_facts.import_torch,
            torch_facts.import_failed,
            setup=True,
        ),
        Step("torch.cuda.init", 90.0, torch_facts.start_cuda, torch_facts.start_failed, setup=True),
    ]
    return setup + [
        Step(key(name, dtype), limit, _runner(kernel, name, dtype), _failure_reporter(gpu, name, dtype))
        for name, dtypes, limit, kernel in table
        for dtype in dtypes
    ]


def key(name: str, dtype: str) -> str:
    """Return the key that identifies the step of one kernel and dtype, such as ``matmul fp16``."""
    return f"{name} {dtype}".strip()


def _row(gpu: int, name: str, dtype: str, status: str, **more: Any) -> Partial:
    """Return a partial report with the result of one kernel step, as one row of the list ``steps``.

    ``more`` are further fields of the row. Fields that are empty or None are left out.
    """
    row = {"name": name, "gpu": gpu, "dtype": dtype, "status": status, **more}
    return {
        "steps": [{field: value for field, value in row.items() if value not in (None, "") or field == "gpu"}]
    }


def _runner(kernel: Kernel, name: str, dtype: str) -> Callable[[Context], Partial]:
    """Return the ``run`` function of a step, which runs one kernel and returns its result as a partial report.

    If an error leaves a GPU unusable that worked before, a new worker process is requested for the remaining steps.
    """

    def run(context: Context) -> Partial:
        device = context.found.get("device")
        if device is None:
            device = context.found["device"] = Device(
                context.found["torch"], context.device_kind, context.gpu
            )
        try:
            device.seed()
            detail = kernel(device, dtype)
            device.synchronize()
        except Skip as skip:
            return _row(context.gpu, name, dtype, statuses.SKIPPED, detail=str(skip))
        except WrongResult as wrong:
            return _row(context.gpu, name, dtype, statuses.WRONG, detail=str(wrong))
        except Exception as error:
            found = failures.of_exception(error)
            if device.kind == "cpu" and "not implemented for" in str(error):
                return _row(
                    context.gpu, name, dtype, statuses.SKIPPED, detail=f"this torch's CPU has no {dtype}"
                )
            context.restart = device.was_alive and not device.is_alive()
            return _row(context.gpu, name, dtype, statuses.FAIL, error=found)
        return _row(context.gpu, name, dtype, statuses.PASS, detail=detail)

    return run


def _failure_reporter(gpu: int, name: str, dtype: str) -> Callable[[Failure, str], Partial]:
    """Return the ``failed`` function of a kernel's step (see ``Step``).

    The function returns a partial report with one row: the step's outcome and the failure.
    """

    def failed(failure: Failure, outcome: str) -> Partial:
        return _row(gpu, name, dtype, outcome, error=failure)

    return failed
