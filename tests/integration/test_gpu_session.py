"""The session for a machine with a GPU, as far as it goes without one. No figure here is anybody's benchmark."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.bench import gpu_session
from tests.support import probes
from tests.support.gpu_fixtures import assess_fixture
from tests.support.wait import finished
from tests.torch_releases import releases

from gpuenv.assess.model import Verdict

A100 = {"name": "NVIDIA A100-SXM4-80GB", "capability": [8, 0], "memory_mib": 81920, "free_mib": 2048}
"""Too little free memory for benchmarks: a stand-in has no figures."""


def copied_checkout(directory: Path) -> Path:
    """What somebody would copy to a machine with a GPU; the path of the script in it."""
    root = Path(gpu_session.__file__).parents[2]
    shutil.copytree(root / "probe_image" / "gpuenv_probe", directory / "probe_image" / "gpuenv_probe")
    bench = directory / "tests" / "bench"
    bench.mkdir(parents=True)
    for name in ("gpu_session.py", "torch_figures.py"):
        shutil.copy(root / "tests" / "bench" / name, bench / name)
    return bench / "gpu_session.py"


def run(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the session from a copied checkout, without any installed package."""
    command = [sys.executable, "-S", str(copied_checkout(directory / "copy")), *arguments]
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | variables
    return finished(command, env=env, cwd=directory)


@pytest.mark.parametrize("arguments", [(), ("--device", "cpu")])
def test_without_a_gpu_nothing_is_measured(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(tmp_path, *arguments, "--probe", str(probes.archive()))
    assert done.returncode == 2
    assert "nothing to measure" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    assert not (tmp_path / "copy" / "tests" / "fixtures").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--parts", "all"), "--parts are some of profiles, spread, compare"),
        (("--runs", "0"), "--runs is 1 or more"),
        (("--runs", "many"), "invalid int value"),
    ],
)
def test_bad_usage_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert gpu_session.main([*arguments]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


@pytest.mark.skipif(probes.fake_cuda.compiler() is None, reason="no C compiler here for the fake driver")
def test_a_session_keeps_reports_that_can_be_assessed(tmp_path: Path) -> None:
    variables = probes.stub_torch(tmp_path, gpus=[A100]) | probes.fake_gpu(tmp_path)
    archive = ("--probe", str(probes.archive()))
    done = run(tmp_path, "--parts", "profiles,spread", "--runs", "2", *archive, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "gpu-session.json").read_text(encoding="utf-8"))
    assert set(result["seconds"]) == set(gpu_session.PROFILES)
    kept = tmp_path / "copy" / "tests" / "fixtures" / "gpu" / result["fixture"]
    assert kept.name == f"nvidia-a100-sxm4-80gb-570.172.08-{result['machine']['date']}.json"
    assert {found.verdict for found in assess_fixture(kept).values()} == {Verdict.COMPATIBLE}
    assert all(row["runs"] == 0 and "MiB of GPU memory are free" in row["detail"] for row in result["spread"])
    assert result["spread"], "what could not be measured is named"
    assert "profile Standard" in done.stdout


def test_the_packed_probe_runs(tmp_path: Path) -> None:
    gpu_session.pack(tmp_path / "probe.pyz")
    found = gpu_session.Probe(tmp_path / "probe.pyz", tmp_path).run("facts")
    assert found.reports["facts"]["complete"]
    assert found.seconds > 0


def test_a_probe_that_cannot_run_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "probe.pyz").write_text("raise SystemExit('broken')", encoding="ascii")
    done = run(tmp_path, "--probe", str(tmp_path / "probe.pyz"))
    assert (done.returncode, done.stderr) == (1, "gpu_session: the probe ended with 1: broken\n")


def row(median: float | None, dtype: str = "FP16") -> dict[str, Any]:
    figure = {"benchmark": "MatMul", "dtype": dtype, "gpu": 0, "unit": "TFLOPS"}
    return figure | ({"detail": "no fp8"} if median is None else {"median": median})


def test_spread_is_of_the_runs_medians() -> None:
    runs = [[row(value), row(None, "FP8")] for value in (98.0, 100.0, 102.0)]
    measured, skipped = gpu_session.spread(runs)
    assert (measured["median"], measured["runs"], measured["rangePercent"]) == (100.0, 3, 4.0)
    assert measured["deviationPercent"] == 2.0
    assert (skipped["runs"], skipped["detail"]) == (0, "no fp8")
    assert gpu_session.spread([[row(100.0)]])[0]["deviationPercent"] == 0.0


