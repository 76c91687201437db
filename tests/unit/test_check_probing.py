"""What ``gpuenv check`` decides about the probe before it runs, and what it makes of how it ended."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.api.spec.environment_parser import parse
from gpuenv.cli import check
from gpuenv.cli.inputs import local_probe
from gpuenv.cli.inputs.environment_file import read_environment
from gpuenv.cli.shared.errors import BadInput

IMAGE = "example.com/team/train:1"


@pytest.mark.parametrize(
    ("profile", "gpus", "needed"),
    [
        ("None", 1, 300),
        # A profile's seconds, twenty to begin with, and an import of torch, on every GPU after the kernels of all.
        ("Quick", 1, 300 + 10 + 20),
        ("Standard", 1, 300 + 30 + 20),
        ("Standard", 8, 300 + 7 * 60 + 8 * (30 + 20 + 30)),
    ],
)
def test_time_grows_with_gpus_and_profile(profile: str, gpus: int, needed: int) -> None:
    assert local_probe.deadline_seconds(EnvironmentSpec(image=IMAGE), profile, gpus) >= needed


def test_time_grows_with_checks_and_imports_up_to_what_the_probe_takes() -> None:
    plain = local_probe.deadline_seconds(EnvironmentSpec(image=IMAGE), "None", 1)
    checks = [{"name": f"c{number}", "command": ["true"], "timeoutSeconds": 600} for number in range(3)]
    spec = parse(
        {
            "image": IMAGE,
            "checks": {"commands": checks, "imports": ["json"]},
        }
    )
    assert local_probe.deadline_seconds(spec, "None", 1) >= plain + 1800 + 180
    many = parse({"image": IMAGE, "checks": {"commands": [{**checks[0], "timeoutSeconds": 3600}] * 30}})
    assert local_probe.deadline_seconds(many, "None", 1) == 86400


@pytest.mark.parametrize(
    ("nodes", "count"),
    [
        ([f"nvidia{number}" for number in range(8)] + ["nvidiactl", "nvidia-uvm", "nvidia-caps", "sda"], 8),
        (["nvidia12"], 1),
        (["dxg"], 1),
        ([], 1),
    ],
)
def test_gpus_are_counted_by_their_device_nodes(tmp_path: Path, nodes: list[str], count: int) -> None:
    for name in nodes:
        (tmp_path / name).touch()
    assert local_probe.gpu_count(tmp_path) == count
    assert local_probe.gpu_count(tmp_path / "absent") == 1


@pytest.mark.parametrize(
    ("probe", "seconds"),
    [
        ("{}", None),
        ("{timeouts: {pullSeconds: 60}}", None),
        ("{timeouts: {runSeconds: 300}}", 300),
        ("{timeouts: {runSeconds: 900}}", 900),
    ],
)
def test_the_time_a_file_gives_is_told_from_the_default(
    tmp_path: Path, probe: str, seconds: int | None
) -> None:
    path = tmp_path / "environment.yaml"
    path.write_text(f"kind: GPUEnvironment\nspec: {{image: '{IMAGE}', probe: {probe}}}\n", encoding="utf-8")
    assert read_environment(str(path))[1] == seconds


@pytest.mark.parametrize(
    ("files", "env", "expected"),
    [
        ({}, {}, False),
        ({"proc/1/cgroup": "0::/init.scope\n"}, {}, False),
        ({"proc/1/cgroup": "0::/user.slice/user-1000.slice\n"}, {"HOME": "/root"}, False),
        ({"proc/1/cgroup": "4:memory:/kubepods/burstable/pod1/abc\n"}, {}, True),
        ({"proc/1/cgroup": "2:cpu:/docker/0123\n"}, {}, True),
        ({".dockerenv": ""}, {}, True),
        ({"run/.containerenv": ""}, {}, True),
        ({}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, True),
        ({}, {"container": "podman"}, True),
    ],
)
def test_a_container_is_told_from_a_machine(
    tmp_path: Path, files: dict[str, str], env: dict[str, str], expected: bool
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert local_probe.in_container(tmp_path, env) is expected


@pytest.mark.parametrize("machine", [True, False])
def test_on_a_machine_nothing_speaks_of_containers_and_of_an_environment(
    monkeypatch: pytest.MonkeyPatch, machine: bool
) -> None:
    document = {
        "facts": {
            "container": {"uid": 0},
            "driver": {"libcuda": {"path": None, "error": "libcuda.so.1: cannot open shared object file"}},
            "torch": {"missing": True},
        }
    }
    monkeypatch.setattr(check, "_interpreter", lambda _: "/usr/bin/python3")
    monkeypatch.setattr(local_probe, "require_python", lambda *_: None)
    monkeypatch.setattr(local_probe, "run", lambda *_: local_probe.ProbeRun(document, 0, ""))
    monkeypatch.setattr(local_probe, "in_container", lambda: not machine)
    found = CliRunner().invoke(check.command, [], standalone_mode=False)
    assert "neither PyTorch nor a driver nor a GPU was found" in found.output
    assert "with --python" in found.output
    assert "spec.probe" not in found.output
    assert ("the container runs as root" in found.output) is not machine
    assert ("--gpus all" in found.output) is not machine


def test_a_program_that_does_not_answer_is_no_python(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 100\n", encoding="ascii")
    program.chmod(0o755)
    with pytest.raises(BadInput, match=r"is no Python interpreter \(no answer in 0.2 s\)"):
        local_probe.require_python(str(program), {}, limit=0.2)
    program.write_text("no program at all", encoding="ascii")
    with pytest.raises(BadInput, match="cannot be started: Exec format error"):
        local_probe.require_python(str(program), {})


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-9, "signal 9 (SIGKILL)"),
        (137, "signal 9 (SIGKILL)"),
        (-11, "signal 11 (SIGSEGV)"),
        (70, "exit code 70"),
        (128, "exit code 128"),
        (255, "exit code 255"),
        (-40, "signal 40"),
    ],
)
def test_how_a_process_ended_is_told_in_words(code: int, words: str) -> None:
    assert local_probe.how_it_ended(code) == words


@pytest.mark.parametrize(
    ("text", "reports"),
    [
        ('{"facts": {"stage": "facts"}}', {"facts": {"stage": "facts"}}),
        ('{"facts": {}}\n   "of": "a longer one before"}', {"facts": {}}),
        ('{"facts": {"sta', {}),
        ("[]", {}),
        ("", {}),
        (None, {}),
    ],
)
def test_the_report_is_read_whenever_the_probe_was_killed(
    tmp_path: Path, text: str | None, reports: dict[str, object]
) -> None:
    path = tmp_path / "reports.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert local_probe.read_reports(path) == reports
