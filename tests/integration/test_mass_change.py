"""A driver roll-out on all nodes at once: their labels are held back until somebody accepts that."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.cluster import Kubectl
from tests.support.operator_process import (
    ENVIRONMENTS,
    T4,
    OperatorProcess,
    apply,
    label,
    nodes,
    operator,
    report,
    started,
    until_labelled,
)
from tests.support.wait import wait_until_async

from gpuenv_sandbox.control_plane.cluster import ControlPlane

COUNT = 6
ALLOWED = 2
"""How many of the nodes may leave Compatible without being asked for."""
TOO_OLD = "450.80.02"
"""A driver with which the image cannot run."""


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    yield from started()


def status(plane: ControlPlane, environment: str) -> Any:
    return plane.admin.get(f"{ENVIRONMENTS}/{environment}")["status"]


def published(plane: ControlPlane, environment: str) -> Any:
    return next(one for one in status(plane, environment)["conditions"] if one["type"] == "Published")


def compatible(plane: ControlPlane, environment: str, found: list[str]) -> list[str]:
    """Return the names of the nodes with the label Compatible."""
    return sorted(node for node in found if label(plane, node, environment) == "Compatible")


async def until_held(
    plane: ControlPlane, environment: str, found: list[str], running: OperatorProcess
) -> Any:
    """Wait until all reports have followed the new driver and a status counts them, and return that status."""

    def reached() -> Any:
        verdicts = {report(plane, environment, node)["status"]["verdict"] for node in found}
        now = status(plane, environment)
        return verdicts == {"Incompatible"} and now["summary"]["incompatible"] == COUNT and now

    return await wait_until_async(reached, lambda: (status(plane, environment), running.tail()))


async def test_a_driver_roll_out_holds_labels_back_until_it_is_accepted(plane: ControlPlane) -> None:
    async with nodes(plane, *[T4] * COUNT) as (fleet, found):
        with operator(plane) as running:
            environment = apply(plane, found, strategy={"maxConcurrent": COUNT})
            await until_labelled(plane, environment, found, "Compatible", running)
            await asyncio.gather(*(fleet.change(node, driver=TOO_OLD) for node in found))
            told = await until_held(plane, environment, found, running)

            # The nodes get their drivers one after another, so that the first may have changed before.
            held = compatible(plane, environment, found)
            assert len(held) >= COUNT - ALLOWED
            change = told["massChange"]
            assert (change["nodes"], change["nodeCount"]) == (held, len(held))
            assert f"driver {T4['driver']} -> {TOO_OLD} ({COUNT})" in change["message"]
            seen = published(plane, environment)
            assert (seen["status"], seen["reason"]) == ("False", "MassChange")
            assert (
                f'gpuenv_labels_held_back{{environment="{environment}"}} {len(held)}.0'
                in running.page("metrics")[1]
            )

        with operator(plane) as running:
            await wait_until_async(running.is_ready)
            await until_held(plane, environment, found, running)
            assert compatible(plane, environment, found) == held
            assert status(plane, environment)["massChange"]["id"] == change["id"]

            command = seen["message"].rpartition("kubectl ")[2].split()
            await asyncio.to_thread(Kubectl(plane), *command)
            await until_labelled(plane, environment, found, "Incompatible", running)
            await wait_until_async(lambda: published(plane, environment)["status"] == "True", running.tail)
            assert "massChange" not in status(plane, environment)