def test_both_figures_stand_side_by_side_in_the_table() -> None:
    both = gpu_session.comparison_row(
        [100.0, 90.0, 95.0], [{"name": "MatMul FP16", "shape": "8 x 8", "value": 100.04}]
    )
    assert both["ratio"] == 0.95
    alone = gpu_session.comparison_row([7.0], [{"name": "MatMul FP8", "shape": "8 x 8", "detail": "refused"}])
    about = {"gpu": "G", "gpuCount": 1, "driver": "570.172.08", "torch": "2.9.1", "date": "2026-01-31"}
    result = {"machine": about, "seconds": {"None": 12.34}, "spread": gpu_session.spread([[row(5.0)]])}
    assert gpu_session.table({**result, "comparison": [both, alone]}).splitlines() == [
        "G x 1, driver 570.172.08, PyTorch 2.9.1, 2026-01-31",
        "profile None          12.3 s in all",
        "GPU 0 MatMul FP16          5 TFLOPS range  0.00 %, deviation  0.00 % over 1 runs",
        "MatMul FP16  8 x 8: probe 95, torch.utils.benchmark 100, ratio 0.950",
        "MatMul FP8   8 x 8: probe 7; torch.utils.benchmark: refused",
    ]


def test_only_what_the_probe_measured_on_the_first_gpu_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[list[str]] = []

    class Told(gpu_session.Probe):
        def run(self, stage: str, profile: str = "None") -> gpu_session.Run:
            train = {"benchmark": "Train", "dtype": "FP32", "gpu": 0, "median": 9.0}
            rows = [row(100.0 + len(rounds)), row(None, "FP8"), row(7.0) | {"gpu": 1}, train]
            return gpu_session.Run({"kernels": {"benchmarks": rows}}, 1.0)

    def measured(names: list[str]) -> list[dict[str, Any]]:
        rounds.append(names)
        return [{"name": name, "shape": "8 x 8", "value": 202.0} for name in names]

    monkeypatch.setattr(gpu_session, "measured_by_torch", measured)
    found = gpu_session.compare(Told(Path("archive"), Path("directory")))
    assert rounds == [["MatMul FP16"]] * gpu_session.ROUNDS
    assert [(entry["figure"], entry["probe"], entry["ratio"]) for entry in found] == [
        ("MatMul FP16", 101.0, 0.5)
    ]


def test_no_fixture_names_one_device_in_the_world(tmp_path: Path) -> None:
    uuid = "GPU-8a1b2c3d-0123-4567-89ab-0123456789ab"
    reports = {"facts": {"gpus": [{"uuid": uuid}], "env": {"NVIDIA_VISIBLE_DEVICES": uuid}}}
    about = {"gpu": "NVIDIA L4", "driver": "570.1", "date": "2026-01-31"}
    path = gpu_session.write_fixture(tmp_path, about, {"None": gpu_session.Run(reports, 1.0)})
    text = path.read_text(encoding="utf-8")
    assert path.name == "nvidia-l4-570.1-2026-01-31.json"
    assert uuid not in text
    assert text.count("GPU-00000000-0000-0000-0000-000000000000") == 2


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023",
            "535.104.05",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build", "580.65.06"),
        ("something else", None),
    ],
)
def test_the_kernel_module_tells_the_driver(tmp_path: Path, text: str, version: str | None) -> None:
    (tmp_path / "version").write_text(text, encoding="ascii")
    assert gpu_session.kernel_module(tmp_path / "version") == version
    assert gpu_session.kernel_module(tmp_path / "absent") is None


def test_torch_measures_the_same_shapes(tmp_path: Path) -> None:
    """The real torch.utils.benchmark on small matrices and a CPU: calls and units, not figures."""
    try:
        python = releases.ensure(releases.release(releases.DEFAULT))
    except releases.UnavailableError as error:
        pytest.skip(str(error))
    code = """
import json, torch, torch_figures
torch_figures.SETTLE_SECONDS = torch_figures.MEASURE_SECONDS = 0.01
names = ["MatMul FP32", "MatMul TF32", "MatMul BF16", "MatMul FP8", "DeviceMemory"]
print(json.dumps(torch_figures.measure(torch, names, "cpu", 64, 1 << 20)))
"""
    directory = Path(gpu_session.__file__).parent
    done = finished([python, "-c", code], cwd=directory, env=os.environ | probes.ONE_THREAD)
    assert done.returncode == 0, done.stderr
    rows = {found["name"]: found for found in json.loads(done.stdout)}
    assert all(
        rows[name]["value"] > 0 for name in ("MatMul FP32", "MatMul TF32", "MatMul BF16", "DeviceMemory")
    )
    assert all("value" in found or found["detail"] for found in rows.values())
    assert (rows["MatMul FP32"]["shape"], rows["DeviceMemory"]["shape"]) == ("64 x 64", "1 MiB")
