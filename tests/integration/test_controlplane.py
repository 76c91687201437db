"""The embedded control plane is a real one, and nothing of it outlives its owner."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.support.cluster import Kubectl
from tests.support.wait import PATIENCE, wait_until

from gpuenv_sandbox.control_plane.admin_client import ApiError, RestClient
from gpuenv_sandbox.control_plane.cluster import ControlPlane, ControlPlaneError
from gpuenv_sandbox.control_plane.supervised import ProcessError

OWNER = """
    import signal, sys
    from gpuenv_sandbox.control_plane.cluster import ControlPlane
    with ControlPlane() as cluster:
        print(cluster.directory, flush=True)
        {body}
"""


def test_a_service_account_has_exactly_the_rights_it_was_given(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str
) -> None:
    kubectl("create", "serviceaccount", "reader", "-n", namespace)
    kubectl("create", "role", "reader", "-n", namespace, "--verb=get,list", "--resource=configmaps")
    kubectl(
        "create",
        "rolebinding",
        "reader",
        "-n",
        namespace,
        "--role=reader",
        f"--serviceaccount={namespace}:reader",
    )
    reader = Kubectl(control_plane, control_plane.kubeconfig_for_service_account(namespace, "reader"))

    allowed = wait_until(lambda: reader.run("get", "configmaps").stdout, "the role binding to take effect")
    assert "kube-root-ca.crt" in allowed
    refused = reader.run("create", "configmap", "mine")
    assert refused.returncode != 0
    assert "cannot create resource" in refused.stderr


def test_a_pod_is_scheduled_to_a_node_that_has_the_device(
    control_plane: ControlPlane, admin: RestClient, namespace: str
) -> None:
    for name, gpus in (("cpu-only", "0"), ("with-gpu", "2")):
        admin.create("/api/v1/nodes", {"metadata": {"name": f"{name}-{namespace}"}})
        quantities = {"cpu": "8", "memory": "32Gi", "pods": "110", "nvidia.com/gpu": gpus}
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "Test",
            "message": "",
            "lastHeartbeatTime": None,
        }
        admin.merge(
            f"/api/v1/nodes/{name}-{namespace}/status",
            {"status": {"capacity": quantities, "allocatable": quantities, "conditions": [ready]}},
        )
    container = {"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    tolerations = [{"operator": "Exists"}]
    pods = f"/api/v1/namespaces/{namespace}/pods"
    admin.create(
        pods, {"metadata": {"name": "p"}, "spec": {"containers": [container], "tolerations": tolerations}}
    )

    bound = wait_until(lambda: admin.get(f"{pods}/p")["spec"].get("nodeName"), lambda: admin.get(f"{pods}/p"))
    assert bound == f"with-gpu-{namespace}"
    admin.delete(f"{pods}/p", {"gracePeriodSeconds": 0})
    for name in ("cpu-only", "with-gpu"):
        admin.delete(f"/api/v1/nodes/{name}-{namespace}")


def test_a_kubelet_may_change_only_its_own_node(
    control_plane: ControlPlane, admin: RestClient, namespace: str
) -> None:
    mine, other = f"mine-{namespace}", f"other-{namespace}"
    for name in (mine, other):
        admin.create("/api/v1/nodes", {"metadata": {"name": name}})
    kubelet = Kubectl(control_plane, control_plane.kubeconfig_for_node(mine))

    assert kubelet.run("annotate", "node", mine, "a=b").returncode == 0
    assert "only its own Node object" in kubelet.run("annotate", "node", other, "a=b").stderr
    for name in (mine, other):
        admin.delete(f"/api/v1/nodes/{name}")


def test_an_unknown_service_account_is_an_error(control_plane: ControlPlane) -> None:
    with pytest.raises(ApiError, match='serviceaccounts "nobody" not found'):
        control_plane.kubeconfig_for_service_account("default", "nobody")


def test_key_material_is_private(control_plane: ControlPlane) -> None:
    secrets = [control_plane.admin_kubeconfig, *control_plane.directory.glob("pki/*.key")]
    assert len(secrets) > 5
    assert {path.stat().st_mode & 0o077 for path in secrets} == {0}


def test_without_controllers_only_the_api_server_runs_and_a_dead_component_is_reported() -> None:
    with ControlPlane(controllers=False) as cluster:
        directory = cluster.directory
        assert cluster.start().directory == directory  # no second set of processes
        assert sorted(log.stem for log in directory.glob("logs/*")) == ["etcd", "kube-apiserver"]
        cluster.check()
        os.kill(_pids_using(directory, "kube-apiserver")[0], signal.SIGKILL)
        wait_until(lambda: "kube-apiserver ended with code -9" in _complaint(cluster))
    assert not directory.exists()
    with pytest.raises(ControlPlaneError, match="not running"):
        cluster.check()


def test_a_spawned_process_ends_with_the_control_plane(tmp_path: Path) -> None:
    note = tmp_path / "note"
    script = f"trap 'echo ended > {note}; exit 0' TERM; echo up; while :; do sleep 0.1; done"
    with ControlPlane(controllers=False) as cluster:
        pid = cluster.spawn("mine", ["sh", "-c", script])
        wait_until(lambda: "up" in cluster.log("mine").read_text())
        with pytest.raises(ProcessError, match="cannot start absent"):
            cluster.spawn("absent", [tmp_path / "absent"])
    assert note.read_text() == "ended\n"
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, None], ids=str)
def test_nothing_is_left_behind_however_the_owner_ends(ending: signal.Signals | None) -> None:
    body = "signal.pause()" if ending else "raise RuntimeError('a bug')"
    script = textwrap.dedent(OWNER).format(body=body)
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert owner.stdout is not None
    with owner:
        directory = Path(owner.stdout.readline().decode().strip())
        try:
            if ending:
                assert _pids_using(directory, "etcd")
                owner.send_signal(ending)
            owner.wait(PATIENCE)
        finally:
            owner.kill()
    wait_until(lambda: not directory.exists(), f"{directory} to be deleted")
    wait_until(lambda: not _pids_using(directory), lambda: _pids_using(directory))


def test_nothing_is_left_running_when_the_supervisor_dies() -> None:
    cluster = ControlPlane(controllers=False).start()
    directory = cluster.directory
    supervisor = _pids_using(directory, "supervisor.py")
    os.kill(supervisor[0], signal.SIGKILL)
    wait_until(lambda: not _pids_using(directory), lambda: _pids_using(directory))
    cluster.stop()
    assert not directory.exists()


def _complaint(cluster: ControlPlane) -> str:
    """Return the error that a check of the components raises; empty while all of them run."""
    try:
        cluster.check()
    except ControlPlaneError as error:
        return str(error)
    return ""


def _pids_using(directory: Path, program: str = "") -> list[int]:
    """Processes of this machine whose command line names the sandbox's directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().decode() if entry.name.isdigit() else ""
        except OSError:
            continue  # it ended meanwhile
        if str(directory) in command and program in command:
            found.append(int(entry.name))
    return found
