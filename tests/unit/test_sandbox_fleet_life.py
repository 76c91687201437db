"""The life of pods on simulated nodes, as their kubelets report it; and the nodes themselves."""

from typing import Any

import pytest

from gpuenv_probe import codec
from gpuenv_sandbox.fleet import node_objects
from gpuenv_sandbox.fleet.pod_life import PodLife, probe_stage
from gpuenv_sandbox.scenario.hardware import PRODUCTS
from gpuenv_sandbox.scenario.model import Fault, Pace, Platform, SimulatedImage, SimulatedNode

PACE = Pace(setup=1.0, pull=2.0, facts=3.0, kernels=4.0)


def machine(**more: Any) -> SimulatedNode:
    return SimulatedNode(
        **{
            "name": "n1",
            "product": "NVIDIA L4",
            "gpus": 4,
            "driver": "570.124.06",
            "hardware": PRODUCTS["NVIDIA L4"],
            "advertised": 4,
        }
        | more
    )


def container(stage: str) -> dict[str, Any]:
    return {
        "name": stage,
        "image": "pytorch/pytorch:2.9.1",
        "command": ["python3", "/opt/gpuenv/gpuenv-probe.pyz", stage],
        "env": [{"name": "GPUENV_RUN", "value": "r7"}],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }


def probe_pod() -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "gpuenv-probes", "uid": "u1"},
        "spec": {
            "nodeName": "n1",
            "initContainers": [container("facts")],
            "containers": [container("kernels")],
        },
    }


class Clock:
    """Counts the times it was asked."""

    def __init__(self) -> None:
        self.ticks = 0

    def __call__(self) -> str:
        self.ticks += 1
        return f"2026-01-01T00:00:{self.ticks:02}Z"


def play(
    fault: Fault | None = None, image: SimulatedImage | None = None, **more: Any
) -> tuple[PodLife, list[Any]]:
    """The whole life, or its first 20 beats."""
    life = PodLife(
        probe_pod(), machine(fault=fault, **more), image or SimulatedImage(), pace=PACE, clock=Clock()
    )
    beats = [beat for _, beat in zip(range(20), life.beats(), strict=False)]
    return life, beats


def statuses(beats: list[Any]) -> list[Any]:
    return [beat for beat in beats if isinstance(beat, dict)]


def ended(status: Any, name: str = "kernels") -> Any:
    listed = status["containerStatuses"] + status.get("initContainerStatuses", [])
    return next(entry for entry in listed if entry["name"] == name)["state"].get("terminated")


def test_a_whole_life() -> None:
    life, beats = play()
    assert [beat for beat in beats if isinstance(beat, float)] == [1.0, 2.0, 3.0, 4.0]
    assert [status["phase"] for status in statuses(beats)] == [
        "Pending",
        "Pending",
        "Pending",
        "Running",
        "Succeeded",
    ]
    last = statuses(beats)[-1]
    assert codec.decode(ended(last, "facts")["message"])["stage"] == "facts"
    assert codec.decode(ended(last)["message"])["run"] == "r7"
    assert last["containerStatuses"][0]["imageID"].startswith("docker.io/pytorch/pytorch@sha256:")
    assert (life.ended, life.pulled, life.deaf) == (True, True, False)


def test_an_image_that_is_there_is_not_pulled_again() -> None:
    life = PodLife(probe_pod(), machine(), SimulatedImage(), pace=PACE, clock=Clock())
    assert 2.0 not in list(life.beats(pulled=True))


def test_transition_times_stay_while_the_condition_does() -> None:
    _, beats = play()
    times = {
        condition["lastTransitionTime"]
        for status in statuses(beats)[1:]
        for condition in status["conditions"]
        if condition["type"] == "PodReadyToStartContainers"
    }
    assert len(times) == 1


def test_setup_that_fails_never_gets_ready() -> None:
    life, beats = play(Fault.SETUP_FAILS)
    assert len(beats) == 1
    assert {"PodReadyToStartContainers": "False"}.items() <= {
        condition["type"]: condition["status"] for condition in beats[0]["conditions"]
    }.items()
    assert not life.ended


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"fault": Fault.PULL_FAILS}, "not found"),
        ({"architecture": "arm64"}, "no match for platform in manifest"),
    ],
)
def test_pulls_that_fail_back_off(more: dict[str, Any], words: str) -> None:
    _, beats = play(**more)
    waiting = [status["initContainerStatuses"][0]["state"]["waiting"] for status in statuses(beats)][2:6]
    assert [state["reason"] for state in waiting] == ["ErrImagePull", "ImagePullBackOff"] * 2
    assert all(words in state["message"] for state in waiting)
    assert all(status["phase"] == "Pending" for status in statuses(beats))


