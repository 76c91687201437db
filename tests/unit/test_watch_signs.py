"""Signs of life of a watch: an open stream, a refused one, one that delivers nothing, and one that nobody asks for."""

import pytest

from gpuenv.controller.watch import signs
from gpuenv.controller.watch.signs import Signs


class Clock:
    """A clock that only the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(clock: Clock) -> Signs:
    """Return the signs of a watch that has listed all objects and is open."""
    one = Signs(clock)
    one.started()
    one.asked(for_list=True)
    assert not one.is_open()
    one.asked(for_list=False)
    assert one.opened()
    return one


def test_a_stream_that_is_opened_anew_every_few_minutes_is_no_problem(opened: Signs, clock: Clock) -> None:
    for _ in range(100):
        clock.now += 300
        assert not opened.is_asleep
        opened.asked(for_list=False)
        assert not opened.is_open()
        clock.now += 1
        assert not opened.opened()
        assert opened.problem == ""
        assert opened.is_open()


def test_a_refused_stream_is_a_problem_after_a_while_with_the_words_of_the_refusal(
    opened: Signs, clock: Clock
) -> None:
    opened.asked(for_list=False)
    opened.refused("the API server answered 403 Forbidden")
    assert not opened.is_open()
    assert opened.problem == ""
    for _ in range(3):
        clock.now += 10
        opened.asked(for_list=False)
        opened.refused("the API server answered 403 Forbidden")
    assert opened.problem == "not open for 30 s: the API server answered 403 Forbidden"
    assert not opened.is_asleep
    opened.opened()
    assert opened.problem == ""


def test_a_version_that_the_operator_wrote_itself_must_come_back(opened: Signs, clock: Clock) -> None:
    opened.delivered(10)
    opened.learned(12)
    clock.now += signs.ECHO_SECONDS
    assert not opened.is_silent
    clock.now += 1
    assert opened.is_silent
    assert opened.problem == "delivers nothing, although there are changes"
    opened.delivered(12)
    assert not opened.is_silent


def test_a_watch_that_lags_behind_many_writes_is_not_silent(opened: Signs, clock: Clock) -> None:
    for number in range(1000):
        opened.learned(number)
        opened.delivered(number // 2)
        clock.now += 1
    assert not opened.is_silent


def test_a_quiet_cluster_is_not_silent(opened: Signs, clock: Clock) -> None:
    opened.learned(5)
    opened.delivered(5)
    opened.learned(5)
    opened.learned(3)
    opened.learned(0)
    clock.now += 100
    assert not opened.is_silent


def test_an_object_that_no_list_shows_any_more_is_not_owed(opened: Signs, clock: Clock) -> None:
    """The operator wrote it, and it was deleted before the objects were listed anew."""
    opened.learned(50)
    opened.asked(for_list=True)
    opened.delivered(40)
    opened.opened()
    clock.now += 100
    assert not opened.is_silent


def test_what_came_while_the_stream_was_closed_is_owed_from_its_opening(opened: Signs, clock: Clock) -> None:
    opened.learned(50)
    opened.asked(for_list=False)
    clock.now += 100
    assert not opened.is_silent
    opened.opened()
    clock.now += signs.ECHO_SECONDS
    assert not opened.is_silent
    clock.now += 1
    assert opened.is_silent


def test_a_watch_that_nobody_asks_for_any_more_is_asleep(opened: Signs, clock: Clock) -> None:
    opened.asked(for_list=False)
    clock.now += signs.ASLEEP_SECONDS + 1
    assert opened.is_asleep
    opened.started()
    assert not opened.is_asleep


def test_a_stream_that_never_ends_is_a_forgotten_one(opened: Signs, clock: Clock) -> None:
    clock.now += signs.ENDLESS_SECONDS
    assert not opened.is_asleep
    clock.now += 1
    assert opened.is_asleep


def test_a_watch_is_missed_only_from_its_start(clock: Clock) -> None:
    one = Signs(clock)
    clock.now += 100
    assert one.problem == ""
    one.started()
    assert one.problem == ""
    clock.now += signs.TOLERATED_SECONDS
    assert one.problem.startswith("not open for 15 s")
