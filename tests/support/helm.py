"""The real Helm: rendering without a cluster, and installing into one."""

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
"""For rendering without a cluster: a Helm built from source believes in an ancient one."""


class Helm:
    """Runs helm, by default without a cluster."""

    def __init__(self, program: Path, kubeconfig: Path | None = None) -> None:
        self.program = program
        self._flags = ["--kubeconfig", str(kubeconfig)] if kubeconfig else []

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The finished process, whatever its exit code: for tests of refusals."""
        command = [self.program, *arguments, *self._flags]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)

    def __call__(self, *arguments: str) -> str:
        """Standard output; fails the test with helm's words when it does not succeed."""
        result = self.run(*arguments)
        assert result.returncode == 0, f"helm {' '.join(arguments)}: {result.stderr.strip()}"
        return result.stdout

    def template(self, *arguments: str, namespace: str = NAMESPACE) -> str:
        """The chart, rendered with these flags."""
        return self(
            "template", "gpuenv", str(CHART), "-n", namespace, "--kube-version", KUBE_VERSION, *arguments
        )

    def documents(self, *arguments: str, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
        """What the chart renders to, as objects."""
        text = self.template(*arguments, namespace=namespace)
        return [one for one in yaml.safe_load_all(text) if one]


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Helm without a cluster."""
    try:
        return Helm(binaries.ensure(["helm"])["helm"])
    except catalogue.BinaryError as error:
        pytest.skip(str(error))
