"""What does not fail, what is not known, and cures that fit the place."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.support.assessed import HEALTHY, judge, told
from tests.support.gpu_fixtures import DIRECTORY

from gpuenv.assess.facts import (
    ContainerFacts,
    DriverFacts,
    Facts,
    Gpu,
    NodeFacts,
    TorchFacts,
)
from gpuenv.assess.model import Status, Verdict
from gpuenv.assess.sources.probe.probe_document import join_reports
from gpuenv.assess.sources.probe.probe_facts import facts_from_document
from gpuenv.cli.output.text import in_words
from gpuenv.knowledge import load
from gpuenv.knowledge.model import on_windows
from gpuenv.knowledge.versions import show


def flags(version: str, gpu: str, driver_version: str = "580.65.06", **more: Any) -> Facts:
    return Facts(
        source="flags",
        torch=TorchFacts(version=version, **more),
        driver=DriverFacts(version=driver_version),
        gpus=(Gpu(product=gpu),),
    )


def test_notes_that_do_not_fail() -> None:
    def notes(facts: Facts) -> set[str]:
        found = judge(facts)
        assert found.verdict is Verdict.COMPATIBLE, told(found)
        return {check.reason for check in found.checks if check.status is Status.NOTE}

    assert "FeatureOutOfReach" in notes(flags("2.7.1+cu118", "NVIDIA H100 PCIe", cuda="11.8"))
    assert "LastSupportedGeneration" in notes(flags("2.7.1+cu118", "Tesla P40", cuda="11.8"))
    seen = replace(flags("2.9.0", "NVIDIA A100-PCIE-40GB", cuda="11.8"), source="collect-env")
    assert "NoSuchBuild" in notes(seen)
    seen = replace(flags("2.19.0", "NVIDIA A100-PCIE-40GB", cuda="13.2"), source="collect-env")
    assert "TorchNotInTables" in notes(seen)


def test_a_wheel_that_names_its_cuda_exists() -> None:
    seen = replace(flags("2.9.0+cu129", "NVIDIA L4", cuda="12.9"), source="collect-env")
    assert "NoSuchBuild" not in {check.reason for check in judge(seen).checks}


@pytest.mark.parametrize(
    ("version", "reason"),
    [("2.12.0+cu131", "NoSuchBuild"), ("2.9.1+cu118", "NoSuchBuild"), ("1.14.0+cu117", "TorchNotInTables")],
)
def test_a_typed_build_that_the_tables_lack_is_no_pass(version: str, reason: str) -> None:
    found = judge(flags(version, "NVIDIA A100-PCIE-40GB"))
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, reason), told(found)
    targets = ("sm_80",)
    built = judge(flags(version, "NVIDIA A100-PCIE-40GB", arch_flags=targets))
    assert built.verdict is Verdict.COMPATIBLE, "who knows its targets has the build"


@pytest.mark.parametrize(
    ("version", "reason", "words"),
    [
        ("2.9.7+cu128", "NoSuchBuild", "PyTorch 2.9.7 was not released; of 2.9, there are 2.9.0 and 2.9.1"),
        ("2.9.9", "NoSuchBuild", "of 2.9, there are"),
        ("2.6.1+cu124", "NoSuchBuild", "of 2.6, there is only 2.6.0"),
        ("2.99.0+cu130", "TorchNotInTables", "PyTorch 2.99.0+cu130 is newer than the tables"),
    ],
)
def test_a_release_that_does_not_exist_is_doubted_if_it_was_typed(
    version: str, reason: str, words: str
) -> None:
    found = judge(flags(version, "NVIDIA H100 PCIe"))
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, reason), told(found)
    assert words in found.checks[0].message
    seen = judge(replace(flags(version, "NVIDIA H100 PCIe"), source="collect-env"))
    assert all(check.status is not Status.UNKNOWN for check in seen.checks if check.name == "torch-release")
    nightly = judge(flags("2.99.0.dev20261101+cu130", "NVIDIA H100 PCIe", arch_flags=("sm_90",)))
    assert nightly.verdict is Verdict.COMPATIBLE


def test_every_release_in_the_tables_has_a_first_patch_and_its_own_history() -> None:
    for release in load().torch.values():
        assert release.patches[0] == 0
        assert list(release.patches) == sorted(set(release.patches))
        assert release.has(release.last)
        assert release.has(release.torch)
        assert not release.has((*release.torch, release.patches[-1] + 1))


def test_a_table_without_patches_doubts_no_release() -> None:
    release = replace(load().newest_release(), patches=())
    assert release.has((*release.torch, 7))
    assert release.last == release.torch


def test_a_typed_build_that_the_tables_lack_leads_what_else_is_not_known() -> None:
    assert judge(replace(flags("2.12.0+cu131", "x"), gpus=())).reason == "NoSuchBuild"


@pytest.mark.parametrize("driver", ["535.104.05", "590.44.01"])
def test_nobody_changes_the_driver_in_vain(driver: str) -> None:
    found = judge(flags("2.12.0+cu130", "Tesla V100-SXM2-16GB", driver))
    failed = [check.reason for check in found.checks if check.status is Status.FAIL]
    assert failed[0] == "ArchNotInBuild"
    assert failed[1] in {"DriverTooOld", "DriverDroppedGpu"}


def test_what_was_seen_to_fail_comes_in_the_order_in_which_it_happens() -> None:
    seen = flags("2.12.0+cu130", "Tesla V100-SXM2-16GB", "535.104.05", available=False)
    found = judge(replace(seen, source="collect-env"))
    assert found.reason in {"DriverTooOld", "CudaInitFailed"}


def test_a_driver_is_not_invented() -> None:
    found = judge(Facts(source="error-text", torch=TorchFacts(available=False)))
    assert found.message == "torch.cuda.is_available() is False"
    found = judge(flags("2.9.1+cu128", "NVIDIA L4", available=False))
    assert found.message == "torch.cuda.is_available() is False although a driver is there"


def test_gpus_beside_arm_processors_take_the_arm_wheels() -> None:
    assert judge(flags("2.11.0+cu130", "NVIDIA Thor", cuda="13.0")).verdict is Verdict.COMPATIBLE
    x86 = replace(
        flags("2.11.0+cu130", "NVIDIA Thor", cuda="13.0"), container=ContainerFacts(machine="x86_64")
    )
    assert judge(x86).reason == "ArchNotInBuild"


@pytest.mark.parametrize(
    ("torch", "message"),
    [
        ("2.9.0", "PyTorch 2.9 was not released for CUDA 11.8; it was for 12.6, 12.8, 12.9 and 13.0"),
        (
            "2.10.0",
            "PyTorch 2.10 for CUDA 11.8 is not in the tables, which have its builds for 12.6, 12.8, 12.9 and 13.0",
        ),
    ],
)
def test_a_build_was_never_released_only_if_the_whole_list_was_read(torch: str, message: str) -> None:
    found = judge(flags(torch, "NVIDIA L4", cuda="11.8")).checks
    assert [check.message for check in found if check.reason == "NoSuchBuild"] == [message]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts(source="flags"), "NotEnoughFacts"),
        (replace(flags("2.9.1+cu128", "x"), gpus=()), "NotEnoughFacts"),
        (flags("2.9.1+cu128", "NVIDIA X9999"), "ArchUnknown"),
        (flags("2.9.0a0+gitabcdef", "NVIDIA L4", cuda="12.8"), "ArchUnknown"),
        (replace(flags("2.9.1+cu128", "NVIDIA L4"), driver=DriverFacts()), "NotEnoughFacts"),
    ],
)
def test_what_is_not_known_stays_unknown(facts: Facts, reason: str) -> None:
    found = judge(facts)
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, reason), told(found)
    assert found.checks[0].remedies


@pytest.mark.parametrize(
    ("cuda", "version", "verdict", "reason"),
    [("14.1", "595.45.04", "Incompatible", "DriverTooOld"), ("14.1", "690.10", "Unknown", "NotEnoughFacts")],
)
def test_a_cuda_beyond_the_tables_is_judged_by_rule(
    cuda: str, version: str, verdict: str, reason: str
) -> None:
    found = judge(replace(flags("3.0.0", "NVIDIA L4", version, cuda=cuda), source="collect-env"))
    assert (found.verdict, found.reason) == (verdict, reason), told(found)


def test_a_v100_is_never_sent_past_r580() -> None:
    found = judge(flags("2.9.1+cu128", "Tesla V100-SXM2-16GB", "470.57.02"))
    assert found.reason == "DriverTooOld"
    assert "not past R580" in in_words(found.checks[0].remedies)
    gone = judge(flags("2.9.1+cu128", "Tesla V100-SXM2-16GB", "595.45.04"))
    assert gone.reason == "DriverDroppedGpu"
    assert "R580" in in_words(gone.checks[0].remedies)


@pytest.mark.parametrize("platform", [None, "gfd", "gke", "eks", "aks", "openshift", "wsl"])
def test_every_platform_has_its_words_for_a_newer_driver(platform: str | None) -> None:
    found = judge(
        replace(
            flags("2.11.0+cu130", "NVIDIA L4", "535.104.05", cuda="13.0"), node=NodeFacts(platform=platform)
        )
    )
    least = "580" if platform == "wsl" else "580.65.06"
    assert f"{least} or newer" in in_words(found.checks[0].remedies)
    assert "{" not in in_words(found.checks[0].remedies)


def test_a_newer_driver_is_no_cure_where_the_build_has_no_code() -> None:
    found = judge(flags("2.11.0+cu130", "Tesla V100-SXM2-16GB", "535.104.05", cuda="13.0"))
    cure = next(in_words(check.remedies) for check in found.checks if check.reason == "DriverTooOld")
    assert "cu126" in cure
    assert "pgrade" not in cure


def test_facts_that_contradict_each_other_are_named() -> None:
    facts = replace(
        HEALTHY, node=replace(HEALTHY.node, driver_version="535.104.05"), conflicts=("driver: a or b",)
    )
    messages = [check.message for check in judge(facts).checks if check.reason == "ConflictingFacts"]
    assert len(messages) == 2


@pytest.mark.parametrize(("node", "noted"), [(NodeFacts(name="n"), False), (NodeFacts(), True)])
def test_small_shared_memory_is_told_where_it_is_the_users_own(node: NodeFacts, noted: bool) -> None:
    """In a probe pod it is the pod's, and says nothing of the pods that will work with the image."""
    facts = replace(HEALTHY, container=replace(HEALTHY.container, shm_mib=64), node=node)
    assert ("SmallWorkspace" in {check.reason for check in judge(facts).checks}) is noted