def test_no_interpreter_is_a_start_error() -> None:
    _, beats = play(image=SimulatedImage(python=None))
    last = statuses(beats)[-1]
    assert last["phase"] == "Failed"
    assert ended(last, "facts")["reason"] == "StartError"
    assert 'exec: "python3": executable file not found in $PATH' in ended(last, "facts")["message"]
    assert "waiting" in last["containerStatuses"][0]["state"]


@pytest.mark.parametrize(
    ("fault", "code", "reason", "complete"),
    [
        (Fault.PROBE_CRASHES, 139, "Error", False),
        (Fault.PROBE_OOM, 137, "OOMKilled", False),
        (None, 0, "Completed", True),
    ],
)
def test_ends_of_the_main_container(fault: Fault | None, code: int, reason: str, complete: bool) -> None:
    last = statuses(play(fault)[1])[-1]
    assert last["phase"] == ("Failed" if code else "Succeeded")
    assert (ended(last)["exitCode"], ended(last)["reason"]) == (code, reason)
    assert codec.decode(ended(last)["message"])["complete"] is complete
    assert codec.decode(ended(last, "facts")["message"])["complete"] is True


def test_garbage_is_no_report() -> None:
    with pytest.raises(codec.CodecError):
        codec.decode(ended(statuses(play(Fault.GARBAGE_REPORT)[1])[-1])["message"])


def test_eviction_is_the_kubelets() -> None:
    last = statuses(play(Fault.EVICTED)[1])[-1]
    assert (last["phase"], last["reason"]) == ("Failed", "Evicted")
    assert "DisruptionTarget" in {condition["type"] for condition in last["conditions"]}


@pytest.mark.parametrize("fault", [Fault.PROBE_HANGS, Fault.PROBE_STUCK])
def test_a_hanging_probe_runs_until_it_is_killed(fault: Fault) -> None:
    life, beats = play(fault)
    assert statuses(beats)[-1]["phase"] == "Running"
    assert life.deaf
    assert not life.ended
    last = life.killed()
    assert (last["phase"], ended(last)["exitCode"]) == ("Failed", 137)
    assert codec.decode(ended(last)["message"])["complete"] is False


def test_a_working_probe_ends_its_report_on_sigterm() -> None:
    life = PodLife(probe_pod(), machine(), SimulatedImage(), pace=PACE, clock=Clock())
    for beat in life.beats():
        if isinstance(beat, dict) and beat["phase"] == "Running":
            break
    assert not life.deaf
    last = life.killed()
    assert codec.decode(ended(last)["message"])["ended"].startswith("sigterm during ")
    assert ended(last)["exitCode"] == 0


def test_pods_of_others_run_on() -> None:
    pod = node_objects.others_pod(machine(in_use=4)) | {
        "metadata": {"uid": "u2", "name": "x", "namespace": "team-a"}
    }
    life = PodLife(pod, machine(fault=Fault.PROBE_CRASHES), SimulatedImage(), pace=PACE, clock=Clock())
    last = statuses(list(life.beats()))[-1]
    assert last["phase"] == "Running"
    assert {"type": "Ready", "status": "True"}.items() <= last["conditions"][2].items()
    assert life.killed()["phase"] == "Failed"


def test_probe_stage_behind_an_entrypoint() -> None:
    assert probe_stage({"args": ["python3", "/opt/gpuenv/gpuenv-probe.pyz", "facts"]}) == "facts"
    assert probe_stage({"command": ["sleep", "1"]}) is None
    assert probe_stage({}) is None


def test_nodes_of_platforms() -> None:
    gfd = node_objects.node(machine(), "t")
    assert gfd["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-L4"
    assert gfd["metadata"]["labels"]["nvidia.com/cuda.driver-version.full"] == "570.124.06"
    assert gfd["status"]["capacity"]["nvidia.com/gpu"] == "4"
    gke = node_objects.node(machine(platform=Platform.GKE), "t")
    assert gke["metadata"]["labels"]["cloud.google.com/gke-accelerator"] == "nvidia-l4"
    assert gke["spec"]["taints"][0]["key"] == "nvidia.com/gpu"
    for platform in Platform:
        labels = node_objects.labels(machine(platform=platform, labels=(("team", "ml"),)))
        assert labels["team"] == "ml"
        assert ("nvidia.com/gpu.present" in labels) is (platform is Platform.GFD)
    assert (
        node_objects.node(machine(advertised=0, cordoned=True), "t")["status"]["allocatable"][
            "nvidia.com/gpu"
        ]
        == "0"
    )
    assert (
        node_objects.node(machine(), "t", 0)["status"]["nodeInfo"]
        != node_objects.node(machine(), "t", 1)["status"]["nodeInfo"]
    )
