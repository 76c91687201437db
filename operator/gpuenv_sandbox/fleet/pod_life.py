"""Simulates the life of a pod as its kubelet would report it: a sequence of statuses with pauses between them.

The module does no I/O, and gets its clock as a parameter. A container whose command is the probe's zip application
behaves like the probe. A pod of other containers runs until it is deleted. Texts and fields are those of a real kubelet
with containerd: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/.
"""

import hashlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

from gpuenv.api import names
from gpuenv_probe import codec
from gpuenv_sandbox.fleet import probe_reports
from gpuenv_sandbox.fleet.node_objects import DEVICE
from gpuenv_sandbox.fleet.probe_reports import Request
from gpuenv_sandbox.scenario.model import Fault, Pace, SimulatedImage, SimulatedNode

Object = dict[str, Any]
Clock = Callable[[], str]
"""A function that returns the current time in the format of RFC 3339."""
Beat = Object | float
"""A pod status to report, or the seconds to wait before the next status."""

PULL_BACKOFF: Final = (10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
"""Seconds from each failed attempt to pull an image to the next attempt; the last value is repeated.

Source: https://kubernetes.io/docs/concepts/containers/images/#imagepullbackoff
"""
_STARTING: Final = {"waiting": {"reason": "PodInitializing"}}
_GARBAGE: Final = "Traceback: \x1b[31mthe image's own wrapper wrote this\x1b[0m, no probe did {]"


def probe_stage(container: Object) -> str | None:
    """Return the stage of a probe container, ``facts`` or ``kernels``, or None for any other container."""
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    for word, following in pairwise(words):
        if word.endswith(names.PROBE_ARCHIVE):
            return str(following)
    return None


class PodLife:
    """The simulated life of one pod on one node.

    :meth:`beats` yields the pod's statuses until it ends on its own. :meth:`killed` returns the last status of a pod
    that is ended from outside, such as by a deletion. ``pace`` is the duration of each part of the life.
    """

    def __init__(
        self, pod: Object, node: SimulatedNode, image: SimulatedImage, *, pace: Pace, clock: Clock
    ) -> None:
        self._pod, self._node, self._image, self._pace, self._clock = pod, node, image, pace, clock
        spec = pod["spec"]
        self._init: list[Object] = spec.get("initContainers") or []
        self._main: list[Object] = spec["containers"]
        self.is_probe: bool = any(probe_stage(container) for container in self._main)
        self.fault: Fault | None = node.fault if self.is_probe else None
        self._started = clock()
        self._ready_to_start = False
        self.pulled = False
        """Whether the pod's image is on the node. It is False until the pull is complete."""
        self.ended = False
        """Whether the pod has ended: the phase of its last status is Succeeded or Failed."""
        self._conditions: dict[str, Object] = {}
        self._states: dict[str, Object] = {c["name"]: _STARTING for c in [*self._init, *self._main]}

    def beats(self, *, pulled: bool = False) -> Iterator[Beat]:
        """Yield the pod's statuses and the pauses between them, until the pod ends on its own.

        If the pod never ends on its own, it keeps the last yielded status. ``pulled`` says whether the image was
        on the node before.
        """
        yield self._status("Pending")
        if self.fault is Fault.SETUP_FAILS:
            return
        yield self._pace.setup
        self._ready_to_start = True
        yield self._status("Pending")
        if self.fault is Fault.PULL_FAILS or self._node.architecture not in self._image.architectures:
            yield from self._failing_pull()
        if not pulled:
            yield self._pace.pull
        self.pulled = True
        for container in self._init:
            yield from self._run(container, self._pace.facts)
            if self._exit_code(container) != 0:
                yield self._status("Failed")
                return
        if not self.is_probe:
            yield from self._run_on()
            return
        for container in self._main:
            yield from self._run(container, self._pace.kernels)
        failed = any(self._exit_code(container) for container in self._main)
        if not self.ended and all(self._exit_code(container) is not None for container in self._main):
            yield self._status("Failed" if failed else "Succeeded")

    def killed(self, *, reason: str = "", message: str = "") -> Object:
        """Return the last status of a pod that is ended from outside.

        A working probe adds the signal SIGTERM to its report and ends with exit code 0. A hanging probe is ended by
        SIGKILL. ``reason``, such as DeadlineExceeded, and ``message`` become fields of the status; with "" the status
        has neither.
        """
        for container in [*self._init, *self._main]:
            state = self._states[container["name"]]
            if "running" in state:
                self._states[container["name"]] = self._terminated_by_signal(container, state)
        finished = all(self._exit_code(container) == 0 for container in self._main)
        return self._status("Succeeded" if finished else "Failed", reason=reason, message=message)

    @property
    def deaf(self) -> bool:
        """Whether the pod ignores SIGTERM, so that its deletion takes the whole grace period."""
        running = any("running" in state for state in self._states.values())
        return running and self.fault in {Fault.PROBE_HANGS, Fault.PROBE_STUCK}

    def _failing_pull(self) -> Iterator[Beat]:
        first = [*self._init, *self._main][0]
        image = _full_name(first["image"])
        cause = f'failed to resolve reference "{image}": {image}: not found'
        if self.fault is not Fault.PULL_FAILS:
            cause = "no match for platform in manifest: not found"
        error = f'failed to pull and unpack image "{image}": {cause}'
        attempt = 0
        while True:
            yield self._pace.pull
            self._states[first["name"]] = {"waiting": {"reason": "ErrImagePull", "message": error}}
            yield self._status("Pending")
            yield 1.0
            words = f'Back-off pulling image "{first["image"]}": ErrImagePull: {error}'
            self._states[first["name"]] = {"waiting": {"reason": "ImagePullBackOff", "message": words}}
            yield self._status("Pending")
            yield PULL_BACKOFF[min(attempt, len(PULL_BACKOFF) - 1)]
            attempt += 1

    def _run(self, container: Object, seconds: float) -> Iterator[Beat]:
        """Yield the pod's statuses and pauses while one container runs for ``seconds``.

        If a fault makes the container hang, its state remains ``running``.
        """
        name, stage = container["name"], probe_stage(container)
        if stage and self._image.python is None:
            self._states[name] = self._start_error(container)
            return
        self._states[name] = {"running": {"startedAt": self._clock()}}
        yield self._status("Running" if container in self._main else "Pending")
        yield seconds
        if stage == "kernels" and self.fault is Fault.EVICTED:
            yield self._evicted()
            return
        if stage == "kernels" and self.fault in {Fault.PROBE_HANGS, Fault.PROBE_STUCK}:
            return
        self._states[name] = self._end(container, stage)

    def _run_on(self) -> Iterator[Beat]:
        for container in self._main:
            self._states[container["name"]] = {"running": {"startedAt": self._clock()}}
        yield self._status("Running")

    def _end(self, container: Object, stage: str | None) -> Object:
        """Return the status field ``state`` of a container that has ended on its own.

        ``stage`` is the stage of a probe container, or None for any other container.
        """
        if stage is None:
            return self._terminated(container, 0, "Completed", "")
        report = self._report(container, stage)
        if stage == "facts":
            return self._terminated(container, 0, "Completed", codec.encode(report))
        match self.fault:
            case Fault.PROBE_CRASHES:
                partial = codec.encode(probe_reports.unfinished(report))
                return self._terminated(container, 139, "Error", partial)
            case Fault.PROBE_OOM:
                partial = codec.encode(probe_reports.unfinished(report))
                return self._terminated(container, 137, "OOMKilled", partial)
            case Fault.GARBAGE_REPORT:
                return self._terminated(container, 0, "Completed", _GARBAGE)
        return self._terminated(container, 0, "Completed", codec.encode(report))

    def _terminated_by_signal(self, container: Object, state: Object) -> Object:
        started = state["running"]["startedAt"]
        stage = probe_stage(container)
        if stage is None:
            return self._terminated(container, 143, "Error", "", started)
        report = self._report(container, stage)
        if self.fault in {Fault.PROBE_HANGS, Fault.PROBE_STUCK}:
            return self._terminated(
                container, 137, "Error", codec.encode(probe_reports.unfinished(report)), started
            )
        words = codec.encode(probe_reports.unfinished(report, "sigterm during matmul fp32 on GPU 0"))
        return self._terminated(container, 0, "Completed", words, started)

    def _report(self, container: Object, stage: str) -> Object:
        variables = {item["name"]: item.get("value", "") for item in container.get("env") or []}
        limits = (container.get("resources") or {}).get("limits") or {}
        request = Request.from_environment(variables, max(1, int(limits.get(DEVICE, 0))))
        make = probe_reports.facts if stage == "facts" else probe_reports.kernels
        return make(self._node, self._image, request)

    def _start_error(self, container: Object) -> Object:
        program = str(next(iter(container.get("command") or ["python3"])))
        cause = (
            f"stat {program}: no such file or directory"
            if program.startswith("/")
            else "executable file not found in $PATH"
        )
        words = (
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
            "runc create failed: unable to start container process: error during container init: "
            f'exec: "{program}": {cause}'
        )
        return self._terminated(container, 128, "StartError", words, "1970-01-01T00:00:00Z")

    def _terminated(
        self, container: Object, code: int, reason: str, message: str, started: str | None = None
    ) -> Object:
        running = self._states[container["name"]].get("running", {})
        state = {
            "exitCode": code,
            "reason": reason,
            "startedAt": started or running.get("startedAt", self._started),
            "finishedAt": self._clock(),
            "containerID": self._container_id(container),
        }
        return {"terminated": state | ({"message": message} if message else {})}

    def _evicted(self) -> Object:
        for container in self._main:
            self._states[container["name"]] = self._terminated(container, 137, "Error", "")
        words = (
            "The node was low on resource: ephemeral-storage. Threshold quantity: 53687091200, "
            "available: 49Gi. "
        )
        status = self._status("Failed", reason="Evicted", message=words)
        status["conditions"] = self._set_conditions(("DisruptionTarget", True, "TerminationByKubelet"))
        return status

    def _exit_code(self, container: Object) -> int | None:
        terminated = self._states[container["name"]].get("terminated")
        return None if terminated is None else int(terminated["exitCode"])

    def _status(self, phase: str, *, reason: str = "", message: str = "") -> Object:
        self.ended = phase in {"Succeeded", "Failed"}
        initialized = all(self._exit_code(container) == 0 for container in self._init)
        running = all("running" in self._states[container["name"]] for container in self._main)
        status: Object = {
            "phase": phase,
            "startTime": self._started,
            "conditions": self._set_conditions(
                ("PodReadyToStartContainers", self._ready_to_start, ""),
                ("Initialized", initialized, "" if initialized else "ContainersNotInitialized"),
                ("Ready", running, "" if running else "ContainersNotReady"),
                ("ContainersReady", running, "" if running else "ContainersNotReady"),
            ),
            "containerStatuses": [self._container_status(container) for container in self._main],
        }
        if self._init:
            status["initContainerStatuses"] = [self._container_status(container) for container in self._init]
        return status | ({"reason": reason, "message": message} if reason else {})

    def _set_conditions(self, *rows: tuple[str, bool, str]) -> list[Object]:
        """Set conditions of the pod, and return all of its conditions.

        Each row is (type, whether the status is True, reason). A condition's transition time changes only if its status
        changes.
        """
        for kind, true, reason in rows:
            status = "True" if true else "False"
            old = self._conditions.get(kind, {})
            since = old["lastTransitionTime"] if old.get("status") == status else self._clock()
            condition = {"type": kind, "status": status, "lastTransitionTime": since}
            self._conditions[kind] = condition | ({"reason": reason} if reason else {})
        return list(self._conditions.values())

    def _container_status(self, container: Object) -> Object:
        state = self._states[container["name"]]
        here = "waiting" not in state
        return {
            "name": container["name"],
            "image": _full_name(container["image"]) if here else container["image"],
            "imageID": _image_id(container["image"]) if here else "",
            "containerID": self._container_id(container) if here else "",
            "ready": "running" in state and container in self._main,
            "started": "running" in state,
            "restartCount": 0,
            "state": state,
        }

    def _container_id(self, container: Object) -> str:
        return "containerd://" + _sha256(f"{self._pod['metadata']['uid']}/{container['name']}")


def _full_name(reference: str) -> str:
    """Return an image reference as containerd writes it: ``docker.io/library/nginx:1`` for ``nginx:1``."""
    registry, slash, _ = reference.partition("/")
    if slash and ("." in registry or ":" in registry or registry == "localhost"):
        return reference
    return f"docker.io/{reference}" if slash else f"docker.io/library/{reference}"


def _image_id(reference: str) -> str:
    """Return the id of an image, which consists of its repository and its digest.

    If the reference has no digest, one is derived from it, so that the image has the same id on all nodes.
    """
    name, at, digest = _full_name(reference).partition("@")
    repository = name.rsplit(":", 1)[0] if ":" in name.rsplit("/", 1)[-1] else name
    return f"{repository}@{digest if at else 'sha256:' + _sha256(name)}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
