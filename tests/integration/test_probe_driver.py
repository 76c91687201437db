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
    image = probes.fake_gpu(tmp_path, hang=function) | {"GPUENV_DEADLINE_SECONDS": "6"}
    run = probes.run("facts", tmp_path, **image)
    assert run.code == 0
    assert (run.report["complete"], run.report["ended"]) == (False, "deadline")
    where = run.report["driver"]["nvml" if function == "nvmlInit" else "libcuda"]
    assert "TimedOut" in json.dumps(where)
    assert run.report["driver"]["deviceNodes"]
    assert run.report["container"]["python"]
