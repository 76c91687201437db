"""``gpuenv explain --nodes``: whole fleets, from the files that people have."""

import json

import pytest
from tests.support.explain import CSV, as_json, explain

YAML = "- {name: a, gpu: NVIDIA L4, driver: 535.104.05}\n- {name: b, gpu: Tesla V100-SXM2-16GB, driver: 470.57.02}\n"
KUBECTL = json.dumps(
    {
        "kind": "List",
        "items": [
            {
                "metadata": {
                    "name": name,
                    "labels": {
                        "nvidia.com/gpu.product": product,
                        "nvidia.com/cuda.driver-version.full": driver,
                    },
                },
                "status": {"capacity": {"nvidia.com/gpu": "1"}},
            }
            for name, product, driver in (
                ("a", "NVIDIA-L4", "535.104.05"),
                ("b", "Tesla-V100-SXM2-16GB", "470.57.02"),
            )
        ],
    }
)


@pytest.mark.parametrize("text", [CSV, YAML, KUBECTL])
def test_a_fleet_is_read_from_csv_yaml_and_kubectl(text: str) -> None:
    document = as_json("--nodes", "-", "--torch", "2.9.1+cu128", text=text)
    found = [(entry["name"], entry["verdict"]) for entry in document["results"]]
    assert found == [("a", "Compatible"), ("b", "Incompatible")]


def test_what_if_the_fleet_moved_to_another_driver() -> None:
    document = as_json("--nodes", "-", "--torch", "2.9.1+cu128", "--driver", "580.65.06", text=CSV)
    assert {entry["verdict"] for entry in document["results"]} == {"Compatible"}


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "name,gpu,driver\na,,\n", "foo: bar\n", "{", "- {name: x}\n"])
def test_a_senseless_fleet_is_refused_in_one_line(text: str) -> None:
    found = explain("--nodes", "-", "--torch", "2.9.1+cu128", text=text)
    assert found.exit_code == 2, found.output
    assert len(found.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "fleet",
    [
        "- {name: a, gpu: [NVIDIA L4, Tesla P4], driver: 550.54.15}\n",
        "- {name: a, gpus: [NVIDIA L4, Tesla P4], driver: 550.54.15}\n",
        "name,gpu,driver\na,NVIDIA L4; Tesla P4,550.54.15\n",
        'name,gpu,driver\na,"NVIDIA L4, Tesla P4",550.54.15\n',
        "Name;GPUs;Driver Version\na;2x NVIDIA L4, 1 x Tesla P4;550.54.15\n",
        "\ufeffnode\tmodel\tdriver-version\na\tTesla P4|NVIDIA L4\t550.54.15\n",
    ],
)
def test_a_node_with_several_gpus_is_as_good_as_the_worst_of_them(fleet: str) -> None:
    found = explain("--nodes", "-", "--torch", "2.9.1+cu128", text=fleet)
    assert found.exit_code == 1, found.output
    assert "ArchNotInBuild" in found.stdout
    assert "a: PyTorch" in found.stdout, "a fleet of one keeps the node's name"


def test_a_fleet_of_one_column() -> None:
    found = explain(
        "--nodes", "-", "--torch", "2.9.1+cu128", "--driver", "580.65.06", text="gpu\nNVIDIA L4\nTesla P4\n"
    )
    assert found.exit_code == 1, found.output
    assert sorted(line.split()[0] for line in found.stdout.splitlines()[1:3]) == ["NVIDIA", "Tesla"]


@pytest.mark.parametrize(
    ("fleet", "words"),
    [
        ("name,gpu,driver\na,L4,latest\n", "row 1: 'latest' is no driver version such as 580.65.06"),
        ("name,gpu,driver\na,L4,5800.1\n", "row 1: '5800.1' is no driver version"),
        ("name,gpu,compute_capability\na,X1,8.x\n", "row 1: '8.x' is no compute capability"),
    ],
)
def test_impossible_values_in_a_fleet_are_refused(fleet: str, words: str) -> None:
    found = explain("--nodes", "-", "--torch", "2.9.1+cu128", text=fleet)
    assert found.exit_code == 2
    assert words in found.stderr


def test_a_fleet_in_markdown_has_its_cures_and_stays_text() -> None:
    fleet = "name,gpu,driver\n<b>a|b</b>,Tesla P4,580.65.06\nc,NVIDIA L4,580.65.06\n"
    text = explain(
        "--nodes", "-", "--torch", "2.9.1+cu128", "--by", "node", "-o", "markdown", text=fleet
    ).stdout
    assert "<b>" not in text
    assert "&lt;b&gt;a\\|b&lt;/b&gt;" in text
    assert "- **ArchNotInBuild** 1 node (Tesla P4): the build has no code" in text
    assert "Use a build" in text


def test_nodes_without_a_gpu_do_not_count() -> None:
    document = json.loads(KUBECTL)
    for name, capacity in (("cpu-1", {"cpu": "8"}), ("cpu-2", {"cpu": "8", "nvidia.com/gpu": "0"})):
        document["items"].append({"metadata": {"name": name, "labels": {}}, "status": {"capacity": capacity}})
    failed = {
        "metadata": {"name": "c", "labels": {"nvidia.com/gpu.present": "true"}},
        "status": {"capacity": {"cpu": "8"}},
    }
    document["items"].append(failed)
    found = explain("--nodes", "-", "--torch", "2.9.1+cu128", "-o", "json", text=json.dumps(document))
    assert [entry["name"] for entry in json.loads(found.stdout)["results"]] == ["a", "b", "c"]
    assert "2 nodes (cpu-1, cpu-2)" in found.stderr


def test_a_fleet_without_any_gpu_is_refused() -> None:
    node = {"metadata": {"name": "cpu-1"}, "status": {"capacity": {"cpu": "8"}}}
    found = explain("--nodes", "-", "--torch", "2.9.1+cu128", text=json.dumps({"items": [node]}))
    assert found.exit_code == 2
    assert "no node has a GPU" in found.stderr


@pytest.mark.parametrize(
    "message",
    [
        "gpu-04: bash: nvidia-smi: command not found",
        "pdsh@login: gpu-04: ssh exited with exit code 255",
        "gpu-04: Failed to initialize NVML: Driver/library version mismatch",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_messages_of_machines_that_failed_are_no_gpus(message: str, first: bool) -> None:
    lines = ["gpu-01: NVIDIA L4, 550.54.15", "gpu-02: NVIDIA L4, 550.54.15"]
    text = "\n".join([message, *lines] if first else [*lines, message])
    found = explain("--nodes", "-", "--torch", "2.9.1+cu128", "-o", "json", text=text)
    assert [entry["name"] for entry in json.loads(found.stdout)["results"]] == ["gpu-01", "gpu-02"]
    assert f"1 lines not understood: {message}" in found.stderr
