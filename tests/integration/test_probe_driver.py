"""Raw facts through the probe's own ctypes calls and NVIDIA's bindings, answered by real shared objects (fake_cuda)."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support import probes

from gpuenv_probe import codec

pytestmark = pytest.mark.skipif(
    probes.fake_cuda.compiler() is None, reason="no C compiler here to make the fake driver libraries with"
)
NUMBERS = [1, 2, 3, 34, 35, 36, 46, 100, 101, 214, 304, 802, 803, 804, 805, 807, 999]


def facts(directory: Path, **settings: Any) -> dict[str, Any]:
    """The facts report of a machine whose driver is as ``settings`` say."""
    run = probes.run("facts", directory, **probes.fake_gpu(directory, **settings))
    assert run.code == 0, run.output
    assert run.report["complete"] is True
    return run.report


@pytest.mark.parametrize("number", NUMBERS)
def test_cuinits_number_arrives_raw_and_nvml_still_names_the_gpu(tmp_path: Path, number: int) -> None:
    report = facts(tmp_path, cuInit=number)
    assert report["driver"]["cuInit"] == number
    assert "deviceCount" not in report["driver"], "what was not counted is not known"
    assert report["gpus"][0]["product"] == "NVIDIA A100-SXM4-80GB"


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (9, "NVML_ERROR_DRIVER_NOT_LOADED"),
        (18, "NVML_ERROR_LIB_RM_VERSION_MISMATCH"),
        (999, "NVML_ERROR_UNKNOWN"),
    ],
)
def test_nvmls_error_is_named_and_cuda_is_asked_all_the_same(tmp_path: Path, number: int, name: str) -> None:
    report = facts(tmp_path, nvmlInit=number)
    assert (report["driver"]["nvml"]["code"], report["driver"]["nvml"]["name"]) == (number, name)
    assert report["driver"]["cuInit"] == 0
    assert report["gpus"] == [
        {
            "index": 0,
            "product": "NVIDIA A100-SXM4-80GB",
            "uuid": "GPU-10111213-1415-1617-1819-1a1b1c1d1e00",
            "computeCapability": "8.0",
            "memoryMiB": 81920,
        }
    ]


def test_a_gpu_that_fell_off_the_bus_is_a_row_with_nvmls_error(tmp_path: Path) -> None:
    report = facts(tmp_path, cuInit=999, nvmlDeviceGetHandleByIndex_v2=15)
    error = report["gpus"][0]["health"]["error"]
    assert (error["code"], error["name"]) == (15, "NVML_ERROR_GPU_IS_LOST")


def test_health_is_complete_and_what_is_not_offered_is_named(tmp_path: Path) -> None:
    settings = {
        "eccUncorrected": 2,
        "remapFailed": 1,
        "recoveryAction": 2,
        "fabricState": 2,
        "usedMiB": 1920,
        "nvmlDeviceGetTemperature": 13,
        "nvmlDeviceGetComputeMode": 4,
        "value.nvmlDeviceGetEnforcedPowerLimit": 250000,
        "value.nvmlDeviceGetCurrPcieLinkGeneration": 1,
        "value.nvmlDeviceGetCurrentClocksEventReasons": 0x48,
    }
    gpu = facts(tmp_path, **settings)["gpus"][0]
    assert (gpu["memoryMiB"], gpu["memoryFreeMiB"]) == (81920, 80000)
    health = gpu["health"]
    expected = {
        "pciId": "00000000:10:00.0",
        "eccMode": True,
        "eccUncorrected": 2,
        "remapFailed": True,
        "remapPending": False,
        "recoveryAction": 2,
        "fabricState": 2,
        "powerLimitW": 250.0,
        "powerDefaultW": 400.0,
        "pcieGen": 1,
        "pcieGenMax": 4,
        "throttleReasons": 0x48,
        "utilisationPercent": 0,
        "persistence": True,
    }
    assert {name: health.get(name) for name in expected} == expected
    assert health["unavailable"] == {
        "3": ["retiredPagesPending"],
        "4": ["computeMode"],
        "13": ["temperatureC"],
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {}),
        ({"value.nvmlDeviceGetVirtualizationMode": 1}, {"virtualizationMode": 1}),
        (
            {"value.nvmlDeviceGetVirtualizationMode": 2, "licensed": 0},
            {"virtualizationMode": 2, "vgpuLicensed": False},
        ),
        ({"value.nvmlDeviceGetVirtualizationMode": 2}, {"virtualizationMode": 2, "vgpuLicensed": True}),
        (
            {"value.nvmlDeviceGetVirtualizationMode": 2, "nvmlDeviceGetGridLicensableFeatures_v4": 13},
            {"virtualizationMode": 2},
        ),
    ],
    ids=["bare-metal", "passed-through", "no-licence", "licence", "old-driver"],
)
def test_a_virtual_gpu_tells_its_licence(
    tmp_path: Path, settings: dict[str, int], expected: dict[str, object]
) -> None:
    health = facts(tmp_path, name="GRID A100D-20C", **settings)["gpus"][0]["health"]
    names = ("virtualizationMode", "vgpuLicensed")
    assert {name: health[name] for name in names if name in health} == expected
    assert not {*names} & {name for refused in health["unavailable"].values() for name in refused}


def test_a_mig_slice_is_named_by_its_profile(tmp_path: Path) -> None:
    gpu = facts(tmp_path, mig="1g.10gb")["gpus"][0]
    assert gpu["mig"] == "1g.10gb"
    assert gpu["uuid"].startswith("MIG-")
    assert gpu["health"]["eccMode"] is True, "counters are the whole GPU's"


def test_a_whole_gpu_in_mig_mode_says_so(tmp_path: Path) -> None:
    assert facts(tmp_path, **{"value.nvmlDeviceGetMigMode": 1})["gpus"][0]["mig"] == "enabled"


def test_eight_gpus_fit_with_nothing_left_out(tmp_path: Path) -> None:
    report = facts(tmp_path, count=8, name="NVIDIA H100 80GB HBM3", capability="9.0", memoryMiB=81559)
    assert [gpu["index"] for gpu in report["gpus"]] == list(range(8))
    assert len({gpu["uuid"] for gpu in report["gpus"]}) == 8
    assert "omitted" not in report
    assert len(codec.encode(report)) <= codec.LIMIT


@pytest.mark.parametrize("where", ["stubs", "compat"])
def test_a_library_from_the_image_is_told_by_its_place(tmp_path: Path, where: str) -> None:
    directory = tmp_path / "cuda" / where
    shutil.copytree(probes.fake_libraries(), directory)
    variables = probes.fake_gpu(tmp_path) | {"LD_LIBRARY_PATH": str(directory)}
    driver = probes.run("facts", tmp_path, **variables).report["driver"]
    assert driver["libcuda"] == {
        "path": str(directory / "libcuda.so.1"),
        "origin": {"stubs": "stub", "compat": "compat"}[where],
    }


def test_a_library_that_is_no_library_is_told_in_the_loaders_words(tmp_path: Path) -> None:
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        (tmp_path / name).write_text("not an ELF file", encoding="utf-8")
    driver = probes.run("facts", tmp_path, LD_LIBRARY_PATH=str(tmp_path)).report["driver"]
    assert (
        "file too short" in driver["libcuda"]["error"] or "invalid ELF header" in driver["libcuda"]["error"]
    )
    assert driver["nvml"]["code"] == 12


@pytest.mark.parametrize("function", ["cuInit", "nvmlInit"])
def test_a_driver_that_hangs_leaves_a_report_that_names_it(tmp_path: Path, function: str) -> None:
    step = "nvml" if function == "nvmlInit" else function
    run = probes.run_into_deadline("facts", tmp_path, step, **probes.fake_gpu(tmp_path, hang=function))
    assert run.code == 0
    assert (run.report["complete"], run.report["ended"]) == (False, f"deadline during {step}")
    where = run.report["driver"]["nvml" if function == "nvmlInit" else "libcuda"]
    assert "TimedOut" in json.dumps(where)
    assert run.report["driver"]["deviceNodes"]
    assert run.report["container"]["python"]


def shorten(monkeypatch: pytest.MonkeyPatch, directory: Path, module: str, old: str, new: str) -> None:
    """Makes a limit inside the probe short enough to wait for."""
    path = probes.changed_archive(directory, module, old, new)
    monkeypatch.setattr(probes, "archive", lambda: path)


def rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The report's GPUs; both have to be there, whatever happened."""
    assert [gpu["index"] for gpu in report["gpus"]] == [0, 1]
    found: list[dict[str, Any]] = report["gpus"]
    return found


