"""Fleets by kind, builds side by side, and what a change would make of them."""

import json

import pytest
from click.testing import CliRunner
from tests.support.explain import as_json, explain

from gpuenv.cli import main

KINDS = (
    ("v100", 5, "V100-SXM2-16GB", "535.183.01"),
    ("a100", 5, "A100-SXM4-80GB", "550.127.05"),
    ("t4", 5, "Tesla T4", "470.82.01"),
    ("gtx", 5, "GTX 1080 Ti", "580.95.05"),
    ("h100", 10, "8x NVIDIA H100 80GB HBM3", "580.95.05"),
)
FLEET = "name,gpu,driver\n" + "".join(
    f"{name}-{number},{gpu},{driver}\n" for name, count, gpu, driver in KINDS for number in range(count)
)
BUILDS = ("--torch", "2.9.1+cu128", "--torch", "2.12.0+cu126", "--torch", "2.12.0+cu130")


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of each row of the table that begins a text, by the first cell."""
    lines = text.split("\n\n", maxsplit=1)[0].splitlines()
    starts = [lines[0].index(title) for title in lines[0].split()]
    cells = [[line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_a_fleet_is_shown_by_kind_with_counts_and_the_leading_cause() -> None:
    found = explain("--nodes", "-", *BUILDS, text=FLEET)
    assert found.exit_code == 1
    table = rows(found.stdout)
    assert table["GPU"] == ["DRIVER", "NODES", "2.9.1+cu128", "2.12.0+cu126", "2.12.0+cu130"]
    assert table["V100-SXM2-16GB"] == [
        "535.183.01", "5", "ok", "ok", "✗ ArchNotInBuild (no driver helps)",
    ]  # fmt: skip
    assert table["A100-SXM4-80GB"][1:] == ["5", "ok", "ok", "✗ DriverTooOld → 580.65.06"]
    assert table["Tesla T4"][2] == "✗ DriverTooOld → 525.60.13"
    assert table["GTX 1080 Ti"][2:] == [
        "✗ ArchNotInBuild (no driver helps)", "ok", "✗ ArchNotInBuild (no driver helps)",
    ]  # fmt: skip
    assert table["8 × NVIDIA H100 80GB HBM3"][1:] == ["10", "ok", "ok", "ok"]
    assert table["compatible nodes"] == ["", "", "20/30", "25/30", "10/30"]
    assert len(table) == 7


def test_a_cure_names_its_build_and_its_nodes() -> None:
    found = explain("--nodes", "-", *BUILDS, text=FLEET).stdout
    cause = next(part for part in found.split("\n\n") if part.startswith("✗ 2.12.0+cu130, 5 nodes (A100"))
    assert "DriverTooOld: driver 550.127.05" in cause
    assert "nodes: a100-0, a100-1, a100-2, a100-3, a100-4" in cause
    assert "pip install torch==2.12.0 --index-url https://download.pytorch.org/whl/cu126" in cause


def test_nodes_of_one_kind_with_other_answers_are_shown_apart() -> None:
    fleet = json.dumps(
        [
            {"name": "a", "gpu": "NVIDIA X9", "compute_capability": "8.9", "driver": "580.65.06"},
            {"name": "b", "gpu": "NVIDIA X9", "compute_capability": "6.1", "driver": "580.65.06"},
        ]
    )
    table = explain("--nodes", "-", "--torch", "2.9.1+cu128", text=fleet).stdout.splitlines()
    assert [line.split()[-1] for line in table[1:3]] == ["helps)", "ok"]


def test_a_row_for_each_node_on_request() -> None:
    found = explain("--nodes", "-", *BUILDS, "--by", "node", text=FLEET).stdout
    table = rows(found)
    assert table["NODE"][:2] == ["GPU", "DRIVER"]
    assert table["t4-3"][:3] == ["Tesla T4", "470.82.01", "✗ DriverTooOld → 525.60.13"]
    assert len(table) == 31
    found = explain("--nodes", "-", "--torch", "2.9.1+cu128", "--by", "node", text=FLEET).stdout
    assert found.splitlines()[0].split() == ["NODE", "GPU", "DRIVER", "VERDICT", "REASON", "MESSAGE"]
    assert "is too old for CUDA 12.8" in next(line for line in found.splitlines() if line.startswith("t4-3"))


def test_builds_side_by_side_on_one_node() -> None:
    found = explain("--torch", "2.9.1", "--torch", "2.12.0+cu131", "--gpu", "H100", "--driver", "580.95.05")
    assert found.exit_code == 4
    lines = found.stdout.splitlines()
    assert lines[0].split() == ["BUILD", "VERDICT", "REASON", "MESSAGE"]
    assert lines[1].split() == ["2.9.1", "Compatible"]
    assert lines[2].split()[:3] == ["2.12.0+cu131", "Unknown", "NoSuchBuild"]
    assert "2.9.1: CUDA 12.8 assumed: PyPI's default; say +cu126" in found.stdout


def test_a_build_that_the_tables_lack_is_seen_behind_another_cause() -> None:
    found = explain("--torch", "2.9.1+cu128", "--torch", "2.12.0+cu131", "--gpu", "V100", "--driver", "570.1")
    assert "\n2.12.0+cu131: NoSuchBuild: PyTorch 2.12" in found.stdout


def test_a_node_without_driver_has_the_drivers_that_it_needs() -> None:
    fleet = "name,gpu,driver\na,NVIDIA L4,\nb,Tesla V100-SXM2-16GB,\n"
    table = rows(explain("--nodes", "-", "--torch", "2.12.0+cu130", text=fleet).stdout)
    assert table["NVIDIA L4"][2] == "? NotEnoughFacts (ok from driver 580.65.06)"
    assert table["Tesla V100-SXM2-16GB"][2] == "✗ ArchNotInBuild (no driver helps)"


def test_what_another_driver_would_change() -> None:
    found = explain("--nodes", "-", "--torch", "2.9.1+cu128", "--what-if", "driver=590.48.01", text=FLEET)
    assert found.exit_code == 1
    lines = found.stdout.splitlines()
    assert lines[0] == "with driver 590.48.01: 5 become Incompatible, 5 become Compatible, 20 unchanged"
    assert lines[1].split() == ["NODES", "GPU", "DRIVER", "BUILD", "NOW", "THEN"]
    assert " ".join(lines[2].split()).endswith(" 2.9.1+cu128 ok ✗ DriverDroppedGpu → R580")
    assert "535.183.01" in lines[2], "the driver that the nodes have"
    assert " ".join(lines[3].split()).endswith("✗ DriverTooOld → 525.60.13 ok")
    assert sum(line.endswith("unchanged") for line in lines[2:7]) == 3
    assert "5 nodes (V100-SXM2-16GB): DriverDroppedGpu: driver 590.48.01 no longer supports" in found.stdout
    assert "nodes: v100-0, v100-1" in found.stdout
    assert "GTX 1080 Ti): Arch" not in found.stdout, "what the change does not bring is no news"


def test_what_another_build_would_change() -> None:
    found = explain(
        "--gpu", "V100", "--driver", "570.86.15", "--torch", "2.9.1+cu128", "--what-if", "torch=2.12.0+cu130"
    )
    assert found.exit_code == 1
    assert found.stdout.startswith("with PyTorch 2.12.0+cu130: 1 becomes Incompatible, 0 unchanged\n")
    assert "pip install torch==2.12.0 --index-url https://download.pytorch.org/whl/cu126" in found.stdout


def test_what_another_driver_would_let_run() -> None:
    found = explain("--gpu", "NVIDIA L4", "--what-if", "driver=535.104.05").stdout
    assert found.startswith("with driver 535.104.05: 1 with other builds that run\n")
    assert "builds run)" in found.splitlines()[2]
    assert "newest: PyTorch 2.14 for CUDA 12.6: pip install" in found
    assert (
        "newest: PyTorch 2.14 for CUDA 12.6"
        in explain("--gpu", "NVIDIA L4", "--what-if", "driver=535.104.05", "-o", "markdown").stdout
    )
    fleet = explain("--nodes", "-", "--what-if", "driver=580.65.06", text=FLEET).stdout
    assert "\nTesla T4:\nTuring, compute capability 7.5" in fleet
    assert (
        "unchanged" in explain("--gpu", "L4", "--driver", "580.65.06", "--what-if", "driver=580.65.06").stdout
    )


def test_a_build_in_place_of_several_has_its_cures_once() -> None:
    node = ("--gpu", "V100", "--driver", "570.86.15")
    found = explain(
        *node, "--torch", "2.9.1+cu128", "--torch", "2.8.0+cu126", "--what-if", "torch=2.12.0+cu130"
    ).stdout
    assert found.count("pip install torch==2.12.0 --index-url https://download.pytorch.org/whl/cu126") == 1
    causes = found.split("\n\n")[1:]
    assert len(causes) == 1
    assert "2.9.1" not in causes[0]


def test_json_of_fleets_has_kinds_and_differences() -> None:
    document = as_json("--nodes", "-", *BUILDS, text=FLEET)
    assert len(document["results"]) == 90
    assert document["results"][0]["node"] == "v100-0"
    assert document["results"][0]["build"] == "2.9.1+cu128"
    kind = next(one for one in document["kinds"] if one["gpu"] == "A100-SXM4-80GB")
    assert kind["nodes"] == [f"a100-{number}" for number in range(5)]
    assert kind["builds"][2] == {"build": "2.12.0+cu130", "verdict": "Incompatible", "reason": "DriverTooOld"}
    document = as_json("--nodes", "-", "--torch", "2.9.1+cu128", "--what-if", "driver=590.48.01", text=FLEET)
    assert document["results"][0]["before"] == {"verdict": "Compatible", "reason": ""}
    assert document["results"][0]["verdict"] == "Incompatible"


def test_markdown_has_the_same_table_and_the_nodes_of_each_cure() -> None:
    text = explain("--nodes", "-", *BUILDS, "-o", "markdown", text=FLEET).stdout
    assert text.startswith("| GPU | DRIVER | NODES | 2.9.1+cu128 |")
    assert "- **DriverTooOld** 2.12.0+cu130, 5 nodes (A100-SXM4-80GB): " in text
    assert "  Nodes: a100-0, a100-1" in text
    text = explain(
        "--nodes",
        "-",
        "--torch",
        "2.9.1+cu128",
        "--what-if",
        "driver=590.48.01",
        "-o",
        "markdown",
        text=FLEET,
    ).stdout
    assert text.startswith("with driver 590.48.01: 5 become Incompatible")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--what-if", "590"), "'590' is no change such as driver=580.65.06 or torch=2.12.0+cu130"),
        (("--what-if", "driver=new"), "'new' is no version"),
        (("--what-if", "torch=2"), "'2' is no version such as 2.12.0+cu130"),
        (("--what-if", "driver=590.1", "--error", "CUDA out of memory here"), "would not be true then"),
        (("--by", "rack"), "'rack' is not one of"),
    ],
)
def test_changes_that_make_no_sense_are_refused(arguments: tuple[str, ...], words: str) -> None:
    found = explain("--gpu", "NVIDIA L4", *arguments)
    assert (found.exit_code, found.stdout) == (2, "")
    assert words in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


def test_many_kinds_and_many_names_are_cut() -> None:
    fleet = "name,gpu,driver\n" + "".join(f"n{number},Tesla T4,470.{number}\n" for number in range(1, 200))
    found = explain("--nodes", "-", "--torch", "2.9.1+cu128", text=fleet).stdout
    assert "n1, n2, n3, n4, n5, n6, n7, n8, n9, n10 and 189 more" in found


@pytest.mark.parametrize("table", ["drivers", "gpus", "torch"])
def test_headings_have_one_style(table: str) -> None:
    heading = CliRunner().invoke(main, ["knowledge", table]).stdout.splitlines()[1]
    assert heading == heading.upper()
