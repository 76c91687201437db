"""Runs the real Helm, to render the chart without a cluster or to install it into one."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuenv_sandbox.programs import binaries, catalogue

CHART = Path(__file__).parents[2] / "helm/gpuenv"
NAMESPACE = "gpuenv-system"
SECONDS = 400
KUBE_VERSION = "1.30.0"
"""Kubernetes version for rendering without a cluster. The default of a Helm built from source is too old."""


class Helm:
    """Runs helm commands; without a kubeconfig, only those that need no cluster."""

    def __init__(self, program: Path, kubeconfig: Path | None = None) -> None:
        self.program = program
        self._flags = ["--kubeconfig", str(kubeconfig)] if kubeconfig else []

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run helm and return the finished process, also if it has failed. For tests of refusals."""
        command = [self.program, *arguments, *self._flags]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)

    def __call__(self, *arguments: str) -> str:
        """Run helm and return its standard output. If it fails, fail the test with its error message."""
        result = self.run(*arguments)
        assert result.returncode == 0, f"helm {' '.join(arguments)}: {result.stderr.strip()}"
        return result.stdout

    def template(self, *arguments: str, namespace: str = NAMESPACE) -> str:
        """Render the chart with these flags, and return the manifests as text."""
        return self(
            "template", "gpuenv", str(CHART), "-n", namespace, "--kube-version", KUBE_VERSION, *arguments
        )

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
