"""Floors in a specification: what is refused and with which words, and numbers that are exact."""

from decimal import Decimal
from typing import Any

import pytest

from gpuenv.api.spec.environment import expectations_hash
from gpuenv.api.spec.environment_parser import SpecError, parse
from gpuenv.api.spec.floor import Floor

PLACE = "spec.benchmarks.floors[0]"


def spec(*floors: Any, **benchmarks: Any) -> dict[str, Any]:
    return {"image": "a/b:1", "benchmarks": {"floors": list(floors), **benchmarks}}


def test_a_floor_names_benchmark_data_type_and_products() -> None:
    raw = {"benchmark": "Conv", "dtype": "FP16", "products": ["NVIDIA A100*"], "minPercentOfPeers": 85}
    assert parse(spec(raw)).floors == (Floor("Conv", "FP16", ("NVIDIA A100*",), min_percent_of_peers=85),)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        (180, "180"),
        ("180", "180"),
        ("19.50", "19.5"),
        ("0.125", "0.125"),
        (1000000, "1000000"),
        ("180.0", "180"),
    ],
)
def test_numbers_are_exact(written: int | str, number: str) -> None:
    (floor,) = parse(spec({"benchmark": "MatMul", "minTFLOPS": written})).floors
    assert floor.min_tflops == Decimal(number)


@pytest.mark.parametrize(("one", "other"), [(180, "180"), ("19.5", "19.50"), (180, "180.0")])
def test_the_same_number_has_the_same_digest(one: int | str, other: int | str) -> None:
    first, second = (
        expectations_hash(parse(spec({"benchmark": "DeviceMemory", "minGBps": number})))
        for number in (one, other)
    )
    assert first == second


def test_another_number_has_another_digest() -> None:
    digests = {
        expectations_hash(parse(spec({"benchmark": "DeviceMemory", "minGBps": number})))
        for number in (180, "180.001", 1800)
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("floor", "field", "cure"),
    [
        ({"minTFLOPS": 1}, ".benchmark", "choose one of MatMul, Conv"),
        ({"benchmark": "Matmul", "minTFLOPS": 1}, ".benchmark", "did you mean MatMul?"),
        ({"benchmark": "MatMul"}, "", "exactly one of minTFLOPS"),
        ({"benchmark": "MatMul", "minTFLOPS": 1, "minPercentOfPeers": 5}, "", "write one floor for each"),
        ({"benchmark": "MatMul", "minTFLOPS": 19.5}, ".minTFLOPS", 'in quotes: 180 or "19.5"'),
        ({"benchmark": "MatMul", "minTFLOPS": "180 TFLOPS"}, ".minTFLOPS", "write a number up to 1000000"),
        ({"benchmark": "MatMul", "minTFLOPS": "1e3"}, ".minTFLOPS", "write a number up to 1000000"),
        ({"benchmark": "MatMul", "minTFLOPS": 0}, ".minTFLOPS", "write a number up to 1000000"),
        ({"benchmark": "MatMul", "minTFLOPS": "0.0"}, ".minTFLOPS", "write a number up to 1000000"),
        ({"benchmark": "MatMul", "minTFLOPS": True}, ".minTFLOPS", "write a number up to 1000000"),
        ({"benchmark": "DeviceMemory", "minGBps": -1}, ".minGBps", "write a number up to 1000000"),
        ({"benchmark": "DeviceMemory", "minGBps": 1000001}, ".minGBps", "write a number up to 1000000"),
        (
            {"benchmark": "Train", "minPercentOfPeers": 85.5},
            ".minPercentOfPeers",
            "whole number from 1 to 100",
        ),
        ({"benchmark": "Train", "minPercentOfPeers": 0}, ".minPercentOfPeers", "whole number from 1 to 100"),
        ({"benchmark": "DeviceMemory", "minTFLOPS": 1}, ".minTFLOPS", "it is for MatMul, Conv"),
        ({"benchmark": "MatMul", "minGBps": 1}, ".minGBps", "it is for DeviceMemory, HostToDevice"),
        ({"benchmark": "MatMul", "dtype": "bf16", "minTFLOPS": 1}, ".dtype", "choose one of FP32"),
        ({"benchmark": "Conv", "dtype": "BF16", "minTFLOPS": 1}, ".dtype", "measured in FP16"),
        ({"benchmark": "Train", "dtype": "FP16", "minPercentOfPeers": 9}, ".dtype", "measured in FP32"),
        ({"benchmark": "HostToDevice", "dtype": "FP16", "minGBps": 1}, ".dtype", "remove it"),
    ],
)
def test_a_floor_that_no_run_could_judge_is_refused(floor: dict[str, Any], field: str, cure: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse(spec(floor))
    assert str(refused.value).startswith(f"{PLACE}{field}: ")
    assert cure in str(refused.value)


def test_floors_need_a_profile_that_measures() -> None:
    floor = {"benchmark": "MatMul", "minTFLOPS": 1}
    with pytest.raises(SpecError, match=r"^spec.benchmarks.floors: .* write profile: Quick or Standard$"):
        parse(spec(floor, profile="None"))
    assert parse(spec(profile="None")).profile == "None"
    assert parse(spec(floor)).profile == "Quick"
