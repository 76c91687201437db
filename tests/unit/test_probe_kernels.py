"""How a kernel's step is run, whatever it computes."""

from __future__ import annotations

from typing import Any

from gpuenv_probe.kernels import steps
from gpuenv_probe.step import Context


class Device:
    """Notes what is asked of it."""

    kind = "cuda"
    was_alive = True

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *given: self.calls.append(name)


def test_every_step_draws_the_same_numbers_whatever_ran_before() -> None:
    device = Device()
    context = Context({})
    context.found["device"] = device

    def kernel(given: Any, dtype: str) -> None:
        given.random()

    for name in ("matmul", "train"):
        partial = steps._runner(kernel, name, "fp32")(context)
        assert partial["steps"][0]["status"] == "Pass"
    assert device.calls == ["seed", "random", "synchronize"] * 2
