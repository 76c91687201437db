"""What a test needs of a cluster beyond its API: kubectl, and namespaces of its own."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from tests.support.wait import finished, wait_until

from gpuenv_sandbox.control_plane.cluster import ControlPlane


class Kubectl:
    """Runs kubectl against one cluster, by default as its administrator."""

    def __init__(self, cluster: ControlPlane, kubeconfig: Path | None = None) -> None:
        self._command = [str(cluster.kubectl), "--kubeconfig", str(kubeconfig or cluster.admin_kubeconfig)]
        # The default is in the user's home directory, by address and port: another cluster may have had this port.
        self._command += ["--cache-dir", str(cluster.directory / "kubectl-cache")]

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Return the finished process, whatever its exit code: for tests of refusals."""
        return finished([*self._command, *arguments], input=stdin)

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Return standard output; fail the test with kubectl's words when it does not succeed."""
        result = self.run(*arguments, stdin=stdin)
        assert result.returncode == 0, f"kubectl {' '.join(arguments)}: {result.stderr.strip()}"
        return result.stdout

    def apply(self, *objects: dict[str, Any]) -> str:
        return self("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    @contextmanager
    def watch(self, *arguments: str) -> Iterator[list[str]]:
        """The lines that ``kubectl get --watch`` prints meanwhile, each run of equal ones once."""
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
        """``kubectl get`` as an object."""
        return json.loads(self("get", *arguments, "-o", "json"))
