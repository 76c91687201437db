"""What several unit tests count."""

from typing import Any

import pytest

from gpuenv.assess.engine import assess
from gpuenv.plan.validation import assessing


@pytest.fixture
def assessments(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the assessments, one item each."""
    counted: list[int] = []

    def counting(*args: Any, **named: Any) -> Any:
        counted.append(1)
        return assess(*args, **named)

    monkeypatch.setattr(assessing, "assess", counting)
    return counted
