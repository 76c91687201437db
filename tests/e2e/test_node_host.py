"""A node that was killed leaves nothing that the next start does not remove."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.node import why_not
from tests.support.node_host import FIXED_DIRECTORIES, SETTINGS, NodeHost, hierarchies
from tests.support.wait import PATIENCE

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]


@pytest.fixture
def host() -> Iterator[NodeHost]:
    """A node's place on this machine, apart from the one that the other tests use."""
    host = NodeHost("gpuenv-left")
    yield host
    host.clean()


def test_cleaning_undoes_what_a_killed_node_has_left(host: NodeHost, tmp_path: Path) -> None:
    before = {name: Path("/proc/sys", name).read_text() for name in SETTINGS}
    absent = [path for path in FIXED_DIRECTORIES if not Path(path).exists()]
    host.prepare("10.244.78.1/24")
    precious = tmp_path / "precious"
    precious.write_text("of the machine's owner")

    Path("/proc/sys/kernel/panic").write_text("10")
    for path in absent:
        Path(path).mkdir(parents=True)
    mount = host.state / "kubelet/pods/1/volumes/host"
    mount.mkdir(parents=True)
    subprocess.run(["mount", "--bind", tmp_path, mount], check=True)
    (host.state / "containerd").mkdir()
    shim = host.run / "containerd-shim-runc-v2"
    shutil.copy(shutil.which("sleep") or "", shim)
    detached = subprocess.Popen([shim, "1000"])
    contained = subprocess.Popen(["sleep", "1000"])
    for hierarchy in hierarchies():
        pod = hierarchy / host.cgroup / "kubepods"
        pod.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (pod / file).exists():
                (pod / file).write_text((hierarchy / file).read_text())
        (pod / "cgroup.procs").write_text(str(contained.pid))

    host.clean()

    assert precious.read_text() == "of the machine's owner"
    assert (detached.wait(PATIENCE), contained.wait(PATIENCE)) == (-9, -9)
    assert {name: Path("/proc/sys", name).read_text() for name in SETTINGS} == before
    assert [path for path in FIXED_DIRECTORIES if not Path(path).exists()] == absent
    left = [host.state, host.run, Path("/sys/class/net", host.bridge)]
    left += [hierarchy / host.cgroup for hierarchy in hierarchies()]
    assert not [str(path) for path in left if path.exists()]


def test_a_second_run_waits_for_the_first(host: NodeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.node_host.LOCK_SECONDS", 0.5)
    with (
        host.alone(),
        pytest.raises(AssertionError, match=r"waited 0\.5 s for another run's real node to end"),
    ):
        NodeHost(host.name).alone().__enter__()
