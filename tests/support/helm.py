"""Runs the real Helm, to render the chart without a cluster or to install it into one."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.wait import finished

from gpuenv_sandbox.programs import binaries, catalogue
from gpuenv_sandbox.programs.cache import cache_root

CHART = Path(__file__).parents[2] / "helm/gpuenv"
NAMESPACE = "gpuenv-system"
KUBE_VERSION = "1.32.0"
"""Kubernetes version for rendering without a cluster. The default of a Helm built from source is too old."""


class Helm:
    """Runs helm commands; without a kubeconfig, only those that need no cluster."""

    def __init__(self, program: Path, kubeconfig: Path | None = None) -> None:
        self.program = program
        self._flags = ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
        home = (kubeconfig.parent if kubeconfig else cache_root()) / "helm"
        # Neither the user's settings nor what Helm remembers of another cluster at the same address and port.
        others = {key: value for key, value in os.environ.items() if not key.startswith(("HELM_", "KUBE"))}
        own = {f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        self._rendered: dict[tuple[str, ...], str] = {}
        self._env = others | own | {"KUBECACHEDIR": str(home / "kube")}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run helm and return the finished process, also if it has failed. For tests of refusals."""
        return finished([self.program, *arguments, *self._flags], env=self._env)

    def __call__(self, *arguments: str) -> str:
        """Run helm and return its standard output. If it fails, fail the test with its error message."""
        result = self.run(*arguments)
        assert result.returncode == 0, f"helm {' '.join(arguments)}: {result.stderr.strip()}"
        return result.stdout

    def template(self, *arguments: str, namespace: str = NAMESPACE) -> str:
        """Return the manifests that the chart renders to with these flags, as text. Equal flags are rendered once."""
        where = ("-n", namespace, "--kube-version", KUBE_VERSION)
        command = ("template", "gpuenv", str(CHART), *where, *arguments)
        if command not in self._rendered:
            self._rendered[command] = self(*command)
        return self._rendered[command]

    def documents(self, *arguments: str, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
        """Render the chart with these flags, and return the manifests as dicts."""
        text = self.template(*arguments, namespace=namespace)
        return [one for one in yaml.safe_load_all(text) if one]


@pytest.fixture(scope="session")
def helm() -> Helm:
    """The helm program, used without a cluster."""
    try:
        return Helm(binaries.ensure(["helm"])["helm"])
    except catalogue.BinaryError as error:
        pytest.skip(str(error))