@pytest.mark.parametrize("how", ["crash", "hang"])
def test_a_cuinit_that_takes_its_worker_down_costs_no_row(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"count": 2, how: "cuInit"}
    image = probes.fake_gpu(tmp_path, **settings)
    if how == "hang":
        shorten(monkeypatch, tmp_path, "facts/driver_facts", 'Step("cuInit", 60.0', 'Step("cuInit", 1.0')
    report = probes.run("facts", tmp_path, **image).report
    assert report["driver"]["libcuda"]["error"].startswith("cuInit")
    for gpu in rows(report):
        assert gpu["product"] == "NVIDIA A100-SXM4-80GB"
        assert gpu["health"]["eccMode"] is True


def test_an_nvml_call_that_crashes_costs_nothing_but_that_gpus_health(tmp_path: Path) -> None:
    report = facts(tmp_path, count=3, crash="nvmlDeviceGetRemappedRows", crashOf=1)
    assert [gpu["index"] for gpu in report["gpus"]] == [0, 1, 2]
    assert [gpu["product"] for gpu in report["gpus"]] == ["NVIDIA A100-SXM4-80GB"] * 3
    assert [gpu.get("health", {}).get("eccMode") for gpu in report["gpus"]] == [True, None, True]
    assert "health of GPU 1 Crashed" in report["driver"]["nvml"]["message"]
    assert report["driver"]["deviceCount"] == 3


