"""What is said of a run that the probe pod's read-only root file system may have ended or changed."""

from typing import Any

import pytest
from tests.support import builders
from tests.support.world import World

from gpuenv.api import check_names, reasons
from gpuenv.assess.model import Check, Status

CURE = "set spec.probe.rootFilesystem: Writable"


def world(**probe: Any) -> World:
    """Return a world in which the first run of an environment with these settings of its probe has begun."""
    made = World()
    made.environment(probe=probe)
    made.node()
    made.settle()
    return made


def die(made: World, message: str, code: int = 1) -> tuple[str, str]:
    """Let the first stage end like this, and return the reason and the message that the node report then has."""
    ended = builders.terminated(message, code=code, at=made.now)
    made.pod("Failed", scheduled=made.now, sandbox=made.now, facts=ended)
    made.settle()
    result = made.report().result
    assert result is not None and result.verdict == "Unknown"
    return result.reason, result.message


@pytest.mark.parametrize("probe", [{}, {"useEntrypoint": True}])
@pytest.mark.parametrize("code", [0, 1])
def test_last_words_that_name_the_read_only_root(probe: dict[str, Any], code: int) -> None:
    """An entry point can write them to the termination log: nothing else of its output is read."""
    words = "cp: cannot create regular file '/etc/app.conf': Read-only file system"
    assert die(world(**probe), words, code)[0] == reasons.ReadOnlyFilesystem
    assert die(world(rootFilesystem="Writable", **probe), words, code)[0] in (
        reasons.ProbeCrashed,
        reasons.ReportInvalid,
    )


def test_without_last_words_the_message_says_where_to_look() -> None:
    reason, message = die(world(useEntrypoint=True), "")
    assert reason == reasons.ProbeCrashed
    assert "kubectl logs" in message
    assert CURE in message
    assert CURE not in die(world(useEntrypoint=True, rootFilesystem="Writable"), "")[1]


def notes(made: World, *, read_only: bool | None, missing: bool) -> list[Check]:
    """End the run well, or with an image without torch, and return the checks that name the read-only root."""
    run = made.run_id()
    container = {"python": "3.11.7"} | ({} if read_only is None else {"rootReadOnly": read_only})
    torch = {"torch": {"missing": True}} if missing else {}
    made.finish(facts=builders.facts_report(run, container=container, **torch))
    made.settle()
    result = made.report().result
    assert result is not None
    assert (result.verdict == "Incompatible") is missing
    return [check for check in result.checks if check.reason == reasons.ReadOnlyFilesystem]


def test_a_failure_behind_an_entry_point_that_could_not_write_is_noted() -> None:
    """The entry point may have failed to prepare the image, and nobody can know it from the report."""
    noted = notes(world(useEntrypoint=True), read_only=True, missing=True)
    assert [(check.name, check.status) for check in noted] == [(check_names.PROBE_POD, Status.NOTE)]
    assert CURE in noted[0].message


@pytest.mark.parametrize(
    ("probe", "read_only", "missing"),
    [
        ({"useEntrypoint": True}, True, False),
        ({"useEntrypoint": True}, None, True),
        ({"useEntrypoint": True, "rootFilesystem": "Writable"}, False, True),
        ({}, True, True),
    ],
    ids=["nothing failed", "an older probe", "writable", "no entry point"],
)
def test_nothing_is_noted_where_it_cannot_be_the_cause(
    probe: dict[str, Any], read_only: bool | None, missing: bool
) -> None:
    assert not notes(world(**probe), read_only=read_only, missing=missing)
