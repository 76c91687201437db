"""Builds that are not the plain wheel for x86_64: Arm, NVIDIA's containers, Jetson, conda; and which GPUs a program sees."""

from typing import Any

import pytest

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import ContainerFacts, DriverFacts, Facts, Gpu, TorchFacts
from gpuenv.assess.model import Assessment, Status
from gpuenv.assess.sources.collect_env import read_collect_env
from gpuenv.assess.visible import visible_gpus
from gpuenv.cli.output.text import in_words
from gpuenv.knowledge import load
from gpuenv.knowledge.versions import parse_version

KNOWLEDGE = load()


def judge(torch: str, cuda: str, gpu: str, driver: str | None = "580.95.05", **more: Any) -> Assessment:
    """Versions as a dump tells them. ``machine``, ``available``, ``channel`` and ``capability`` where given."""
    capability = parse_version(more.get("capability"))
    facts = Facts(
        source="collect-env",
        torch=TorchFacts(
            version=torch, cuda=cuda, available=more.get("available"), channel=more.get("channel")
        ),
        driver=DriverFacts(version=driver),
        gpus=(Gpu(product=gpu, compute_capability=(capability[0], capability[1]) if capability else None),),
        container=ContainerFacts(machine=more.get("machine")),
    )
    return assess(facts, None, (), KNOWLEDGE)


@pytest.mark.parametrize(
    ("torch", "cuda", "gpu", "verdict", "reason"),
    [
        # https://github.com/OpenRAL/openral/pull/167
        ("2.9.1+cu128", "12.8", "NVIDIA T4G", "Incompatible", "ArchNotInBuild"),
        ("2.9.1+cu128", "12.8", "NVIDIA GH200 480GB", "Compatible", ""),
        ("2.9.1+cu128", "12.8", "NVIDIA GB10", "Compatible", ""),
        ("2.9.1+cu128", "12.8", "NVIDIA Thor", "Incompatible", "ArchNotInBuild"),
        # https://github.com/pytorch/pytorch/pull/178891
        ("2.9.1+cu130", "13.0", "NVIDIA Thor", "Compatible", ""),
        # https://github.com/pytorch/pytorch/issues/148169
        ("2.7.1+cu126", "12.6", "NVIDIA GB10", "Incompatible", "ArchNotInBuild"),
        ("2.7.1+cu128", "12.8", "NVIDIA A100-SXM4-80GB", "Incompatible", "ArchNotInBuild"),
        ("2.5.1+cu124", "12.4", "NVIDIA GH200 480GB", "Compatible", ""),
        # no row: the wheel for x86_64 says nothing about this one
        ("2.8.0+cu128", "12.8", "NVIDIA GH200 480GB", "Unknown", "ArchUnknown"),
        ("2.4.1+cu121", "12.1", "NVIDIA GH200 480GB", "Unknown", "ArchUnknown"),
    ],
)
def test_wheels_for_arm_have_targets_of_their_own(
    torch: str, cuda: str, gpu: str, verdict: str, reason: str
) -> None:
    found = judge(torch, cuda, gpu, machine="aarch64")
    assert (found.verdict, found.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("torch", "cuda", "driver", "gpu", "verdict", "reason"),
    [
        ("2.1.0a0+4136153.nv23.05", "12.1", "470.129.06", "NVIDIA A100-SXM4-80GB", "Compatible", ""),
        ("2.9.0a0+145a3a7bda.nv25.10", "13.0", "535.230.02", "NVIDIA H100 80GB HBM3", "Compatible", ""),
        ("2.9.0a0+145a3a7bda.nv25.10", "13.0", "570.172.08", "NVIDIA GeForce RTX 5090", "Incompatible", "DriverTooOld"),
        ("2.9.0a0+145a3a7bda.nv25.10", "13.0", "545.23.08", "NVIDIA H100 80GB HBM3", "Incompatible", "DriverTooOld"),
        ("2.9.0+cu130", "13.0", "535.230.02", "NVIDIA H100 80GB HBM3", "Incompatible", "DriverTooOld"),
        ("2.2.0a0+81ea7a4", "12.3", "470.129.06", "NVIDIA A100-SXM4-80GB", "Compatible", ""),
    ],
)  # fmt: skip
def test_containers_of_nvidia_bring_cuda_compat_for_listed_drivers_on_data_centre_gpus(
    torch: str, cuda: str, driver: str, gpu: str, verdict: str, reason: str
) -> None:
    found = judge(torch, cuda, gpu, driver)
    assert (found.verdict, found.reason) == (verdict, reason)
    carried = [check for check in found.checks if check.reason == "ForwardCompatInUse"]
    assert bool(carried) is (verdict == "Compatible")
    assert all("release-notes/rel" in check.source for check in carried), (
        "the row of that series, not the reason"
    )