@pytest.mark.parametrize(
    ("readings", "noted"),
    [
        ([{"persistence": True}], []),
        ([{"persistence": False}], ["persistence mode is off on GPU 0"]),
        (
            [{"persistence": False}, {"persistence": True}, {"persistence": False}],
            ["persistence mode is off on GPU 0, 2"],
        ),
        ([{"persistence": None}], []),
        ([{}], []),
    ],
    ids=["on", "off", "off on some", "not known", "not offered by NVML, as on Windows"],
)
def test_persistence_mode_that_is_off_is_a_note(readings: list[dict[str, Any]], noted: list[str]) -> None:
    (path,) = DIRECTORY.glob("nvidia-h100-*.json")
    reports = json.loads(path.read_text(encoding="utf-8"))["profiles"]["None"]["reports"]
    (gpu,) = reports["facts"]["gpus"]
    known = {name: value for name, value in gpu["health"].items() if name != "persistence"}
    reports["facts"]["gpus"] = [
        {**gpu, "index": index, "health": {**known, **reading}} for index, reading in enumerate(readings)
    ]
    steps = reports["kernels"]["steps"]
    reports["kernels"]["steps"] = [{**step, "gpu": index} for index in range(len(readings)) for step in steps]
    found = judge(facts_from_document(join_reports(reports["facts"], reports["kernels"]), NodeFacts()))
    notes = [check for check in found.checks if check.reason == "PersistenceModeOff"]
    assert [check.message for check in notes] == noted
    assert {check.status for check in notes} <= {Status.NOTE}
    assert found.verdict is Verdict.COMPATIBLE, told(found)


