"""The API server's clock, read from the headers of its answers."""

from email.utils import formatdate
from typing import Any

import pytest

from gpuenv.controller.kube.server_clock import ANSWERS_KEPT, ServerClock

START = 1_800_000_000.0


class Machine:
    """A machine with two clocks, and an API server whose clock is ``ahead`` of the true time."""

    def __init__(self, ahead: float) -> None:
        self.now = 0.0
        self.ahead = ahead
        self.clock_error = 0.0
        self.server = ServerClock(lambda: self.now, lambda: START + self.now + self.clock_error)

    def ask(
        self, *, to: float = 0.05, back: float = 0.05, pause: float = 2.3, ahead: float | None = None
    ) -> None:
        """Send a request that takes so long on its way to the API server and back."""
        sent = self.now
        self.now += to
        written = START + self.now + (self.ahead if ahead is None else ahead)
        self.now += back
        self.server.answered(formatdate(int(written), usegmt=True), sent)
        self.now += pause

    @property
    def skew(self) -> float:
        found = self.server.skew
        assert found is not None
        return found


@pytest.mark.parametrize("ahead", [0.0, 0.4, -12.3, 300.0, -86_400.0])
def test_the_difference_is_measured_to_less_than_a_second(ahead: float) -> None:
    machine = Machine(ahead)
    machine.ask()
    assert machine.skew == pytest.approx(-ahead, abs=0.6)
    for _ in range(20):
        machine.ask()
    assert machine.skew == pytest.approx(-ahead, abs=0.2)
    assert machine.server.time == pytest.approx(START + machine.now + ahead, abs=0.2)


def test_slow_answers_disturb_nothing() -> None:
    machine = Machine(40.0)
    for turn in range(60):
        slow: dict[str, Any] = [{"to": 25.0}, {"back": 25.0}, {}][turn % 3]
        machine.ask(**slow)
    assert machine.skew == pytest.approx(-40.0, abs=0.3)


def test_one_of_three_api_servers_with_a_wrong_clock_is_outvoted() -> None:
    machine = Machine(0.0)
    for turn in range(60):
        machine.ask(ahead=300.0 if turn % 3 == 0 else None)
        if turn > 3:
            assert machine.skew == pytest.approx(0.0, abs=0.6)


def test_a_clock_that_is_set_is_seen() -> None:
    machine = Machine(0.0)
    for _ in range(ANSWERS_KEPT):
        machine.ask()
    machine.clock_error = 3600.0
    assert machine.skew == pytest.approx(3600.0, abs=0.2), "this machine's clock: at once"
    assert machine.server.time == pytest.approx(START + machine.now, abs=0.2)
    machine.clock_error = 0.0
    machine.ahead = 600.0
    for _ in range(ANSWERS_KEPT):
        machine.ask()
    assert machine.skew == pytest.approx(-600.0, abs=0.2), "the API server's: after some answers"


def test_a_burst_of_requests_counts_as_one_answer() -> None:
    machine = Machine(0.0)
    for _ in range(10):
        machine.ask()
    for _ in range(500):
        machine.ask(to=0.0005, back=0.0005, pause=0.0, ahead=120.0)
    assert machine.skew == pytest.approx(0.0, abs=0.3)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Fri, 99 Foo 2026 99:99:99 GMT", "\x00" * 100])
def test_without_a_date_nothing_is_known(date: str | None) -> None:
    clock = ServerClock(lambda: 1.0, lambda: START)
    clock.answered(date, 0.0)
    assert (clock.time, clock.skew) == (None, None)
