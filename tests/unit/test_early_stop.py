"""SIGTERM while the operator starts: it ends with exit code 0, also in the middle of its imports."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.wait import PATIENCE, wait_until

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return how much CPU time a process has used, which says how far its start has come."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("seconds", [0.15, 0.3, 0.45])
def test_a_signal_during_the_start_ends_the_operator_well(
    tmp_path: Path, seconds: float, number: signal.Signals
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(
        "{current-context: c, clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}], users: [], "
        "contexts: [{name: c, context: {cluster: c, user: ''}}]}"
    )
    flags = ["--kubeconfig", str(path), "--metrics-bind-address", "0", "--health-probe-bind-address", "0"]
    command = [sys.executable, "-m", "gpuenv", "operator", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            wait_until(lambda: process.poll() is not None or cpu_seconds(process.pid) >= seconds)
            process.send_signal(number)
            output, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0, output
    assert "Traceback" not in output
