"""The policy on floors, the minimum results that an environment demands of benchmarks.

A floor is a number of TFLOPS or GB/s, or a percentage of the median over all nodes with the same GPU product. A GPU
without a figure is one of these cases:

- The GPU is shared, or is a MIG slice. Such devices are never measured: a note says that the floor does not apply.
- The GPU or PyTorch does not have the data type. Then the GPU cannot reach a floor in TFLOPS: the verdict is Degraded.
- The figure was not measured this time. Something that did not run does not pass: the verdict is Unknown.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import islice
from typing import Final

from gpuenv.api import check_names, reasons
from gpuenv.api.check_names import CheckName
from gpuenv.api.remedies import Action, Remedy, remedy
from gpuenv.api.spec.floor import Floor
from gpuenv.assess.case import Case, Device, check, passed
from gpuenv.assess.facts import Benchmark, NotMeasured
from gpuenv.assess.model import Check, Status
from gpuenv.assess.policies.expectations import matches
from gpuenv.assess.sources.probe.probe_document import BENCHMARKS

_NAME_PRODUCTS: Final = (
    "Name in the floor's products the GPUs that it is meant for, or demand a data type that this GPU has."
)
_MORE_TIME: Final = (
    "Set benchmarks.profile to Standard. If it is Standard already, this GPU takes too long: remove the floor, or name "
    "other GPUs in its products."
)
_KERNELS_FIRST: Final = (
    "Solve first what the other checks of this GPU say: benchmarks run after kernels have passed."
)

MAX_JUDGED: Final = 1024
"""How many floors on GPUs are judged: 16 GPUs with 64 floors each."""


def peer_key(benchmark: str, dtype: str, product: str) -> str:
    """Return the key of a benchmark on one GPU product in ``peers``, such as ``MatMul/BF16/NVIDIA L4``.

    The value in ``peers`` is the median result over all nodes with this product.
    """
    return f"{benchmark}/{dtype}/{product}"


def check_name(floor: Floor) -> CheckName:
    """Return the name of the checks about a floor, such as ``floor-matmul-bf16``."""
    return check_names.FLOOR.of(floor.benchmark.lower(), (floor.dtype or "").lower())


def floors(case: Case) -> Iterator[Check]:
    """Check that each GPU reaches the floors that apply to it.

    A floor applies to the GPUs whose product name matches one of its ``products``, or to all GPUs if it names none. A
    floor without a data type applies to each data type that was measured.
    """
    figures = _by_benchmark(case.facts.benchmarks) if case.floors else {}
    found = (
        result
        for floor in case.floors
        for device in case.devices
        if not floor.products or _is_meant(floor, device)
        for result in _judge(case, floor, device, figures.get((floor.benchmark, device.index), ()))
    )
    yield from islice(found, MAX_JUDGED)
    if next(found, None) is not None:
        message = f"there are more floors and figures than are compared ({MAX_JUDGED})"
        give = [
            remedy(
                Action.CHANGE_ENVIRONMENT, "Write fewer floors, or name in each the GPUs and the data type."
            )
        ]
        yield check(
            case, check_names.FLOOR.of("more"), Status.UNKNOWN, reasons.FloorNotMeasured, message, give
        )


def _by_benchmark(rows: Iterable[Benchmark]) -> dict[tuple[str, int | None], list[Benchmark]]:
    """Return the figures by benchmark and GPU."""
    figures: dict[tuple[str, int | None], list[Benchmark]] = {}
    for row in rows:
        figures.setdefault((row.benchmark, row.gpu), []).append(row)
    return figures


def _is_meant(floor: Floor, device: Device) -> bool:
    return device.product is not None and any(matches(pattern, device.product) for pattern in floor.products)


def _judge(case: Case, floor: Floor, device: Device, figures: Iterable[Benchmark]) -> Iterator[Check]:
    """Yield the checks of a floor on one GPU. ``figures`` are those of the benchmark on this GPU."""
    rows = [row for row in figures if floor.dtype is None or row.dtype == floor.dtype]
    measured = [row for row in rows if row.median is not None]
    for figure in measured:
        if floor.min_percent_of_peers is not None:
            yield _against_peers(case, floor, device, figure)
        else:
            yield _against_minimum(case, floor, device, figure)
    if not measured and case.probed:
        yield _without_figure(case, floor, device, rows[0] if rows else None)


def _what(floor: Floor, device: Device, row: Benchmark | None) -> str:
    """Return the subject of a message, such as ``MatMul BF16 on GPU 0``."""
    dtype = floor.dtype or (row.dtype if row else "")
    return f"{floor.benchmark} {dtype}".strip() + f" on GPU {device.index}"


def _minimum(floor: Floor) -> tuple[Decimal, str]:
    """Return number and unit of a floor that is no percentage of peers."""
    number, unit = (floor.min_tflops, "TFLOPS") if floor.min_tflops is not None else (floor.min_gbps, "GB/s")
    assert number is not None, "the parser refuses a floor without a minimum"
    return number, unit


def _against_minimum(case: Case, floor: Floor, device: Device, figure: Benchmark) -> Check:
    assert figure.median is not None
    name, what = check_name(floor), _what(floor, device, figure)
    number, unit = _minimum(floor)
    if figure.unit != unit:
        message = f"{what} is measured in {figure.unit or 'an unknown unit'}, the floor is in {unit}"
        return check(case, name, Status.UNKNOWN, reasons.FloorNotMeasured, message)
    # The text of the float is compared: 57.3 as a float is less than the number 57.3.
    if Decimal(str(figure.median)) < number:
        message = f"{what}: {figure.median:g} {unit}, the floor is {number}"
        return check(case, name, Status.WARN, reasons.BelowFloor, message)
    return passed(name, f"{what}: {figure.median:g} {unit} reaches {number}")


def _against_peers(case: Case, floor: Floor, device: Device, figure: Benchmark) -> Check:
    assert figure.median is not None
    assert floor.min_percent_of_peers is not None
    name, what = check_name(floor), _what(floor, device, figure)
    peers = case.peers.get(peer_key(floor.benchmark, figure.dtype, device.product or ""))
    if not peers:
        return check(
            case, name, Status.NOTE, reasons.FloorNotMeasured, f"{what}: no peers with this product yet", ()
        )
    share = 100.0 * figure.median / peers
    if share < floor.min_percent_of_peers:
        message = (
            f"{what}: {figure.median:g} {figure.unit} is {share:.0f} % of the {peers:g} that peers reach, "
            f"the floor is {floor.min_percent_of_peers} %"
        )
        return check(case, name, Status.WARN, reasons.BelowFloor, message)
    return passed(name, f"{what}: {share:.0f} % of what peers reach")


def _without_figure(case: Case, floor: Floor, device: Device, row: Benchmark | None) -> Check:
    """Return the check of a floor on a GPU without a figure. ``row`` is what the probe reports about it, or None."""
    name, what = check_name(floor), _what(floor, device, row)
    cause = row.not_measured if row else None
    why = (row.detail if row else "") or "the benchmark did not run"
    if BENCHMARKS in case.facts.omitted:
        why = "the probe's report had no room for the figures"
    status, reason, message = Status.UNKNOWN, reasons.FloorNotMeasured, f"{what} was not measured: {why}"
    remedies: list[Remedy] | None = None
    if case.facts.node.sharing or device.mig or cause is NotMeasured.SHARED:
        # A benchmark would slow down the other users of the GPU, and its result would depend on their load.
        status, message = Status.NOTE, f"{what} is not judged: shared GPUs and MIG slices are not measured"
    elif cause is NotMeasured.UNSUPPORTED and floor.min_percent_of_peers is not None:
        status, message = Status.NOTE, f"{what} is not judged: its peers have no figure either: {why}"
    elif cause is NotMeasured.UNSUPPORTED:
        number, unit = _minimum(floor)
        status, reason = Status.WARN, reasons.BelowFloor
        message = f"{what} cannot reach the floor of {number} {unit}: {why}"
        remedies = [remedy(Action.CHANGE_ENVIRONMENT, _NAME_PRODUCTS)]
    elif cause is NotMeasured.PROFILE_TIME:
        remedies = [remedy(Action.CHANGE_ENVIRONMENT, _MORE_TIME)]
    elif cause is NotMeasured.MEMORY_IN_USE:
        reason = reasons.GpuBusy
    elif row is None and not device.proven:
        # No setting of the benchmarks helps as long as the kernels before them do not pass.
        remedies = [remedy(Action.INVESTIGATE, _KERNELS_FIRST)]
    return check(case, name, status, reason, message, remedies)
