"""What an image reports never keeps a status from being stored, and a refused result leaves no old verdict behind."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.cluster import Kubectl
from tests.support.condition_states import refuse_results
from tests.support.operator_process import (
    ENVIRONMENTS,
    T4,
    apply,
    find,
    nodes,
    operator,
    probe_pods,
    report,
    started,
    until_labelled,
)
from tests.support.wait import wait_until_async

from gpuenv.api import names
from gpuenv.plan.objects.node_report import read
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.fleet import probe_reports

HONEST_FACTS, HONEST_KERNELS = probe_reports.facts, probe_reports.kernels
LONG = ["m" * 251, "m" * 500, "\U0001f600" * 400, "\x00\n" * 200]


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    yield from started()


def ask_again(plane: ControlPlane, environment: str, token: str) -> None:
    body = {"metadata": {"annotations": {names.ANNOTATION_REVALIDATE: token}}}
    plane.admin.merge(f"{ENVIRONMENTS}/{environment}", body)


async def test_a_long_text_does_not_freeze_a_verdict(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image passes once, and later names its machine in more characters than the schema has for a platform."""
    with operator(plane) as running:
        async with nodes(plane, T4) as (_, found):
            environment = apply(plane, found)
            await until_labelled(plane, environment, found, "Compatible", running)
            for number, machine in enumerate(LONG):
                breaks = number % 2 == 0

                def facts(*given: Any, machine: str = machine) -> Any:
                    honest = HONEST_FACTS(*given)
                    return honest | {
                        "container": honest["container"] | {"machine": machine, "python": machine}
                    }

                def kernels(*given: Any, breaks: bool = breaks) -> Any:
                    honest = HONEST_KERNELS(*given)
                    worse = {"status": "Fail", "detail": "no kernel image is available"}
                    return honest | {"steps": [one | worse for one in honest["steps"]]} if breaks else honest

                monkeypatch.setattr(probe_reports, "facts", facts)
                monkeypatch.setattr(probe_reports, "kernels", kernels)
                ask_again(plane, environment, str(number))
                verdict = "Incompatible" if breaks else "Compatible"
                await until_labelled(plane, environment, found, verdict, running)

                def is_told(number: int = number, verdict: str = verdict) -> bool:
                    status = find(plane, f"{ENVIRONMENTS}/{environment}")["status"]
                    return (
                        status.get("observedRevalidate") == str(number)
                        and status["summary"][verdict.lower()] == 1
                        and not probe_pods(plane, environment)
                    )

                await wait_until_async(is_told, running.tail)
                stored = report(plane, environment, found[0])
                assert read(stored).verdict == verdict
                assert len(stored["status"]["image"]["platform"]) <= 256
        assert " 422 " not in running.log, running.log


async def test_a_refused_result_takes_the_old_verdict_back(plane: ControlPlane) -> None:
    with operator(plane) as running:
        async with nodes(plane, T4) as (_, found):
            environment = apply(plane, found)
            await until_labelled(plane, environment, found, "Compatible", running)
            refuse_results(plane, environment)
            ask_again(plane, environment, "1")
            await until_labelled(plane, environment, found, "Unknown", running)
            await wait_until_async(
                lambda: read(report(plane, environment, found[0])).reason == "ReportRefused", running.tail
            )
            metrics = running.page("metrics")[1]
            assert 'gpuenv_refused_writes_total{kind="GPUNodeReport"}' in metrics
            Kubectl(plane)("delete", "validatingadmissionpolicybinding", f"no-{environment}")
            await until_labelled(plane, environment, found, "Compatible", running)
