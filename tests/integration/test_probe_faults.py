"""The whole probe, as a pod starts it, in images whose torch misbehaves: the stand-in of tests/stub_torch."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.support import probes
from tests.support.wait import PATIENCE, finished, wait_until

import gpuenv_probe
from gpuenv.assess.facts import NodeFacts
from gpuenv.assess.sources.probe.probe_document import join_reports
from gpuenv.assess.sources.probe.probe_facts import facts_from_document
from gpuenv_probe import codec

SCHEMA: dict[str, Any] = json.loads(
    Path(gpuenv_probe.__file__).with_name("report.schema.json").read_text(encoding="utf-8")
)
needs_compiler = pytest.mark.skipif(
    probes.fake_cuda.compiler() is None, reason="no C compiler here to make the fake driver libraries with"
)


@needs_compiler
def test_a_healthy_gpu_ends_in_two_whole_reports(tmp_path: Path) -> None:
    gpu = {"name": "NVIDIA A100-SXM4-80GB", "capability": [8, 0], "memory_mib": 81920, "free_mib": 2048}
    image = probes.stub_torch(tmp_path, gpus=[gpu]) | probes.fake_gpu(tmp_path)
    run = probes.run("all", tmp_path, "--profile", "Quick", **image)
    assert run.code == 0, run.output
    facts, kernels = run.reports["facts"], run.reports["kernels"]
    for report in (facts, kernels):
        jsonschema.validate(report, SCHEMA)
        assert report["complete"] is True
        assert report["run"] == "test-run"
        assert "ended" not in report
        assert len(codec.encode(report)) < codec.LIMIT
    assert codec.decode(run.message) == kernels
    assert facts["driver"]["cuInit"] == 0
    assert facts["gpus"][0]["product"] == "NVIDIA A100-SXM4-80GB"
    assert facts["gpus"][0]["health"]["recoveryAction"] == 0
    assert facts["torch"]["archFlags"][0] == "sm_70"
    rows = {(row["name"], row.get("dtype", "")): row["status"] for row in kernels["steps"]}
    assert rows.pop(("matmul", "fp8")) == "Skipped", "an A100 has no fp8"
    assert set(rows.values()) == {"Pass"}
    assert {(row["notMeasured"], row["detail"]) for row in kernels["benchmarks"]} == {
        ("MemoryInUse", "only 2048 MiB of GPU memory are free, 4096 are needed")
    }


FATAL = {
    "segv": ("Crashed", "SIGSEGV"),
    "null": ("Crashed", "SIGSEGV"),
    "kill": ("Crashed", "SIGKILL"),
    "abort": ("Crashed", "SIGABRT"),
    "quit:0": ("Crashed", "exit code 0"),
    "exit:3": ("Fail", "SystemExit"),
    "raise:CUDA error: no kernel image is available for execution on the device": ("Fail", "RuntimeError"),
}


@pytest.mark.parametrize("action", FATAL)
def test_a_fault_in_a_kernel_costs_that_kernel(tmp_path: Path, action: str) -> None:
    status, name = FATAL[action]
    run = probes.run("kernels", tmp_path, **probes.stub_torch(tmp_path, faults={"matmul": action}))
    assert run.code == 0, run.output
    row = run.step("matmul", "fp32")
    assert (row["status"], row["error"]["name"]) == (status, name)
    if "no kernel image" in action:
        assert (row["error"]["layer"], row["error"]["code"]) == ("cudart", 209), (
            "numbered by torch's own runtime"
        )
    assert run.step("alloc")["status"] == "Pass"
    assert run.step("conv", "fp32")["status"] == "Pass"
    assert run.step("jit", "fp32")["status"] == "Pass"
    assert run.report["complete"] is True


@pytest.mark.parametrize("action", ["segv", "quit:0", "exit:3", "kill", "raise:libcudnn.so.9 is not there"])
def test_a_torch_that_does_not_import_is_a_finding(tmp_path: Path, action: str) -> None:
    run = probes.run("all", tmp_path, **probes.stub_torch(tmp_path, faults={"import": action}))
    assert run.code == 0, run.output
    facts, kernels = run.reports["facts"], run.reports["kernels"]
    assert facts["torch"]["importError"]["message"]
    assert "version" not in facts["torch"]
    assert kernels["torch"]["importError"]
    assert "steps" not in kernels
    assert facts["complete"] is True


@pytest.mark.parametrize("action", ["fork", "print"])
def test_a_torch_that_forks_or_prints_changes_nothing(tmp_path: Path, action: str) -> None:
    run = probes.run("kernels", tmp_path, **probes.stub_torch(tmp_path, faults={"import": action}))
    names = [(row["name"], row.get("dtype")) for row in run.report["steps"]]
    assert len(names) == len(set(names))
    assert {row["status"] for row in run.report["steps"]} <= {"Pass", "Skipped"}
    assert run.report["complete"] is True


def test_a_sitecustomize_that_prints_and_a_torch_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("print('hello ' * 5000)", encoding="utf-8")
    (tmp_path / "site" / "torch").mkdir()
    run = probes.run("facts", tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert run.report["torch"]["importError"]["name"] == "NotPyTorch"


def test_a_sticky_error_does_not_spread_to_other_kernels(tmp_path: Path) -> None:
    text = "CUDA error: an illegal memory access was encountered"
    run = probes.run("kernels", tmp_path, **probes.stub_torch(tmp_path, faults={"conv2d": f"sticky:{text}"}))
    row = run.step("conv", "fp32")
    assert (row["status"], row["error"]["code"]) == ("Fail", 700)
    assert {row["status"] for row in run.report["steps"] if row["name"] != "conv"} <= {"Pass", "Skipped"}


def test_a_wrong_result_counts_when_a_fresh_process_repeats_it(tmp_path: Path) -> None:
    run = probes.run("kernels", tmp_path, **probes.stub_torch(tmp_path, faults={"matmul": "wrong"}))
    row = run.step("matmul", "fp32")
    assert row["status"] == "Wrong"
    assert "again in a fresh process" in row["detail"]


@pytest.mark.parametrize("how", ["kill", "term"])
def test_a_wrong_result_is_told_at_once_and_as_unconfirmed(tmp_path: Path, how: str) -> None:
    faults = {"matmul": "wrong", "attention": "hang"}
    process = probes.start("kernels", tmp_path, **probes.stub_torch(tmp_path, faults=faults))
    wait_for_activity(tmp_path, "attention")
    (probes.kill_tree if how == "kill" else lambda _: process.terminate())(process.pid)
    row = probes.finish(process, tmp_path).step("matmul", "fp32")
    assert row["status"] == "Unconfirmed"
    assert "not confirmed yet" in row["detail"]


def test_a_wrong_result_whose_second_run_cannot_start_stays_unconfirmed(tmp_path: Path) -> None:
    faults = {"matmul": "wrong", "import": f"segv-after:1:{tmp_path / 'imports'}"}
    run = probes.run("kernels", tmp_path, **probes.stub_torch(tmp_path, faults=faults))
    assert run.report["complete"] is True
    assert run.step("matmul", "fp32")["status"] == "Unconfirmed"
    assert facts_from_document(join_reports(None, run.report), NodeFacts()).steps[1].status == "Unconfirmed"


def test_gpus_are_counted_by_the_worker_that_counted_most(tmp_path: Path) -> None:
    gpus = [{"name": "A", "capability": [5, 2], "memory_mib": 4096, "free_mib": 100}] * 3
    faults = {"init": f"raise-after:1:{tmp_path / 'starts'}"}
    run = probes.run(
        "kernels", tmp_path, "--profile", "Quick", **probes.stub_torch(tmp_path, gpus=gpus, faults=faults)
    )
    assert {row["gpu"] for row in run.report["benchmarks"]} == {0, 1, 2}


def test_a_wrong_result_that_does_not_come_back_is_told_but_passes(tmp_path: Path) -> None:
    faults = {"attention": f"wrong-once:{tmp_path / 'happened'}"}
    run = probes.run("kernels", tmp_path, **probes.stub_torch(tmp_path, faults=faults))
    row = run.step("attention", "fp32")
    assert row["status"] == "Pass"
    assert row["detail"].startswith("wrong once")


def test_events_too_close_for_their_clock_are_no_wrong_result(tmp_path: Path) -> None:
    run = probes.run("kernels", tmp_path, **probes.stub_torch(tmp_path, elapsed_ms=0.0))
    assert run.step("stream")["status"] == "Pass"


def test_not_a_number_is_a_wrong_result_like_any_other(tmp_path: Path) -> None:
    row = probes.run("kernels", tmp_path, **probes.stub_torch(tmp_path, faults={"script": "wrong"})).step(
        "torchscript"
    )
    assert row["status"] == "Wrong"
    assert "again in a fresh process" in row["detail"]


def test_a_torch_that_knows_fp8_by_name_only_skips_it(tmp_path: Path) -> None:
    gpu = {"name": "NVIDIA H100 80GB HBM3", "capability": [9, 0], "memory_mib": 81559, "free_mib": 2048}
    words = "\"copy_\" not implemented for 'Float8_e4m3fn'"
    run = probes.run(
        "kernels", tmp_path, **probes.stub_torch(tmp_path, gpus=[gpu], faults={"fp8": f"raise:{words}"})
    )
    row = run.step("matmul", "fp8")
    assert (row["status"], row["detail"]) == ("Skipped", f"torch refuses fp8 here: {words}")


@needs_compiler
@pytest.mark.parametrize(("function", "field"), [("cuInit", "libcuda"), ("nvmlInit", "nvml")])
def test_a_driver_library_that_crashes_is_named(tmp_path: Path, function: str, field: str) -> None:
    image = probes.stub_torch(tmp_path) | probes.fake_gpu(tmp_path, crash=function)
    run = probes.run("facts", tmp_path, **image)
    assert "SIGSEGV" in json.dumps(run.report["driver"][field])
    assert run.report["driver"]["libcuda"]["path"].endswith("/libcuda.so.1"), "it does load"
    assert run.report["torch"]["version"] == "2.9.1+cu128", "the rest of the stage goes on"
    other = run.report["driver"].get("version") if function == "cuInit" else run.report["driver"]["cuInit"]
    assert other in ("570.172.08", 0)


def test_the_deadline_leaves_a_report_that_names_the_step(tmp_path: Path) -> None:
    image = probes.stub_torch(tmp_path, faults={"bessel_j0": "hang"})
    run = probes.run_into_deadline("kernels", tmp_path, "jit fp32 on GPU 0", **image)
    assert run.code == 0
    assert (run.report["complete"], run.report["ended"]) == (False, "deadline during jit fp32 on GPU 0")
    assert run.step("jit", "fp32")["status"] == "TimedOut"
    assert run.step("matmul", "fp32")["status"] == "Pass"


PLACES = {
    "import": "import torch",
    "init": "torch.cuda.init",
    "alloc": "alloc",
    "matmul": "matmul fp32",
    "conv2d": "conv fp32",
    "attention": "attention fp32",
    "backward": "train fp32",
    "script": "torchscript fp32",
    "bessel_j0": "jit fp32",
}


def wait_for_activity(directory: Path, activity: str) -> None:
    def reached() -> bool:
        text = probes.message(directory)
        return bool(text) and activity in codec.decode(text).get("ended", "")

    wait_until(reached, f"the probe is {activity!r}", interval=0.02)


@pytest.mark.parametrize("place", PLACES)
def test_sigkill_of_everything_leaves_what_was_known(tmp_path: Path, place: str) -> None:
    image = probes.stub_torch(tmp_path, faults={place: "hang"})
    process = probes.start("kernels", tmp_path, **image)
    wait_for_activity(tmp_path, PLACES[place])
    probes.kill_tree(process.pid)
    run = probes.finish(process, tmp_path)
    assert run.code == -signal.SIGKILL
    report = run.report
    assert report["complete"] is False
    assert report["ended"].startswith(f"during {PLACES[place]}")
    before = list(PLACES).index(place) - 2
    passed = {row["name"] for row in report.get("steps", []) if row["status"] == "Pass"}
    assert {name.split()[0] for name in list(PLACES.values())[2 : 2 + max(before, 0)]} <= passed


def test_sigterm_ends_in_good_order(tmp_path: Path) -> None:
    image = probes.stub_torch(tmp_path, faults={"attention": "hang"})
    process = probes.start("kernels", tmp_path, **image)
    wait_for_activity(tmp_path, "attention")
    process.terminate()
    run = probes.finish(process, tmp_path)
    assert run.code == 0
    assert (run.report["complete"], run.report["ended"]) == (
        False,
        "sigterm during attention fp32 on GPU 0",
    )
    assert run.step("conv", "fp32")["status"] == "Pass"


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    process = probes.start("kernels", tmp_path, **probes.stub_torch(tmp_path, faults={"alloc": "hang"}))
    wait_for_activity(tmp_path, "alloc")
    worker = probes.children(process.pid)
    assert len(worker) == 1
    process.kill()
    probes.finish(process, tmp_path)
    wait_until(lambda: not Path(f"/proc/{worker[0]}").exists(), "the worker is gone")


def test_the_users_checks_keep_exit_code_signal_and_last_lines(tmp_path: Path) -> None:
    def check(name: str, *command: str, seconds: float = PATIENCE) -> dict[str, Any]:
        return {"name": name, "command": command, "timeoutSeconds": seconds}

    python = sys.executable
    checks = [
        check("good", python, "-c", "print('all is well')"),
        check("bad", python, "-c", "import sys; print('x' * 5000, flush=True); sys.exit('out of cheese')"),
        check("killed", python, "-c", "import os; os.kill(os.getpid(), 9)"),
        check("slow", "sh", "-c", "echo zzz; exec sleep 600", seconds=2),
        check("absent", "/no/such/program"),
        check("daemon", python, "-c", "import os, signal; os.fork() or signal.pause()"),
        check("clean", python, "-c", "import os; print([n for n in os.environ if n.startswith('GPUENV_')])"),
    ]
    image = probes.stub_torch(tmp_path, init_error="No CUDA GPUs are available")
    run = probes.run("kernels", tmp_path, **image, GPUENV_CHECKS=json.dumps(checks))
    rows = {row["name"]: row for row in run.report["commands"]}
    assert rows["good"] == {"name": "good", "exitCode": 0, "tail": "all is well"}
    assert rows["bad"]["exitCode"] == 1
    assert rows["bad"]["tail"].endswith("out of cheese")
    assert len(rows["bad"]["tail"]) <= 400
    assert rows["killed"]["signal"] == signal.SIGKILL
    assert (rows["slow"]["timedOut"], rows["slow"]["tail"]) == (True, "zzz")
    assert rows["absent"] == {
        "name": "absent",
        "exitCode": 127,
        "tail": "/no/such/program: No such file or directory",
    }
    assert rows["daemon"]["exitCode"] == 0
    assert rows["clean"]["tail"] == "[]"


def test_a_check_that_the_stage_has_no_time_for_is_not_blamed(tmp_path: Path) -> None:
    slow = [{"name": "slow", "command": ["sleep", "600"], "timeoutSeconds": 900}]
    image = probes.stub_torch(tmp_path, init_error="No CUDA GPUs are available")
    run = probes.run_into_deadline("kernels", tmp_path, "check slow", **image, GPUENV_CHECKS=json.dumps(slow))
    assert (run.report["complete"], run.report["ended"]) == (False, "deadline during check slow")
    assert "commands" not in run.report


def test_modules_are_imported_each_by_itself(tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    for name, text in {
        "good": "",
        "broken": "raise ImportError('undefined symbol: _ZN3c10')",
        "deadly": "import os; os.abort()",
        "leaving": "raise SystemExit(0)",
    }.items():
        (modules / f"{name}.py").write_text(text, encoding="utf-8")
    image = probes.stub_torch(tmp_path, init_error="No CUDA GPUs are available")
    image["PYTHONPATH"] += f":{modules}"
    names = ["good", "broken", "deadly", "leaving", "absent", "good"]
    run = probes.run("kernels", tmp_path, **image, GPUENV_IMPORTS=json.dumps(names[:5]))
    status = {row["name"]: row["status"] for row in run.report["steps"]}
    assert status == {
        "import:good": "Pass",
        "import:broken": "Fail",
        "import:deadly": "Crashed",
        "import:leaving": "Fail",
        "import:absent": "Fail",
    }
    assert run.step("import:broken")["error"]["message"] == "undefined symbol: _ZN3c10"


@pytest.mark.parametrize("sharing", ["time-slicing", "mps", "mig"])
def test_shared_gpus_are_not_measured(tmp_path: Path, sharing: str) -> None:
    run = probes.run(
        "kernels", tmp_path, "--profile", "Standard", **probes.stub_torch(tmp_path), GPUENV_SHARING=sharing
    )
    assert {(row["notMeasured"], row["detail"]) for row in run.report["benchmarks"]} == {
        ("Shared", f"the GPU is shared ({sharing})")
    }
    assert all("median" not in row for row in run.report["benchmarks"])


def test_every_gpu_gets_a_worker_of_its_own(tmp_path: Path) -> None:
    gpus = [{"name": "A", "capability": [5, 2], "memory_mib": 4096, "free_mib": 100}] * 2
    run = probes.run("kernels", tmp_path, **probes.stub_torch(tmp_path, gpus=gpus, faults={"alloc": "segv"}))
    assert [row["status"] for row in run.report["steps"] if row["name"] == "alloc"] == ["Crashed", "Crashed"]
    assert {row["gpu"] for row in run.report["steps"]} == {0, 1}


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.13"])
def test_from_the_oldest_to_the_newest_python(tmp_path: Path, version: str) -> None:
    python = probes.interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    run = probes.run("all", tmp_path, python=python, **probes.stub_torch(tmp_path))
    assert run.code == 0, run.output
    assert run.reports["facts"]["container"]["python"].startswith(version)
    assert {row["status"] for row in run.report["steps"]} == {"Pass", "Skipped"}


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7"])
def test_a_python_that_is_too_old_says_so_in_one_line(tmp_path: Path, version: str) -> None:
    python = probes.interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    run = probes.run("facts", tmp_path, python=python)
    assert run.code == 65
    assert run.output.count("\n") == 1
    assert f"this image's Python is {version}" in run.output
    assert run.message in run.output


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (["bench"], {}, "invalid choice"),
        (["facts", "--profile", "Thorough"], {}, "--profile"),
        (["facts"], {"GPUENV_PROFILE": "quick"}, "GPUENV_PROFILE is 'quick'"),
        (["facts"], {"GPUENV_DEADLINE_SECONDS": "soon"}, "GPUENV_DEADLINE_SECONDS is 'soon'"),
        (["facts"], {"GPUENV_IMPORTS": "flash_attn"}, "GPUENV_IMPORTS is no JSON list"),
        (["facts"], {"GPUENV_IMPORTS": '["os; rm"]'}, "no module name"),
        (["facts"], {"GPUENV_CHECKS": '[{"name": "x"}]'}, "GPUENV_CHECKS entries look like"),
        (["worker", "driver", "{}"], {}, "started by the probe itself"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_64(
    tmp_path: Path, arguments: list[str], variables: dict[str, str], words: str
) -> None:
    done = finished([sys.executable, probes.archive(), *arguments], env=variables)
    assert done.returncode == 64
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