@pytest.mark.parametrize(
    ("torch", "cuda", "driver", "gpu", "available", "verdict"),
    [
        ("2.1.0a0+41361538.nv23.06", "11.4", None, "Orin (nvgpu)", True, "Compatible"),
        ("2.5.0a0+872d972e41.nv24.08", "12.6", "540.4.0", "Orin (nvgpu)", True, "Compatible"),
        ("2.8.0a0+34c6371d24.nv25.08", "13.0", "580.00", "NVIDIA Thor", True, "Compatible"),
        ("2.5.0a0+872d972e41.nv24.08", "12.6", None, "Orin (nvgpu)", None, "Unknown"),
        ("2.7.0+cu128", "12.8", "540.4.0", "Orin (nvgpu)", True, "Incompatible"),
    ],
)
def test_jetson_modules_run_the_wheels_made_for_them(
    torch: str, cuda: str, driver: str | None, gpu: str, available: bool | None, verdict: str
) -> None:
    found = judge(torch, cuda, gpu, driver, machine="aarch64", available=available)
    assert found.verdict == verdict, found


def test_builds_of_conda_forge_have_targets_of_their_own() -> None:
    pascal = "NVIDIA GeForce GTX 1080 Ti"
    assert judge("2.7.1", "12.9", pascal, "575.64.03", channel="conda-forge").verdict == "Compatible"
    unlisted = judge("2.7.1", "12.8", pascal, "575.64.03", channel="conda-forge")
    assert (unlisted.verdict, unlisted.reason) == ("Unknown", "ArchUnknown")
    text = "[conda] pytorch    2.7.1    cuda129_generic_py311_h48e0e0f_203    conda-forge\n"
    assert read_collect_env(text).torch.channel == "conda-forge"
    assert (
        read_collect_env("[conda] pytorch 2.2.2 py3.11_cuda12.1_cudnn8.9.2_0 pytorch\n").torch.channel is None
    )


def test_the_nearest_build_proves_nothing_against_a_build_that_is_not_it() -> None:
    own = judge("2.7.1", "12.9", "NVIDIA GeForce GTX 1080 Ti", "575.64.03")
    assert (own.verdict, own.reason) == ("Unknown", "ArchUnknown")
    nightly = judge("2.7.0.dev20250310+cu124", "12.4", "NVIDIA GeForce RTX 5090", "570.124.06")
    assert (nightly.verdict, nightly.reason) == ("Incompatible", "ArchNotInBuild")


@pytest.mark.parametrize(
    "package",
    [
        "[conda] pytorch                   2.2.2               py3.11_cpu_0    pytorch",
        "[conda] pytorch                   2.4.0      cpu_generic_py311_h4a3044c_0    conda-forge",
    ],
)
def test_conda_names_its_builds_without_cuda(package: str) -> None:
    text = f"PyTorch version: 2.2.2\nIs CUDA available: False\nNvidia driver version: 551.23\n{package}\n"
    assert assess(read_collect_env(text), None, (), KNOWLEDGE).reason == "TorchCpuBuild"


@pytest.mark.parametrize(
    ("products", "env", "seen"),
    [
        (("NVIDIA GeForce RTX 3090", "NVIDIA GeForce GTX 1060 6GB"), {"CUDA_VISIBLE_DEVICES": "0"}, [0]),
        (("NVIDIA GeForce GTX 1060 6GB", "NVIDIA GeForce RTX 3090"), {"CUDA_VISIBLE_DEVICES": "0"}, [1]),
        (("NVIDIA GeForce GTX 1060 6GB", "NVIDIA GeForce RTX 3090"), {"CUDA_VISIBLE_DEVICES": "1"}, [0, 1]),
        (
            ("NVIDIA GeForce GTX 1060 6GB", "NVIDIA GeForce RTX 3090"),
            {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
            [0],
        ),
        (("NVIDIA L4", "NVIDIA L4", "NVIDIA L4"), {"CUDA_VISIBLE_DEVICES": "0,2"}, [0, 2]),
        (("NVIDIA L4", "NVIDIA L4"), {"CUDA_VISIBLE_DEVICES": "7"}, [0, 1]),
        (("NVIDIA L4", "NVIDIA L4"), {"CUDA_VISIBLE_DEVICES": "GPU-0c5d"}, [0, 1]),
        (("NVIDIA L4", "NVIDIA L4"), {}, [0, 1]),
        (("NVIDIA Whatever", "NVIDIA L4"), {"CUDA_VISIBLE_DEVICES": "0"}, [0, 1]),
    ],
)
def test_hidden_gpus_are_not_judged(products: tuple[str, ...], env: dict[str, str], seen: list[int]) -> None:
    facts = Facts(
        source="collect-env",
        gpus=tuple(Gpu(index=index, product=name) for index, name in enumerate(products)),
        container=ContainerFacts(env=env),
    )
    assert [gpu.index for gpu in visible_gpus(facts, KNOWLEDGE)] == seen


def test_contradicting_facts_are_no_pass() -> None:
    build = judge("2.9.1+cu128", "12.6", "Tesla P4")
    assert (build.verdict, build.reason) == ("Unknown", "ConflictingFacts")
    product = judge("2.11.0+cu130", "13.0", "Tesla V100-SXM2-16GB", capability="8.0")
    assert (product.verdict, product.reason) == ("Unknown", "ConflictingFacts")


def test_a_gpu_newer_than_the_tables_needs_to_have_been_seen_to_work() -> None:
    later = max(KNOWLEDGE.architectures)[0] + 1
    for capability in ("10.7", f"{later}.0"):
        unseen = judge("2.15.0+cu132", "13.2", "NVIDIA R100", capability=capability)
        assert (unseen.verdict, unseen.reason) == (
            "Unknown",
            "GpuNotInTables",
        ) or unseen.verdict == "Incompatible"
    seen = judge("2.15.0+cu132", "13.2", "NVIDIA R100", "620.10", capability="10.7", available=True)
    assert seen.verdict == "Compatible"


def test_cuda_that_starts_proves_the_driver() -> None:
    found = judge("2.4.0+cu121", "12.1", "NVIDIA A100-SXM4-80GB", None, available=True)
    assert found.verdict == "Compatible"
    assert "NotEnoughFacts" in {check.reason for check in found.checks if check.status is Status.NOTE}
    assert judge("2.4.0+cu121", "12.1", "NVIDIA A100-SXM4-80GB", None).verdict == "Unknown"


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("GRID V100D-8Q", (7, 0)),
        ("NVIDIA DGX Spark", (12, 1)),
        ("NVIDIA GRID RTX6000-8Q", (7, 5)),
        ("NVIDIA RTXA6000-48Q", (8, 6)),
        ("Tesla T40 24GB", (7, 5)),
        ("Tesla T10", (7, 5)),
        ("NVIDIA T4G", (7, 5)),
    ],
)
def test_names_of_virtual_and_rare_gpus(name: str, capability: tuple[int, int]) -> None:
    model = KNOWLEDGE.model(name)
    assert model is not None
    assert model.cc == capability


