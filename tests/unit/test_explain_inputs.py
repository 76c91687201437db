"""What people have for ``gpuenv explain``: the output of nvidia-smi, short names of GPUs, nodes without a driver label."""

import json
import time

import pytest
from tests.support.explain import as_json, explain

from gpuenv.cli.inputs.fleet.gpu_names import GpuNames
from gpuenv.cli.inputs.fleet.nvidia_smi_csv import nvidia_smi_rows
from gpuenv.knowledge import load

HOSTILE_SIZE = 1_000_000
HOSTILE_SECONDS = 30.0
BUILD = ("--torch", "2.9.1+cu128")


def machines(text: str) -> list[tuple[str, list[str], str | None]] | None:
    found = nvidia_smi_rows(text.splitlines())
    return None if found is None else [(one["name"], one["gpu"], one["driver"]) for one in found.rows]


@pytest.mark.parametrize(
    "text",
    [
        "name, driver_version\nNVIDIA L4, 535.104.05\n",
        "driver_version, name\n535.104.05, NVIDIA L4\n",
        "index, name, driver_version\n0, NVIDIA L4, 535.104.05\n",
        "gpu_name, driver_version\nNVIDIA L4, 535.104.05\n",
        "name, driver_version, memory.total [MiB], uuid\nNVIDIA L4, 535.104.05, 23034 MiB, GPU-0f1\n",
        "name, pci.bus_id, driver_version\nNVIDIA L4, 00000000:3B:00.0, 535.104.05\n",
        "NVIDIA L4, 535.104.05\n",
        "0, NVIDIA L4, 535.104.05, 23034\n",
        "535.104.05, NVIDIA L4\n",
    ],
)
def test_nvidia_smi_is_read_as_it_comes(text: str) -> None:
    assert machines(text) == [("this machine", ["NVIDIA L4"], "535.104.05")]
    document = as_json("--nodes", "-", *BUILD, text=text)
    assert (document["verdict"], document["facts"]["gpus"][0]["product"]) == ("Compatible", "NVIDIA L4")


def test_gpus_of_one_machine_and_of_several() -> None:
    two = "index, name, driver_version\n0, NVIDIA L4, 535.104.05\n1, Tesla T4, 535.104.05\n"
    assert machines(two) == [("this machine", ["NVIDIA L4", "Tesla T4"], "535.104.05")]
    assert machines(two + "0, NVIDIA L4, 535.104.05\n") == [
        ("machine 1", ["NVIDIA L4", "Tesla T4"], "535.104.05"),
        ("machine 2", ["NVIDIA L4"], "535.104.05"),
    ]
    drivers = "NVIDIA L4, 535.104.05\nNVIDIA L4, 550.54.15\n"
    assert [name for name, _, _ in machines(drivers) or ()] == ["machine 1", "machine 2"]
    many = machines("NVIDIA L4, 535.104.05\n" * 40) or []
    assert sum(len(gpus) for _, gpus, _ in many) == 40, "no GPU is left out"


def test_machines_have_the_names_that_pdsh_writes() -> None:
    text = (
        "gpu-01: name, driver_version\ngpu-02: name, driver_version\n"
        "gpu-02: Tesla T4, 470.57.02\ngpu-01: NVIDIA L4, 535.104.05\ngpu-01: NVIDIA L4, 535.104.05\n"
    )
    assert machines(text) == [
        ("gpu-02", ["Tesla T4"], "470.57.02"),
        ("gpu-01", ["NVIDIA L4", "NVIDIA L4"], "535.104.05"),
    ]


def test_a_driver_that_nvidia_smi_does_not_know_is_not_known() -> None:
    assert machines("name, driver_version\nNVIDIA L4, [N/A]\n") == [("this machine", ["NVIDIA L4"], None)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name,gpu,driver\na,NVIDIA L4,535.104.05\n",
        "name,driver_version\na100-01,535.104.05\nl4-02,535.104.05\n",
        "node,driver_version\nNVIDIA L4,535.104.05\n",
        "NVIDIA L4, Tesla T4, 535.104.05\n",
        "a, b, c\n",
        "- {name: a, gpu: NVIDIA L4, driver: 535.104.05}\n",
    ],
)
def test_other_lists_of_nodes_are_not_taken_for_nvidia_smi(text: str) -> None:
    assert machines(text) is None


def test_names_of_nodes_stay_names_of_nodes() -> None:
    found = explain("--nodes", "-", *BUILD, text="name,driver_version\na100-01,535.104.05\n")
    assert "a100-01: PyTorch" in found.stdout
    assert "not known: the GPU" in found.stdout


