"""Open questions: what the tables say about the driver, the builds and the GPUs that are not given."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
from tests.support.assessed import judge

from gpuenv.assess.case import make_case
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import (
    ContainerFacts,
    DriverFacts,
    Facts,
    Failure,
    Gpu,
    KernelModule,
    Source,
    TorchFacts,
)
from gpuenv.assess.gpu_health import Health
from gpuenv.assess.questions.answer import OpenAnswer, open_answer
from gpuenv.assess.questions.what_if import (
    DriverRange,
    driver_range,
    drivers_to_try,
    released_range,
    with_build,
    with_driver,
    with_generation,
    works,
)
from gpuenv.cli.output.open_answers import lines
from gpuenv.knowledge import load
from gpuenv.knowledge.versions import parse_version

TABLES = load()


def facts(torch: str | None = None, driver: str | None = None, gpu: str | None = None) -> Facts:
    return Facts(
        source=Source.FLAGS,
        torch=TorchFacts(version=torch),
        driver=DriverFacts(version=driver),
        gpus=(Gpu(product=gpu),) if gpu else (),
    )


@lru_cache
def answer(torch: str | None = None, driver: str | None = None, gpu: str | None = None) -> OpenAnswer | None:
    return ask(facts(torch, driver, gpu))


def ask(given: Facts) -> OpenAnswer | None:
    return open_answer(make_case(given, None, (), TABLES, None), judge)


def given(torch: str | None = None, driver: str | None = None, gpu: str | None = None) -> OpenAnswer:
    found = answer(torch, driver, gpu)
    assert found is not None
    return found


def test_a_gpu_alone_has_its_builds_newest_first_with_their_drivers() -> None:
    found = given(gpu="GTX 1080 Ti")
    newest = found.builds[0]
    assert (newest.torch, newest.cuda, newest.index) == ((2, 14), (12, 6), "cu126")
    assert newest.drivers == DriverRange("525.60.13", 580)
    order = [(build.torch, build.cuda) for build in found.builds]
    assert order == sorted(order, reverse=True)
    assert not {(12, 8), (13, 0)} & {build.cuda for build in found.builds}


def test_a_build_alone_has_its_drivers_and_its_gpus() -> None:
    found = given("2.12.0+cu130")
    assert found.drivers == DriverRange("580.65.06", None)
    judged = {one.architecture.name: one for one in found.generations}
    assert judged["Turing"].works
    assert (judged["Volta"].works, judged["Volta"].reason) == (False, "ArchNotInBuild")


def test_a_generation_can_need_a_newer_driver_than_the_build() -> None:
    found = given("2.7.1+cu118")
    ranges = {one.architecture.name: one.drivers for one in found.generations}
    assert found.drivers == DriverRange("450.80.02", None)
    assert ranges["Hopper"] == DriverRange("520", None)
    assert ranges["Volta"] == DriverRange("450.80.02", 580)


def test_build_and_gpu_have_a_range_of_drivers() -> None:
    assert given("2.12.0+cu130", gpu="NVIDIA H100 PCIe").drivers == DriverRange("580.65.06", None)
    assert given("2.7.1+cu118", gpu="Tesla V100-SXM2-16GB").drivers == DriverRange("450.80.02", 580)


def test_no_driver_helps_a_build_without_code_and_another_build_does() -> None:
    found = given("2.12.0+cu130", gpu="V100")
    assert found.no_driver
    assert found.drivers is None
    assert found.nearest is not None
    assert (found.nearest.torch, found.nearest.cuda) == ((2, 12), (12, 6))
    assert found.nearest.drivers == DriverRange("525.60.13", 580)


def test_a_driver_alone_has_its_builds_and_its_gpus() -> None:
    found = given(driver="535.104.05")
    assert found.driver_cuda == (12, 2)
    assert found.builds[0].cuda == (12, 6)
    assert max(build.cuda for build in found.builds)[0] == 12
    judged = {one.architecture.name: (one.works, one.reason) for one in found.generations}
    assert judged["Volta"] == (True, "")
    assert judged["Kepler"] == (False, "DriverDroppedGpu")
    assert judged["Blackwell (data centre)"] == (False, "DriverTooOld")


def test_a_driver_and_a_gpu_have_the_builds_for_both() -> None:
    assert given(driver="470.82.01", gpu="Tesla T4").builds[0].cuda == (11, 8)
    assert given(driver="595.45.04", gpu="V100").builds == ()


def test_a_build_and_a_driver_have_their_gpus() -> None:
    judged = {one.architecture.name: one.works for one in given("2.9.1", "535.104.05").generations}
    assert judged["Volta"]
    assert not judged["Pascal"]


@pytest.mark.parametrize(
    "asked",
    [
        facts("2.9.1+cu128", "580.65.06", "NVIDIA L4"),
        facts(),
        facts(gpu="NVIDIA X9999"),
        facts("2.9.0a0+gitabcdef", gpu="NVIDIA L4"),
        facts(gpu="NVIDIA Jetson AGX Orin"),
        facts("2.9.1+cpu", gpu="NVIDIA L4"),
        Facts(source=Source.PROBE, torch=TorchFacts(version="2.9.1+cu128", cuda="12.8")),
        Facts(source=Source.FLAGS, torch=TorchFacts(version="2.9.1+cu128", available=False)),
        Facts(
            source=Source.FLAGS,
            torch=TorchFacts(version="2.9.1+cu128"),
            errors=(Failure("cuda", 803, "system-driver-mismatch"),),
        ),
    ],
)
def test_there_is_no_answer_where_versions_do_not_decide(asked: Facts) -> None:
    assert ask(asked) is None


GPUS = sorted({model.name for model in TABLES.models.values()})[::7]
"""Every seventh model of the tables, which are of all generations."""


@pytest.mark.parametrize("gpu", GPUS)
def test_what_is_offered_for_a_gpu_is_compatible(gpu: str) -> None:
    found = answer(gpu=gpu)
    if found is None:
        return
    for build in found.builds:
        assert build.drivers is not None
        release = TABLES.torch[build.torch]
        row = release.build(build.cuda)
        assert row is not None
        moved = with_build(facts(gpu=gpu), release, row)
        assert works(judge(with_driver(moved, build.drivers.first))), build
        assert judge(with_driver(moved, build.drivers.first)).verdict in ("Compatible", "Degraded"), build
        if build.drivers.last:
            assert judge(with_driver(moved, str(build.drivers.last))).verdict in ("Compatible", "Degraded"), (
                build
            )


def pairs() -> Iterator[Facts]:
    for row in TABLES.architectures.values():
        alone = with_generation(facts(), row, TABLES)
        for release in list(TABLES.torch.values())[::3]:
            yield from (with_build(alone, release, build) for build in release.builds)


def test_the_short_search_for_drivers_finds_what_the_long_one_finds() -> None:
    tried = drivers_to_try(TABLES)
    assert {"580.65.06", "525.60.13", "570"} <= set(tried)
    assert list(tried) == sorted(tried, key=lambda text: parse_version(text) or ())
    found, guesses = 0, itertools.cycle(tried)
    for one in pairs():
        capability = one.gpus[0].compute_capability
        assert capability is not None
        dropped = TABLES.architectures[capability].dropped_from_driver
        best = TABLES.last_branch(dropped) if dropped else TABLES.branches[0].branch
        short = released_range(one, judge, TABLES, best)
        assert short == driver_range(one, judge, TABLES)
        guess = next(guesses)
        assert short == released_range(one, judge, TABLES, best, guess), f"with the guess {guess}"
        found += short is not None
    assert found > 100


def two(torch: str, *gpus: str) -> Facts:
    found = tuple(Gpu(index=index, product=product) for index, product in enumerate(gpus))
    return replace(facts(torch), gpus=found)


def test_only_the_gpus_without_code_are_blamed() -> None:
    found = ask(two("2.9.1+cu130", "NVIDIA GeForce RTX 4090", "NVIDIA GeForce GTX 1080 Ti"))
    assert found is not None
    assert found.no_driver
    assert [row.name for row in found.without_code] == ["Pascal"]
    assert "does not run on Pascal; " in next(about(found))


def test_gpus_that_no_driver_has_together_are_blamed_together() -> None:
    """CUDA 12.8 has code for Volta and for Blackwell, but drivers for the one end where those for the other begin."""
    tables = replace(
        TABLES,
        architectures={
            cc: replace(row, dropped_from_driver=570) if row.name == "Volta" else row
            for cc, row in TABLES.architectures.items()
        },
    )
    given = two("2.9.1+cu128", "Tesla V100-SXM2-16GB", "NVIDIA B200")
    found = open_answer(
        make_case(given, None, (), tables, None), lambda one: assess(one, None, (), tables, cures=False)
    )
    assert found is not None
    assert (found.no_driver, found.without_code) == (True, ())
    assert "none in the tables runs the build on Volta and Blackwell (data centre) together" in next(
        about(found)
    )


def about(found: OpenAnswer) -> Iterator[str]:
    return (line.text for line in lines(found, TABLES, "2.9.1") if line.text.startswith("no driver"))


@pytest.mark.parametrize(
    "change",
    [
        {"driver": DriverFacts(version="575.57.08", kernel_module=KernelModule("575.57.08", is_open=True))},
        {"container": ContainerFacts(env={"CUDA_VISIBLE_DEVICES": ""})},
        {
            "gpus": (
                Gpu(
                    product="NVIDIA GeForce GTX 1080 Ti", health=Health(ecc_uncorrected=4, recovery_action=2)
                ),
            )
        },
    ],
    ids=["open kernel module", "environment variable", "health"],
)
def test_what_no_build_changes_hides_no_build(change: dict[str, Any]) -> None:
    plain = facts(driver="575.57.08", gpu="NVIDIA GeForce GTX 1080 Ti")
    found = ask(replace(plain, **change))
    assert found is not None
    assert found.builds == given(driver="575.57.08", gpu="NVIDIA GeForce GTX 1080 Ti").builds


def test_facts_about_a_gpu_that_contradict_each_other_decide_nothing() -> None:
    gpus = (Gpu(product="NVIDIA L4", compute_capability=(3, 5)),)
    assert ask(replace(facts(), gpus=gpus)) is None
    found = judge(replace(facts("2.9.1+cu128", "580.65.06"), gpus=gpus))
    assert (found.verdict, found.reason) == ("Unknown", "ConflictingFacts")
