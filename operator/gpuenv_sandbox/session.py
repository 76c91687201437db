"""Runs gpuenv on a control plane with simulated nodes, as one session of the sandbox."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import yaml

from gpuenv import manifests
from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE
from gpuenv.controller.kube.client import Kube
from gpuenv_sandbox.control_plane.admin_client import RestClient
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.fleet.simulation import Fleet, fleet_client
from gpuenv_sandbox.observer import Observer
from gpuenv_sandbox.scenario.model import Scenario

Object = dict[str, Any]
Say = Callable[[str], None]

OPERATOR_PROCESS: Final = "operator"
POLL_SECONDS: Final = 0.25
STEADY_SECONDS: Final = 1.0
"""Seconds for which all environments must stay settled before :meth:`Session.settle` returns.

The operator may start another run to confirm a result just after the environments look settled.
"""
KUBECTL_SECONDS: Final = 240
WITHHELD: Final = ("KUBERNETES_", "KUBECONFIG")
"""Prefixes of the names of environment variables that are not passed on to the operator.

With these variables, the operator could connect to another cluster than the sandbox.
"""


def is_established(admin: RestClient, crd: str) -> bool:
    """Return whether the API server serves the kind of the custom resource definition with the name ``crd``.

    ``kubectl wait`` cannot tell: it fails while the conditions of a new definition are still null.
    """
    found = admin.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd}")
    conditions = found["status"].get("conditions") or []
    return any((one["type"], one["status"]) == ("Established", "True") for one in conditions)


def _flag(setting: str) -> str:
    """Return the operator's flag for a setting of the scenario, such as ``--max-probes`` for ``maxProbes``."""
    return "--" + re.sub("[A-Z]", lambda letter: f"-{letter.group().lower()}", setting)


class SandboxError(Exception):
    """A step of the session has failed, such as a kubectl command. The message is one line that says why."""


class Session:
    """A sandbox session: gpuenv and the nodes of one scenario on a running control plane.

    First call :meth:`install`, then enter the context manager :meth:`run`. ``say`` is a function that shows the user a
    line of text.
    """

    def __init__(self, cluster: ControlPlane, scenario: Scenario, say: Say) -> None:
        self._cluster = cluster
        self._scenario = scenario
        self._say = say
        self._fleet: Fleet | None = None
        self._observing: asyncio.Task[None] | None = None
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since this session was created."""
        return time.monotonic() - self._started

    @property
    def fleet(self) -> Fleet:
        """The simulated nodes. Raises SandboxError if :meth:`run` has not been entered."""
        if self._fleet is None:
            raise SandboxError("the session is not running")
        return self._fleet

    def install(self) -> None:
        """Create gpuenv's custom resource definitions, namespace, service account and permissions.

        Raises SandboxError if kubectl cannot create them, or if the API server does not serve the new kinds in time.
        """
        schemas = manifests.crds()
        self._kubectl("create", "-f", "-", objects=schemas)
        deadline = time.monotonic() + KUBECTL_SECONDS
        for name in (one["metadata"]["name"] for one in schemas):
            while not is_established(self._cluster.admin, name):
                if time.monotonic() > deadline:
                    raise SandboxError(f"the API server does not serve {name} after {KUBECTL_SECONDS} s")
                time.sleep(POLL_SECONDS)
        self._kubectl("create", "-f", "-", objects=manifests.load())

    @contextlib.asynccontextmanager
    async def run(self, environments: Sequence[Object]) -> AsyncIterator[Observer]:
        """Start the operator, create the simulated nodes, apply ``environments``, and yield an observer of the cluster.

        Raises ProcessError if the operator cannot be started, ApiError if a node cannot be created, and SandboxError if
        kubectl cannot apply the environments.
        """
        kubeconfig = str(self._cluster.admin_kubeconfig)
        async with await fleet_client(kubeconfig) as fast, await Kube.from_environment(kubeconfig) as kube:
            self._start_operator()
            began = self.elapsed
            async with Fleet(fast, self._scenario) as self._fleet:
                self._say(f"{len(self._scenario.nodes)} nodes joined in {self.elapsed - began:.1f} s")
                await asyncio.to_thread(self._kubectl, "apply", "-f", "-", objects=environments)
                observer = Observer(kube)
                self._observing = asyncio.create_task(observer.run())
                try:
                    yield observer
                finally:
                    self._observing.cancel()
                    await asyncio.gather(self._observing, return_exceptions=True)

    async def settle(self, observer: Observer, limit: float, show: Callable[[], None]) -> bool:
        """Wait until all environments are settled. Return False if they are not settled after ``limit`` seconds.

        Meanwhile, ``show`` is called several times a second. If a part of the session dies, the exception of
        :meth:`check` is raised.
        """
        deadline = self.elapsed + limit
        steady_since: float | None = None
        while True:
            self.check()
            show()
            if not observer.settled():
                steady_since = None
            elif steady_since is None:
                steady_since = self.elapsed
            elif self.elapsed - steady_since >= STEADY_SECONDS:
                return True
            if self.elapsed > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)

    def check(self) -> None:
        """Raise an exception that says why, if a part of the session has died.

        ControlPlaneError is raised for a component of the control plane, and ProcessError for the operator. If the
        simulation of the nodes or the observer has failed, its own exception is raised.
        """
        self._cluster.check()
        self._cluster.processes.check([OPERATOR_PROCESS])
        if self._fleet is not None:
            self._fleet.check()
        if self._observing is not None and self._observing.done() and not self._observing.cancelled():
            self._observing.result()

    def _start_operator(self) -> None:
        """Start the operator as a separate process that has only the permissions of its service account."""
        rights = self._cluster.kubeconfig_for_service_account(OPERATOR_NAMESPACE, OPERATOR)
        variables = {key: value for key, value in os.environ.items() if not key.startswith(WITHHELD)}
        command = [sys.executable, "-m", "gpuenv", "operator", "--kubeconfig", str(rights)]
        # Nobody asks for metrics or health here, and fixed port numbers may be in use on this machine.
        command += ["--metrics-bind-address", "0", "--health-probe-bind-address", "0"]
        command += [f"{_flag(name)}={value}" for name, value in self._scenario.operator]
        self._cluster.spawn(OPERATOR_PROCESS, command, env=variables | {"PYTHONUNBUFFERED": "1"})

    def _kubectl(self, *arguments: str, objects: Sequence[Object] = ()) -> None:
        """Run kubectl as the cluster's administrator, with ``objects`` as YAML on its standard input.

        Raises SandboxError if kubectl fails.
        """
        flags = ["--kubeconfig", str(self._cluster.admin_kubeconfig)]
        # kubectl's default cache is in the user's home directory and would outlive the sandbox.
        flags += ["--cache-dir", str(self._cluster.directory / "kubectl-cache")]
        command = [str(self._cluster.kubectl), *flags, *arguments]
        text = yaml.safe_dump_all(objects) if objects else None
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=KUBECTL_SECONDS, check=False
        )
        if done.returncode != 0:
            words = " ".join(done.stderr.split()) or f"kubectl ended with code {done.returncode}"
            raise SandboxError(words)