@pytest.mark.parametrize("platform", ["windows", "wsl"])
@pytest.mark.parametrize(
    ("version", "driver", "verdict"),
    [
        ("2.9.1+cu126", "526.98", "Incompatible"),
        ("2.9.1+cu126", "528.33", "Compatible"),
        ("2.7.0+cu118", "451.48", "Incompatible"),
        ("2.7.0+cu118", "452.39", "Compatible"),
        ("2.9.1+cu130", "576.80", "Incompatible"),
        ("2.9.1+cu130", "580.88", "Compatible"),
    ],
)
def test_drivers_on_windows_have_minimums_of_their_own(
    platform: str, version: str, driver: str, verdict: str
) -> None:
    card = flags(version, "NVIDIA GeForce RTX 2080 Ti", driver)
    found = judge(replace(card, node=NodeFacts(platform=platform)))
    assert found.verdict == verdict, told(found)
    if verdict == "Incompatible":
        words = found.checks[0].message + in_words(found.checks[0].remedies)
        assert not any(linux in words for linux in ("525.60.13", "450.80.02", "580.65.06")), words
    signed = judge(replace(card, node=NodeFacts(signs=(platform,))))
    assert signed.verdict == verdict


def test_tables_without_a_column_for_windows_have_the_drivers_of_linux() -> None:
    own = load()
    older = replace(own, toolkits={cuda: replace(row, windows=None) for cuda, row in own.toolkits.items()})
    assert on_windows(older) is older
    assert on_windows(on_windows(own)) is on_windows(own) is not own


