"""Benchmarks on a clock of our own: how long they measure, what they never exceed, and when NVML is watched."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from gpuenv_probe.benchmarks import causes, meter, monitor, steps, workloads
from gpuenv_probe.facts import nvml
from gpuenv_probe.step import Context

if TYPE_CHECKING:
    from collections.abc import Iterator


class Gpu:
    """A torch and a device at once, whose calls take as long as they are told to, on the clock it is."""

    int8 = "int8"
    name = "cuda:0"
    _FLUSH_SECONDS = 0.0002

    def __init__(self) -> None:
        self.now = 1000.0
        self.torch = self.cuda = self
        self.calls = 0

    def monotonic(self) -> float:
        return self.now

    def work(self, seconds: float) -> Any:
        def call() -> None:
            self.calls += 1
            self.now += seconds

        return call

    def Event(self, enable_timing: bool) -> Event:  # noqa: N802 - torch's name
        return Event(self)

    def synchronize(self) -> None:
        self.now += 1e-5

    def empty(self, *_: Any, **__: Any) -> Gpu:
        return self

    def zero_(self) -> None:
        self.now += self._FLUSH_SECONDS

    def free_cache(self) -> None:
        return None


class Event:
    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def record(self) -> None:
        self.moment = self.gpu.now

    def elapsed_time(self, end: Event) -> float:
        return (end.moment - self.moment) * 1000.0


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    made = Gpu()
    monkeypatch.setattr(time, "monotonic", made.monotonic)
    return made


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("profile", ["Quick", "Standard"])
@pytest.mark.parametrize("call", [0.00005, 0.0004, 0.01])
def test_a_profile_measures_as_long_as_it_says(gpu: Gpu, profile: str, call: float, flush: bool) -> None:
    seconds = steps.PROFILES[profile][1]
    begun = gpu.now
    sample = meter.Meter(gpu, seconds, gpu.now + 10).measure(gpu.work(call), 1.0, flush)
    wall = gpu.now - begun
    assert sum(sample.times) >= seconds or (flush and wall >= 3 * seconds)
    assert wall <= 3 * seconds + 0.5
    assert sample.summary()["median"] == pytest.approx(1 / call, rel=1e-3)


def test_slow_calls_get_enough_samples_where_there_is_time(gpu: Gpu) -> None:
    sample = meter.Meter(gpu, 0.5, gpu.now + 10).measure(gpu.work(0.2), 1.0)
    assert len(sample.times) == 20


@pytest.mark.parametrize("call", [0.05, 0.3, 0.9])
def test_no_call_begins_that_would_outlast_the_budget(gpu: Gpu, call: float) -> None:
    until = gpu.now + 3.0
    with contextlib.suppress(meter.OutOfTime):
        meter.Meter(gpu, 5.0, until).measure(gpu.work(call), 1.0)
    assert gpu.calls > 0
    assert gpu.now <= until + 0.01


def test_too_few_samples_are_no_figure(gpu: Gpu) -> None:
    with pytest.raises(meter.OutOfTime, match="one call takes 1 s"):
        meter.Meter(gpu, 0.5, gpu.now + 5.0).measure(gpu.work(1.0), 1.0)


def test_nvml_is_watched_while_the_clock_runs_and_not_before(gpu: Gpu) -> None:
    seen: list[int] = []

    @contextlib.contextmanager
    def watch() -> Iterator[None]:
        seen.append(gpu.calls)
        yield
        seen.append(gpu.calls)

    sample = meter.Meter(gpu, 0.5, gpu.now + 10, watch).measure(gpu.work(0.01), 1.0)
    assert seen == [3, 3 + len(sample.times)]


class Silent:
    """A monitor without NVML."""

    def __init__(self, index: int) -> None:
        self.kinds: list[bool] = []

    @contextlib.contextmanager
    def watching(self, compute: bool) -> Iterator[None]:
        self.kinds.append(compute)
        yield

    def summary(self) -> dict[str, Any]:
        return {}


def worker(gpu: Gpu, profile: str, monkeypatch: pytest.MonkeyPatch, call: float, **known: Any) -> Context:
    """A benchmark worker behind its import of torch, on a GPU that needs ``call`` seconds for anything."""
    context = Context({"profile": profile, "known": known})
    context.found["torch"] = gpu
    monkeypatch.setattr(steps, "Device", lambda torch, kind, index: gpu)
    monkeypatch.setattr(steps, "reason_to_skip", lambda device, job: None)
    monkeypatch.setattr(steps, "Monitor", Silent)

    def warm_up(device: Any, seconds: float) -> float:
        gpu.now += seconds
        return seconds

    def measure(device: Any, dtype: str, given: meter.Meter) -> meter.Sample:
        gpu.now += 0.1  # making the inputs
        return given.measure(gpu.work(call), 1.0)

    monkeypatch.setattr(workloads, "warm_up", warm_up)
    monkeypatch.setattr(workloads, "MEASURES", dict.fromkeys(workloads.MEASURES, measure))
    return context


def measured(context: Context) -> list[dict[str, Any]]:
    """Does every step but the import, as the worker would, and returns the rows."""
    partials = [step.run(context) for step in steps.steps(context.job)[1:]]
    return [row for partial in partials for row in partial.get("benchmarks", ())]


@pytest.mark.parametrize("call", [0.0001, 0.02, 0.2, 1.0, 4.0])
@pytest.mark.parametrize("profile", ["Quick", "Standard"])
def test_a_gpus_time_is_never_exceeded(
    gpu: Gpu, profile: str, call: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = steps.PROFILES[profile][2]
    begun = gpu.now
    rows = measured(worker(gpu, profile, monkeypatch, call))
    assert len(rows) == len(steps.FIGURES)
    assert gpu.now - begun <= total + call + 0.2, "the last input and one call of unknown length may overrun"
    if call <= 0.02:
        assert all(row["samples"] >= 20 for row in rows)


def test_a_worker_that_follows_a_dead_one_has_what_is_left(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = gpu.now
    rows = measured(worker(gpu, "Quick", monkeypatch, 0.001, spent=4.0, lostSeconds=3.0))
    assert gpu.now - begun <= 3.0
    assert rows[0]["samples"] >= 20
    assert (rows[-1]["notMeasured"], rows[-1]["detail"]) == (
        causes.PROFILE_TIME,
        "the time of profile Quick (10 s) is used up; write profile: Standard (30 s)",
    )


def test_only_what_computes_tells_the_sm_clock(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    context = worker(gpu, "Standard", monkeypatch, 0.001)
    measured(context)
    assert context.found["monitor"].kinds == [True] * 7 + [False] * 3


def test_the_clock_while_copying_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "_open", lambda index: ("library", "handle"))
    monkeypatch.setattr(monitor, "_INTERVAL", 0.0)
    clocks = {"now": 1980}
    enough = monitor.threading.Event()

    def under_load(library: Any, handle: Any) -> dict[str, Any]:
        enough.set()
        return {"smClockMHz": clocks["now"], "powerW": float(clocks["now"])}

    monkeypatch.setattr(nvml, "under_load", under_load)
    watcher = monitor.Monitor(0)
    for clock, compute in ((1980, True), (345, False)):
        enough.clear()
        clocks["now"] = clock
        with watcher.watching(compute):
            assert enough.wait(10)
    found = watcher.summary()
    assert found["busySmClockMHz"] == 1980
    assert found["busyPowerW"] == 1980.0