def test_a_libcuda_older_than_the_driver_is_a_stale_copy() -> None:
    facts = Facts(
        source="collect-env",
        torch=TorchFacts(version="2.4.0+cu121", cuda="12.1", available=False),
        driver=DriverFacts(version="550.54.15", cuda_version=11040),
        gpus=(Gpu(product="NVIDIA A100-SXM4-80GB"),),
    )
    found = assess(facts, None, (), KNOWLEDGE)
    assert found.reason == "DriverTooOld"
    assert "stale libcuda" in found.message
    assert "Remove the stale libcuda" in in_words(found.checks[0].remedies)
    assert "ConflictingFacts" in {check.reason for check in found.checks}


def test_a_driver_below_the_floor_that_works_has_cuda_compat() -> None:
    found = judge("2.4.0+cu121", "12.1", "NVIDIA A100-SXM4-80GB", "470.57.02", available=True)
    assert found.verdict == "Compatible"
    assert "ForwardCompatInUse" in {check.reason for check in found.checks}


def test_nobody_is_asked_for_the_driver_of_a_jetson() -> None:
    found = judge("2.5.0a0+872d972e41.nv24.08", "12.6", "Orin (nvgpu)", None)
    assert "is_available" in in_words(found.checks[0].remedies)
    assert "--driver" not in in_words(found.checks[0].remedies)
    works = judge("2.5.0a0+872d972e41.nv24.08", "12.6", "Orin (nvgpu)", "540.4.0", available=True)
    assert "DriverOlderThanToolkit" not in {check.reason for check in works.checks}


def test_a_jetson_is_known_by_its_kernel_where_nothing_else_tells_the_gpu() -> None:
    """https://github.com/vllm-project/vllm/issues/5640"""
    dump = (
        "PyTorch version: 2.0.0a0+ec3941ad.nv23.02\nCUDA used to build PyTorch: 11.4\nOS: Ubuntu 20.04.5 LTS (aarch64)\n"
        "Python platform: Linux-5.10.120-tegra-aarch64-with-glibc2.29\nIs CUDA available: {}\n"
        "GPU models and configuration: Could not collect\nNvidia driver version: Could not collect\n"
    )
    assert assess(read_collect_env(dump.format(True)), None, (), KNOWLEDGE).verdict == "Compatible"
    assert assess(read_collect_env(dump.format(False)), None, (), KNOWLEDGE).verdict == "Incompatible"
    wheel = dump.format(True).replace("2.0.0a0+ec3941ad.nv23.02", "2.1.0+cu118").replace("11.4", "11.8")
    assert assess(read_collect_env(wheel), None, (), KNOWLEDGE).verdict == "Unknown", (
        "no wheel for Arm in the tables"
    )


@pytest.mark.parametrize(
    ("version", "gpu", "verdict"),
    [
        ("2.2.0a0+81ea7a4", "NVIDIA H100 80GB HBM3", "Compatible"),
        ("2.1.0a0+29c30b1", "Tesla V100-SXM2-16GB", "Compatible"),
        ("2.2.0a0+git81ea7a4", "NVIDIA H100 80GB HBM3", "Unknown"),
        ("2.2.0a0+81ea7a4", "NVIDIA GeForce RTX 5090", "Incompatible"),
        ("2.7.0a0+81ea7a4", "NVIDIA H100 80GB HBM3", "Unknown"),
    ],
)
def test_older_containers_of_nvidia_are_known_by_a_bare_commit(version: str, gpu: str, verdict: str) -> None:
    assert judge(version, "12.3", gpu).verdict == verdict
