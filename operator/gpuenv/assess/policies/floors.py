"""The policy on floors, the minimum results that an environment demands of benchmarks.

A floor is a number of TFLOPS or GB/s, or a percentage of the median over all nodes with the same GPU product.
"""

from collections.abc import Iterator

from gpuenv.api import check_names, reasons
from gpuenv.api.check_names import CheckName
from gpuenv.api.environment import Floor
from gpuenv.assess.case import Case, Device, check, passed
from gpuenv.assess.facts import Benchmark
from gpuenv.assess.model import Check, Status
from gpuenv.assess.policies.expectations import matches


def peer_key(kernel: str, dtype: str, product: str) -> str:
    """Return the key of a benchmark on one GPU product in ``peers``, such as ``matmul/bf16/NVIDIA L4``.

    The value in ``peers`` is the median result over all nodes with this product.
    """
    return f"{kernel}/{dtype}/{product}"


def floors(case: Case) -> Iterator[Check]:
    """Check that each GPU reaches the floors that apply to it.

    A floor applies to the GPUs whose product name matches one of its ``products``, or to all GPUs if it names none.
    """
    for floor in case.floors:
        meant = [device for device in case.devices if not floor.products or _is_meant(floor, device)]
        for device in meant:
            yield _judge(case, floor, device)


def _is_meant(floor: Floor, device: Device) -> bool:
    return device.product is not None and any(matches(pattern, device.product) for pattern in floor.products)


def _judge(case: Case, floor: Floor, device: Device) -> Check:
    name = check_names.FLOOR.of(floor.kernel, floor.dtype)
    what = f"{floor.kernel} {floor.dtype}".strip() + f" on GPU {device.index}"
    figure = _figure(case, floor, device)
    if figure is None or figure.median is None:
        return _not_measured(case, name, what, figure, device)
    if floor.min_percent_of_peers is not None:
        return _against_peers(case, floor, device, figure, name, what)
    floor_figure, unit = (
        (floor.min_tflops, "TFLOPS") if floor.min_tflops is not None else (floor.min_gbps, "GB/s")
    )
    if floor_figure is None:
        return check(
            case, name, Status.UNKNOWN, reasons.FloorNotMeasured, f"{what}: the floor names no figure"
        )
    if figure.unit != unit:
        message = f"{what} is measured in {figure.unit or 'an unknown unit'}, the floor is in {unit}"
        return check(case, name, Status.UNKNOWN, reasons.FloorNotMeasured, message)
    if figure.median < floor_figure:
        message = f"{what}: {figure.median:g} {unit}, the floor is {floor_figure:g}"
        return check(case, name, Status.WARN, reasons.BelowFloor, message)
    return passed(name, f"{what}: {figure.median:g} {unit} reaches {floor_figure:g}")


def _figure(case: Case, floor: Floor, device: Device) -> Benchmark | None:
    found = [
        benchmark
        for benchmark in case.facts.benchmarks
        if benchmark.kernel == floor.kernel
        and benchmark.gpu == device.index
        and (not floor.dtype or benchmark.dtype == floor.dtype)
    ]
    return min(found, key=lambda benchmark: (benchmark.median is None, benchmark.median or 0.0), default=None)


def _not_measured(case: Case, name: CheckName, what: str, figure: Benchmark | None, device: Device) -> Check:
    why = figure.detail if figure is not None and figure.detail else "the benchmark did not run"
    # Shared and sliced GPUs are deliberately not benchmarked: that would slow down other users, and the result would
    # depend on their load.
    shared = case.facts.node.sharing or device.mig
    status = Status.NOTE if shared else Status.UNKNOWN
    return check(case, name, status, reasons.FloorNotMeasured, f"{what} was not measured: {why}")


def _against_peers(  # noqa: PLR0917  the check's message needs all of them
    case: Case, floor: Floor, device: Device, figure: Benchmark, name: CheckName, what: str
) -> Check:
    assert figure.median is not None
    assert floor.min_percent_of_peers is not None
    peers = case.peers.get(peer_key(floor.kernel, figure.dtype, device.product or ""))
    if not peers:
        return check(
            case, name, Status.NOTE, reasons.FloorNotMeasured, f"{what}: no peers with this product yet", ()
        )
    share = 100.0 * figure.median / peers
    if share < floor.min_percent_of_peers:
        message = (
            f"{what}: {figure.median:g} {figure.unit} is {share:.0f} % of the {peers:g} that peers reach, "
            f"the floor is {floor.min_percent_of_peers:g} %"
        )
        return check(case, name, Status.WARN, reasons.BelowFloor, message)
    return passed(name, f"{what}: {share:.0f} % of what peers reach")