def test_columns_that_are_not_understood_are_named() -> None:
    found = explain("--nodes", "-", *BUILD, text="Host,GPU,rack,owner\nn1,NVIDIA L4,7,me\n")
    assert "read the columns Host, GPU; not understood: rack, owner" in found.stderr
    assert len(found.stderr.splitlines()) == 1
    assert explain("--nodes", "-", *BUILD, text="name,gpu,driver\na,NVIDIA L4,535.1\n").stderr == ""


@pytest.mark.parametrize("platform", ["cloud.google.com/gke-accelerator", "nvidia.com/gpu.product"])
def test_a_node_without_driver_label_is_told_so(platform: str) -> None:
    node = {"kind": "Node", "metadata": {"name": "n", "labels": {platform: "nvidia-l4"}}}
    found = explain("--nodes", "-", *BUILD, text=json.dumps(node))
    assert found.exit_code == 4
    assert "the node has no label nvidia.com/cuda.driver-version.full" in found.stdout
    assert "Compatible if the driver is 525.60.13 or newer" in found.stdout
    assert "has no label" not in explain(*BUILD, "--gpu", "NVIDIA L4").stdout


NAMES = GpuNames(load())


@pytest.mark.parametrize(
    ("typed", "product"),
    [
        ("4090", "NVIDIA GeForce RTX 4090"),
        ("1080", "GTX 1080"),
        ("3060 Ti", "RTX 3060 Ti"),
        ("2080ti", "RTX 2080 Ti"),
        ("GeForce 5090", "NVIDIA GeForce RTX 5090"),
    ],
)
def test_a_short_name_that_means_one_model_is_taken_for_it(typed: str, product: str) -> None:
    found = NAMES.gpu(typed)
    assert (found.product, found.typed) == (product, typed)


@pytest.mark.parametrize("name", ["NVIDIA L4", "V100", "A100-SXM4-80GB", "RTX4090", "NVIDIA-H100-80GB-HBM3"])
def test_a_known_name_stays_as_it_is(name: str) -> None:
    found = NAMES.gpu(name)
    assert (found.product, found.typed, found.similar) == (name, None, ())


@pytest.mark.parametrize(
    ("typed", "similar"),
    [
        ("rtx 6000", {"Quadro RTX 6000", "RTX 6000 Ada", "RTX PRO 6000"}),
        ("NVIDA H10", {"H100"}),
        ("GeForce RTX 4900", {"RTX 4090"}),
        ("A 100", {"A100"}),
        ("titan", {"TITAN V"}),
    ],
)
def test_a_name_that_is_not_known_gets_suggestions(typed: str, similar: set[str]) -> None:
    found = NAMES.gpu(typed)
    assert (found.product, found.typed) == (typed, None)
    assert similar <= set(found.similar)
    shown = explain(*BUILD, "--driver", "580.65.06", "--gpu", typed)
    assert shown.exit_code == 4
    assert f"Did you mean {found.similar[0]}" in shown.stdout


def test_what_was_taken_for_a_short_name_is_said() -> None:
    arguments = (*BUILD, "--driver", "580.65.06", "--gpu", "4090")
    assert "NVIDIA GeForce RTX 4090 (given as 4090)" in explain(*arguments).stdout.splitlines()[1]
    gpu = as_json(*arguments)["facts"]["gpus"][0]
    assert (gpu["product"], gpu["typed"]) == ("NVIDIA GeForce RTX 4090", "4090")


def test_a_compute_capability_needs_no_name() -> None:
    found = explain(*BUILD, "--driver", "580.65.06", "--gpu", "4090", "--compute-capability", "8.9")
    assert found.exit_code == 0
    assert "given as" not in found.stdout


@pytest.mark.parametrize(
    "line",
    [
        "0, RTX {0}x44444444444444444444444444, 535.104.05",
        "name, driver_version, {0}",
        "a: NVIDIA L4, 535.104.05",
        "a: a: a: a: a: a: a: a:",
        "NVIDIA NVIDIA NVIDIA NVIDIA {0}, 535.104.05",
        ",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,",
        "{0}: NVIDIA L4, 535.104.05",
        "9999, NVIDIA L4, 535.104.05",
    ],
)
def test_hostile_lists_take_bounded_time(line: str) -> None:
    """A megabyte takes a second. The limit is for a machine that has other work."""
    lines = [line.format(number) for number in range(HOSTILE_SIZE // len(line))]
    started = time.process_time()
    found = nvidia_smi_rows(["name, driver_version, uuid", *lines])
    for machine in (found.rows if found else [])[:10_000]:
        for text in machine["gpu"]:
            NAMES.gpu(text)
    nvidia_smi_rows(["".join(lines)])
    assert time.process_time() - started < HOSTILE_SECONDS