def test_a_driver_newer_than_the_tables_is_noted() -> None:
    found = judge(flags("2.9.1+cu128", "NVIDIA A100-PCIE-40GB", "700.10"))
    assert found.verdict is Verdict.COMPATIBLE, told(found)
    (note,) = [check for check in found.checks if "newer than the tables" in check.message]
    assert (note.status, note.name) == (Status.NOTE, "driver-version")
    assert f"at least {show(load().branches[0].cuda)}" in note.message
    told_by_smi = replace(
        flags("2.9.1+cu128", "NVIDIA A100-PCIE-40GB"),
        driver=DriverFacts(version="700.10", nvml_cuda_version=14000),
    )
    assert not [check for check in judge(told_by_smi).checks if "tables" in check.message]


def test_a_driver_that_cannot_exist_is_doubted() -> None:
    found = judge(flags("2.9.1+cu128", "NVIDIA A100-PCIE-40GB", "999.99"))
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "NotEnoughFacts"), told(found)
    assert "as nvidia-smi prints it" in in_words(found.checks[0].remedies)


@pytest.mark.parametrize(
    ("facts", "wanted", "given"),
    [
        (Facts(source="flags", torch=TorchFacts(cuda="12.8")), "--torch", "--compute-capability"),
        (flags("2.10.0a0+gitabc", "NVIDIA L4", cuda="12.8"), "--arch-list", "--compute-capability"),
        (flags("2.9.1+cu128", "NVIDIA XYZ 1"), "--compute-capability", "--arch-list"),
    ],
)
def test_only_what_is_missing_is_asked_for(facts: Facts, wanted: str, given: str) -> None:
    gpus = facts.gpus or (Gpu(product="NVIDIA L4"),)
    found = judge(replace(facts, driver=DriverFacts(version="580.65.06"), gpus=gpus))
    (unknown,) = [check for check in found.checks if check.reason == "ArchUnknown"]
    words = in_words(unknown.remedies)
    assert wanted in words
    assert given not in words


def test_a_compute_capability_that_was_given_is_not_asked_for() -> None:
    gpus = (Gpu(product="a GPU", compute_capability=(99, 9)),)
    found = judge(replace(flags("2.9.1+cu128", ""), gpus=gpus))
    (unknown,) = [check for check in found.checks if check.reason == "GpuNotInTables"]
    assert "Give the compute capability" not in in_words(unknown.remedies)
    assert "--knowledge" in in_words(unknown.remedies)
