"""hack/kind.sh with stand-ins for docker, kind, kubectl and helm: what it calls, in which order, with which flags."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.support.wait import finished

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "hack/kind.sh"
PROGRAMS = ("docker", "kind", "kubectl", "helm")
IMAGE = "gpuenv.local/gpuenv:dev"
CONTEXT = "kind-gpuenv"
STUB = """#!/bin/sh
echo "{name} $*" >>"$CALLS"
case "{name} $*" in
    "docker info") exit "${{DOCKER_INFO:-0}}" ;;
    "kind get clusters") printf '%s\\n' other $CLUSTERS ;;
    *"get nodes"*) printf '%s\\n' node/gpu-a node/gpu-b ;;
    *"$FAILS"*) [ -z "$FAILS" ] || exit 3 ;;
esac
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory with the stand-ins, and with the few real programs that the script uses."""
    for name in PROGRAMS:
        (tmp_path / name).write_text(STUB.format(name=name), encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    for name in ("sh", "dirname", "grep", "cat"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    return tmp_path


def run(programs: Path, **env: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The finished script, and the calls it made."""
    calls = programs / "calls"
    variables = {"PATH": str(programs), "CALLS": str(calls), "CLUSTERS": "", "FAILS": "", **env}
    result = finished([programs / "sh", SCRIPT], cwd="/", env=variables)
    return result, calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []


def test_cluster_image_gpus_chart_example(programs: Path) -> None:
    result, calls = run(programs)
    assert result.returncode == 0, result.stderr
    gpus = '--subresource=status --type=merge -p {"status": {"capacity": {"nvidia.com/gpu": "1"}}}'
    values = "image.repository=gpuenv.local/gpuenv,image.tag=dev,image.pullPolicy=Never"
    assert calls == [
        "docker info",
        "kind get clusters",
        "kind create cluster --config kind-config.yaml --wait 120s",
        f"docker build -q -f operator/Dockerfile -t {IMAGE} .",
        f"kind load docker-image {IMAGE} --name gpuenv",
        f"kubectl --context {CONTEXT} get nodes -l nvidia.com/gpu.present=true -o name",
        f"kubectl --context {CONTEXT} patch node/gpu-a {gpus}",
        f"kubectl --context {CONTEXT} patch node/gpu-b {gpus}",
        f"helm --kube-context {CONTEXT} upgrade --install gpuenv helm/gpuenv -n gpuenv-system --create-namespace "
        f"--set {values} --wait --timeout 3m",
        f"kubectl --context {CONTEXT} -n gpuenv-system rollout restart deployment/gpuenv-operator",
        f"kubectl --context {CONTEXT} -n gpuenv-system rollout status deployment/gpuenv-operator --timeout=2m",
        f"kubectl --context {CONTEXT} apply -f examples/pytorch-2.9.yaml",
    ]
    assert f"kubectl --context {CONTEXT} wait --for=condition=Ready genv/pytorch-2-9" in result.stdout


def test_it_names_what_is_there() -> None:
    for path in ("kind-config.yaml", "operator/Dockerfile", "helm/gpuenv/Chart.yaml"):
        assert (ROOT / path).is_file()
    cluster = yaml.safe_load((ROOT / "kind-config.yaml").read_text(encoding="utf-8"))
    assert f"kind-{cluster['name']}" == CONTEXT
    example = yaml.safe_load((ROOT / "examples/pytorch-2.9.yaml").read_text(encoding="utf-8"))
    assert example["metadata"]["name"] == "pytorch-2-9"


def test_a_cluster_that_is_there_is_used_again(programs: Path) -> None:
    result, calls = run(programs, CLUSTERS="gpuenv")
    assert result.returncode == 0, result.stderr
    assert not [call for call in calls if call.startswith("kind create")]
    assert calls[2].startswith("docker build")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_missing_program_is_named(programs: Path, program: str) -> None:
    (programs / program).unlink()
    result, calls = run(programs)
    assert (result.returncode, calls) == (2, [])
    assert f"make kind needs {program}" in result.stderr
    assert "make sandbox" in result.stderr


def test_a_docker_that_does_not_run_is_said(programs: Path) -> None:
    result, calls = run(programs, DOCKER_INFO="1")
    assert (result.returncode, calls) == (2, ["docker info"])
    assert "needs a running Docker daemon" in result.stderr


@pytest.mark.parametrize("step", ["kind create", "docker build", "kind load", "helm --kube-context"])
def test_what_fails_ends_it(programs: Path, step: str) -> None:
    result, calls = run(programs, FAILS=step)
    assert result.returncode == 3
    assert calls[-1].startswith(step)
