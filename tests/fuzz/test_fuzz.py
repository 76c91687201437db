"""A short run of the fuzzer, and every input that once broke something. `make fuzz MINUTES=n` runs it for longer."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.campaign import FOUND, Campaign, random_inputs, targets

TARGETS = {name: target for name, (target, _) in targets().items()}
INPUTS = 1500
"""How many random inputs the short run has, over all targets."""


def test_random_inputs_break_nothing() -> None:
    """The seed differs from run to run, so that many short runs are a long one. It is printed if anything fails."""
    seed = random.SystemRandom().randrange(2**32)
    campaign = Campaign()
    random_inputs(campaign, seed, INPUTS, time.monotonic() + 600)
    assert not campaign.failures, f"seed {seed}: {campaign.failures[0]}"
    assert campaign.inputs.total() == INPUTS


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_that_hypothesis_chooses_break_nothing(name: str) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=200))
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()


def found() -> Iterator[tuple[str, Path]]:
    """Yield the target and the file of each input that once broke something."""
    for path in sorted(FOUND.glob("*/*.hex")):
        yield path.parent.name, path


@pytest.mark.parametrize(("name", "path"), list(found()))
def test_what_once_broke_something_does_not_any_more(name: str, path: Path) -> None:
    TARGETS[name](bytes.fromhex(path.read_text(encoding="ascii").strip()))
