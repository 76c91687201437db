"""Builds whose CUDA version alone says that they have no code for the GPU, and cures for Jetson modules."""

import pytest
from tests.support.world import KNOWLEDGE

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import ContainerFacts, DriverFacts, Facts, Gpu, Source, TorchFacts
from gpuenv.assess.model import Assessment


def judged(
    gpu: str,
    *,
    torch: str | None = None,
    cuda: str | None = None,
    driver: str = "580.00",
    machine: str | None = None,
) -> Assessment:
    facts = Facts(
        source=Source.FLAGS,
        torch=TorchFacts(version=torch, cuda=cuda),
        driver=DriverFacts(version=driver),
        container=ContainerFacts(machine=machine),
        gpus=(Gpu(product=gpu),),
    )
    return assess(facts, None, (), KNOWLEDGE)


@pytest.mark.parametrize(
    ("gpu", "torch", "cuda"),
    [
        ("Jetson AGX Thor", "2.11.0+cu128", None),
        ("Jetson AGX Thor", None, "12.8"),
        ("Orin (nvgpu)", "2.11.0+cu126", None),
        ("NVIDIA GeForce RTX 5090", None, "12.4"),
        ("Tesla V100-SXM2-16GB", None, "13.0"),
    ],
)
def test_where_every_build_lacks_the_code_the_cuda_version_decides(
    gpu: str, torch: str | None, cuda: str | None
) -> None:
    found = judged(gpu, torch=torch, cuda=cuda)
    assert (found.verdict, found.reason) == ("Incompatible", "ArchNotInBuild")
    assert not any(check.reason == "ArchUnknown" for check in found.checks)


@pytest.mark.parametrize(
    ("gpu", "torch", "cuda"),
    [
        ("Orin (nvgpu)", None, "12.6"),  # NVIDIA's own wheels for Jetson have code
        ("Tesla V100-SXM2-16GB", None, "12.8"),  # some builds have code, others none
        ("NVIDIA GeForce RTX 5090", "2.9.0a0+gitabcdef0", "12.4"),  # somebody's own build can have PTX
        ("NVIDIA GeForce RTX 5090", None, "12.8"),
    ],
)
def test_a_build_that_may_have_the_code_stays_unknown(gpu: str, torch: str | None, cuda: str | None) -> None:
    assert judged(gpu, torch=torch, cuda=cuda).verdict == "Unknown"


@pytest.mark.parametrize("torch", ["2.7.0+cu128", "2.9.1+cpu"])
def test_cures_for_a_jetson_name_builds_for_its_jetpack(torch: str) -> None:
    found = judged("Orin (nvgpu)", torch=torch, driver="540.4.0").checks[0]
    assert "JetPack" in found.remedies[0].message
    assert "index cu12" not in found.remedies[0].message
