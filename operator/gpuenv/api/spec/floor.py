"""A floor, the minimum result of a benchmark, as a typed value, and the parser that makes it from the raw object."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, cast, get_args

from gpuenv.api.fields import Fields

BenchmarkName = Literal["MatMul", "Conv", "Train", "DeviceMemory", "HostToDevice", "DeviceToHost"]
DataType = Literal["FP32", "TF32", "FP16", "BF16", "FP8"]

DATA_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "MatMul": get_args(DataType),
    "Conv": ("FP16",),
    "Train": ("FP32",),
}
"""Maps each benchmark to the data types in which it is measured. Copies are missing: they have no data type."""
_UNITS: Final[Mapping[str, tuple[str, ...]]] = {
    "minTFLOPS": ("MatMul", "Conv"),
    "minGBps": ("DeviceMemory", "HostToDevice", "DeviceToHost"),
}
"""Maps a minimum to the benchmarks that have its unit. A percentage of peers fits every benchmark."""
_HIGHEST: Final = 1000000
"""The highest floor in TFLOPS or GB/s."""


@dataclass(frozen=True, slots=True)
class Floor:
    """One of ``spec.benchmarks.floors``: the minimum result of a benchmark.

    Exactly one of the three fields ``min_...`` is set; the two others are None. ``dtype`` None means every data type
    that was measured. Empty ``products`` means all GPUs.
    """

    benchmark: BenchmarkName
    dtype: DataType | None = None
    products: tuple[str, ...] = ()
    min_tflops: Decimal | None = None
    min_gbps: Decimal | None = None
    min_percent_of_peers: int | None = None


def parse_floors(benchmarks: Fields) -> tuple[Floor, ...]:
    """Return the floors in ``spec.benchmarks``. Raises FieldError for a floor that no run could ever judge."""
    floors = tuple(_floor(item) for item in benchmarks.children("floors"))
    if floors and benchmarks.raw("profile") == "None":
        benchmarks.fail(
            "floors", "need figures, and the profile None measures none; write profile: Quick or Standard"
        )
    return floors


def _floor(floor: Fields) -> Floor:
    benchmark = floor.required_choice("benchmark", get_args(BenchmarkName))
    dtype = floor.choice("dtype", get_args(DataType), None)
    tflops, gbps = (floor.positive_decimal(name, _HIGHEST) for name in _UNITS)
    percent = floor.integer("minPercentOfPeers", None, 1, 100)
    if sum(minimum is not None for minimum in (tflops, gbps, percent)) != 1:
        floor.fail(
            "", "has not exactly one of minTFLOPS, minGBps and minPercentOfPeers; write one floor for each"
        )
    for name, measured in _UNITS.items():
        if floor.has(name) and benchmark not in measured:
            floor.fail(name, f"does not fit {benchmark}; it is for {', '.join(measured)}")
    known = DATA_TYPES.get(benchmark, ())
    if dtype is not None and dtype not in known:
        cure = f"it is measured in {', '.join(known)}" if known else "a copy has no data type; remove it"
        floor.fail("dtype", f"does not fit {benchmark}: {cure}")
    return Floor(
        benchmark=cast("BenchmarkName", benchmark),
        dtype=cast("DataType | None", dtype),
        products=floor.texts("products"),
        min_tflops=tflops,
        min_gbps=gbps,
        min_percent_of_peers=percent,
    )
