"""Durations on the command line: what is read, how it is shown, and the one line for everything else."""

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gpuenv.cli import main
from gpuenv.cli.shared import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("0", 0), ("1.5", 1.5), ("90s", 90), ("0s", 0), ("30m", 1800), ("1h30m", 5400), ("1h5s", 3605),
        ("1.5h", 5400), ("2h0m30.5s", 7230.5),
    ],
)  # fmt: skip
def test_durations_are_those_of_kubectl_and_bare_seconds(text: str, seconds: float) -> None:
    assert durations.parse(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "-1", "-5m", "+5m", "m", "30 m", "30M", "1d", "5m1h", "1h30", "h1", "nan", "inf", "1e3", "٣m", "5m\n"]
)  # fmt: skip
def test_anything_else_is_no_duration(text: str) -> None:
    assert durations.parse(text) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.5, "0.5s"), (90, "90s"), (120, "2m"), (125, "2m5s"), (3600, "1h"), (5400, "1h30m"), (90061, "25h1m1s")],
)  # fmt: skip
def test_a_duration_is_shown_as_it_can_be_given(seconds: float, text: str) -> None:
    assert durations.show(seconds) == text
    assert durations.parse(text) == seconds


@given(st.integers(0, 10**7))
def test_whole_seconds_survive_being_shown(seconds: int) -> None:
    assert durations.parse(durations.show(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (10**6, "11d")]
)  # fmt: skip
def test_an_age_is_coarse(seconds: float, text: str) -> None:
    assert durations.age(seconds) == text


@pytest.mark.parametrize("command", ["wait", "uninstall", "sandbox"])
def test_every_timeout_is_a_duration_and_refused_in_one_line(command: str) -> None:
    arguments = [command, *(["e"] if command == "wait" else []), "--timeout", "half an hour"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert result.stderr == (
        f"gpuenv {command}: Invalid value for '--timeout': 'half an hour' is no duration: "
        "write 90s, 30m, 1h30m, or a number of seconds\n"
    )


def test_a_duration_that_is_too_short_is_refused_with_the_least() -> None:
    result = CliRunner().invoke(main, ["uninstall", "--timeout", "0s"])
    assert result.exit_code == 2
    assert "'--timeout': '0s' is too short: write 1s or more" in result.stderr