def test_an_nvml_call_that_crashes_everywhere_costs_no_row(tmp_path: Path) -> None:
    for gpu in rows(facts(tmp_path, count=2, crash="nvmlDeviceGetRemappedRows")):
        assert gpu["memoryFreeMiB"] == 81408, "who it is was known before its health was asked for"


def test_without_cuda_a_crash_in_nvml_leaves_bare_rows(tmp_path: Path) -> None:
    report = facts(tmp_path, count=2, cuInit=999, crash="nvmlDeviceGetName")
    assert [gpu["health"]["eccMode"] for gpu in rows(report)] == [True, True]


def test_nvml_that_hangs_twice_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, tmp_path, "facts/gpus", "_LIMIT = 15.0", "_LIMIT = 1.0")
    report = facts(tmp_path, count=8, hang="nvmlDeviceGetRemappedRows")
    assert [gpu["index"] for gpu in report["gpus"]] == list(range(8))
    assert [("memoryFreeMiB" in gpu) for gpu in report["gpus"]] == [True, True] + [False] * 6
    assert report["driver"]["nvml"]["name"] == "TimedOut"


def test_what_nvml_refuses_of_a_gpus_identity_is_named(tmp_path: Path) -> None:
    refused = {
        "nvmlDeviceGetName": 3,
        "nvmlDeviceGetUUID": 4,
        "nvmlDeviceGetMemoryInfo": 999,
        "nvmlDeviceGetCudaComputeCapability": 13,
        "nvmlDeviceGetMigMode": 3,
    }
    gpu = facts(tmp_path, cuInit=3, **refused)["gpus"][0]
    unavailable = gpu["health"]["unavailable"]
    assert unavailable["999"] == ["memoryMiB"]
    assert unavailable["4"] == ["uuid"]
    assert unavailable["13"] == ["computeCapability"]
    assert unavailable["3"] == ["product", "mig", "retiredPagesPending"]


def test_counts_that_fail_are_told(tmp_path: Path) -> None:
    driver = facts(tmp_path, nvmlDeviceGetCount_v2=999, cuDeviceGetCount=46)["driver"]
    assert (driver["nvml"]["layer"], driver["nvml"]["code"]) == ("nvml", 999)
    assert driver["cuda"] == {
        "layer": "cuda",
        "code": 46,
        "name": "cuDeviceGetCount",
        "message": "cuDeviceGetCount returned 46",
    }
    assert driver["cuInit"] == 0


def test_without_nvml_a_mig_slice_is_known_by_its_name(tmp_path: Path) -> None:
    gpu = facts(tmp_path, mig="1g.10gb", nvmlInit=9)["gpus"][0]
    assert gpu["mig"] == "1g.10gb"
    assert gpu["uuid"] == "MIG-10111213-1415-1617-1819-1a1b1c1d1e00"
    assert gpu["product"] == "NVIDIA A100-SXM4-80GB MIG 1g.10gb"


def test_the_images_own_old_bindings_are_neither_used_nor_touched(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "pynvml.py").write_text("NVMLError = OSError\n", encoding="utf-8")
    (site / "sitecustomize.py").write_text("import pynvml\n", encoding="utf-8")
    run = probes.run("facts", tmp_path, **probes.fake_gpu(tmp_path), PYTHONPATH=str(site))
    assert run.report["driver"]["version"] == "570.172.08"
    assert run.report["gpus"][0]["health"]["eccMode"] is True


@pytest.mark.parametrize("stream", ["None", "io.StringIO()"])
def test_an_image_that_replaces_stderr_kills_no_worker(tmp_path: Path, stream: str) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"import io, sys\nsys.stderr = {stream}\n", encoding="utf-8")
    run = probes.run("facts", tmp_path, **probes.fake_gpu(tmp_path), PYTHONPATH=str(site))
    assert run.report["driver"]["cuInit"] == 0
    assert run.report["gpus"][0]["product"] == "NVIDIA A100-SXM4-80GB"


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.13"])
def test_the_bindings_load_out_of_the_archive_in_every_python(tmp_path: Path, version: str) -> None:
    python = probes.interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    run = probes.run("facts", tmp_path, python=python, **probes.fake_gpu(tmp_path))
    assert run.report["driver"]["version"] == "570.172.08"
    assert run.report["gpus"][0]["health"]["eccMode"] is True
