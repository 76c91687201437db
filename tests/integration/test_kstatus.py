"""The program that computes kstatus, with objects written by hand."""

from typing import Any

import pytest
from tests.support import builders
from tests.support.kstatus import KStatus


def environment(generation: int = 3, observed: int | None = 3, **conditions: str) -> dict[str, Any]:
    """Return an environment with these conditions: their types as keywords, their statuses as values."""
    status: dict[str, Any] = {} if observed is None else {"observedGeneration": observed}
    status["conditions"] = [
        {"type": kind, "status": value, "reason": "Reason", "message": f"{kind} is {value}"}
        for kind, value in conditions.items()
    ]
    return builders.environment(metadata={"generation": generation}) | {"status": status}


NO_STATUS = builders.environment(metadata={"generation": 1})
DELETED = builders.environment(metadata={"generation": 1, "deletionTimestamp": "2026-01-01T00:00:00Z"})


@pytest.mark.parametrize(
    ("found", "status", "message"),
    [
        (NO_STATUS, "Current", "Resource is current"),
        (environment(1, -1, Ready="Unknown"), "InProgress", "latest observed generation is -1"),
        (environment(3, 2, Ready="True"), "InProgress", "latest observed generation is 2"),
        (environment(Ready="Unknown"), "InProgress", "Ready is Unknown"),
        (environment(Ready="False", Stalled="False"), "InProgress", "Ready is False"),
        (environment(Ready="False", Stalled="True"), "Failed", "Stalled is True"),
        (environment(Ready="True", Stalled="False"), "Current", "Resource is Ready"),
        (environment(Compatible="False"), "Current", "Resource is current"),
        (environment(observed=None, Ready="False"), "InProgress", "Ready is False"),
        (DELETED, "Terminating", "Resource scheduled for deletion"),
    ],
)
def test_one_object(kstatus: KStatus, found: dict[str, Any], status: str, message: str) -> None:
    (result,) = kstatus([found])
    assert result.status == status
    assert message in result.message


def test_results_are_in_the_order_of_the_objects(kstatus: KStatus) -> None:
    found = [environment(Ready=value) for value in ("True", "False", "True")]
    assert [one.status for one in kstatus(found)] == ["Current", "InProgress", "Current"]
    assert kstatus([]) == []
