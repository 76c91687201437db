"""Each kind of worker that the parent starts has steps, and each step says what its death means."""

from typing import Any

import pytest

from gpuenv_probe.processes import worker_kinds


@pytest.mark.parametrize(
    ("kind", "job", "first"),
    [
        ("driver", {}, "start"),
        ("torch", {}, "import torch"),
        ("kernels", {"gpu": 0}, "import torch"),
        ("benchmarks", {"gpu": 0, "profile": "Quick"}, "import torch"),
        ("imports", {"imports": ["flash_attn"]}, "import:flash_attn"),
    ],
)
def test_every_kind_of_worker_has_steps(kind: str, job: dict[str, Any], first: str) -> None:
    steps = worker_kinds.steps_of(kind, job)
    assert steps[0].key == first
    assert len({step.key for step in steps}) == len(steps), "the parent tells steps apart by their keys"
    for step in steps:
        assert isinstance(step.failed({"layer": "signal", "code": 11}, "Crashed"), dict)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(KeyError):
        worker_kinds.steps_of("raw", {})
