"""The probe where nearly nothing is allowed: read-only root, a user without a name, /tmp and the termination log."""

import os
import shutil
from pathlib import Path

import pytest
from tests.support import probes
from tests.support.wait import finished

from gpuenv_probe import codec

SCRIPT = Path(probes.__file__).with_name("confine.sh")
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="mount namespaces need root and unshare"
)


@pytest.mark.parametrize("version", ["3.9", "3.13"])
def test_a_read_only_root_and_a_nameless_user_suffice(tmp_path: Path, version: str) -> None:
    python = probes.interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    home = python.resolve().parents[1]
    if not os.access(home / "bin", os.R_OK) or str(home) == "/usr":
        pytest.skip(f"{python} is not in a home of its own")
    command = ["/mnt/python/bin/python3", "/mnt/gpuenv-probe.pyz"]
    for stage in ("facts", "kernels"):
        root = tmp_path / stage
        root.mkdir()
        arguments = [root, home, probes.archive(), probes.STUB_TORCH, *command, stage]
        done = finished(["unshare", "--mount", "--propagation", "private", SCRIPT, *map(str, arguments)])
        if "Operation not permitted" in done.stderr and not done.stdout:
            pytest.skip("this machine's root may not mount")
        assert done.returncode == 0, done.stderr
        report = codec.decode(done.stdout)
        assert report["complete"] is True
        if stage == "facts":
            assert report["container"]["uid"] == 54321
            assert report["container"]["writable"] == ["/tmp"]
            assert report["container"]["rootReadOnly"] is True
            assert report["torch"]["version"] == "2.9.1+cu128"
        else:
            assert report["container"] == {"rootReadOnly": True}, (
                "each stage says so: the other report may be lost"
            )
            assert {row["status"] for row in report["steps"]} == {"Pass", "Skipped"}
