"""Runs kubectl against a test cluster."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from tests.support.wait import finished, wait_until

from gpuenv_sandbox.control_plane.cluster import ControlPlane

CRD_INTERVAL_SECONDS = 1.0
"""Seconds between two looks at a CustomResourceDefinition that is being deleted."""


class Kubectl:
    """Runs kubectl against one cluster, by default as its administrator."""

    def __init__(self, cluster: ControlPlane, kubeconfig: Path | None = None) -> None:
        self._command = [str(cluster.kubectl), "--kubeconfig", str(kubeconfig or cluster.admin_kubeconfig)]
        # kubectl's default cache is in the home directory, by address and port, which an earlier cluster may have had.
        self._command += ["--cache-dir", str(cluster.directory / "kubectl-cache")]

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl and return the finished process, also if it has failed. For tests of refusals."""
        return finished([*self._command, *arguments], input=stdin)

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and return its standard output. If it fails, fail the test with its error message."""
        result = self.run(*arguments, stdin=stdin)
        assert result.returncode == 0, f"kubectl {' '.join(arguments)}: {result.stderr.strip()}"
        return result.stdout

    def delete_crds(self, *crds: str) -> None:
        """Delete CustomResourceDefinitions, and wait until they are gone."""
        self("delete", "crd", "--ignore-not-found", "--wait=false", *crds)
        wait_until(lambda: self.crds_are_gone(*crds), interval=CRD_INTERVAL_SECONDS)

    def crds_are_gone(self, *crds: str) -> bool:
        """Return whether CustomResourceDefinitions that were deleted are gone; change those that are not.

        If a CRD is deleted while the API server sets up its storage, the deletion of its objects fails ("storage is
        (re)initializing" in the server's log). Kubernetes 1.36.3 then tries again only when the CRD changes.
        """
        left = self("get", "crd", "--ignore-not-found", "-o", "name", *crds).split()
        if left:
            self.run("annotate", "--overwrite", *left, f"test.gpuenv.dev/seen={time.monotonic()}")
        return not left

    def apply(self, *objects: dict[str, Any]) -> str:
        return self("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    @contextmanager
    def watch(self, *arguments: str) -> Iterator[list[str]]:
        """Run ``kubectl get --watch`` in the background, and yield a list to which its lines are appended.

        A line that equals the one before it is left out.
        """
        seen: list[str] = []

        def read() -> None:
            assert child.stdout is not None
            for line in child.stdout:
                if seen[-1:] != [line.rstrip("\n")]:
                    seen.append(line.rstrip("\n"))

        command = [*self._command, "get", "--watch", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            reader = threading.Thread(target=read)
            reader.start()
            try:
                wait_until(lambda: seen, "the first line of the watch")
                yield seen
            finally:
                child.kill()
                reader.join()

    def get(self, *arguments: str) -> Any:
        """Run ``kubectl get`` and return its JSON output, decoded."""
        return json.loads(self("get", *arguments, "-o", "json"))
