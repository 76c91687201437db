"""The sandbox's physics and the knowledge tables share nothing; here it shows when one of them is out of date."""

from pathlib import Path

import pytest

from gpuenv.knowledge import load
from gpuenv.knowledge.versions import parse_version
from gpuenv_sandbox.fleet import physics
from gpuenv_sandbox.scenario.hardware import PRODUCTS
from gpuenv_sandbox.scenario.model import SimulatedImage
from gpuenv_sandbox.scenario.read import read_scenario

K = load()
FIRST_PHYSICS = min(physics.CUDA_OF_BRANCH)
IMAGES = Path(__file__).parents[1] / "integration" / "images.yaml"
PYTORCH_IMAGES = [
    image
    for loaded in (read_scenario(), read_scenario(IMAGES))
    for image in (loaded.image, *(image for _, image in loaded.images))
    if image.torch and image.cuda
]


def test_both_know_the_same_driver_branches_and_their_cuda_versions() -> None:
    knowledge = {row.branch: row.cuda for row in K.branches if row.branch >= FIRST_PHYSICS}
    assert knowledge == physics.CUDA_OF_BRANCH
    assert FIRST_PHYSICS <= 450, "older branches run no CUDA 11, and are of no interest to the sandbox"


@pytest.mark.parametrize("branch", [row.branch for row in K.branches if row.branch >= FIRST_PHYSICS])
def test_drivers_of_both_answer_alike(branch: int) -> None:
    row = K.branch((branch, 10))
    assert row is not None
    assert physics.driver_api(f"{branch}.10") == 1000 * row.cuda[0] + 10 * row.cuda[1]


def test_both_know_the_same_gpu_generations() -> None:
    begun = {cc: row.first_driver for cc, row in K.architectures.items() if row.first_driver is not None}
    assert begun == physics.FIRST_BRANCH


@pytest.mark.parametrize("cc", sorted(K.architectures))
def test_generations_begin_and_end_with_the_same_driver(cc: tuple[int, int]) -> None:
    row = K.architectures[cc]
    if row.first_driver is not None:
        assert physics.driver_knows_gpu(f"{row.first_driver}.10", cc)
        assert not physics.driver_knows_gpu(f"{row.first_driver - 1}.10", cc)
    if row.dropped_from_driver is not None:
        assert not physics.driver_knows_gpu(f"{row.dropped_from_driver}.10", cc)
        assert physics.driver_knows_gpu(f"{K.last_branch(row.dropped_from_driver)}.10", cc)
    else:
        assert physics.driver_knows_gpu(f"{max(physics.CUDA_OF_BRANCH)}.10", cc)


@pytest.mark.parametrize("product", PRODUCTS)
def test_products_are_of_the_same_generation(product: str) -> None:
    model = K.model(product)
    assert model is not None
    assert model.cc == PRODUCTS[product].compute_capability


def test_every_generation_in_data_centres_has_a_product() -> None:
    sold = {
        model.cc for model in K.models.values() if model.datacenter and not K.architectures[model.cc].embedded
    }
    assert {cc for cc in sold if cc >= (6, 0)} <= {one.compute_capability for one in PRODUCTS.values()}


@pytest.mark.parametrize("image", PYTORCH_IMAGES, ids=lambda image: image.torch)
def test_images_of_scenarios_hold_what_the_released_builds_hold(image: SimulatedImage) -> None:
    release = K.release(parse_version(image.torch))
    assert release is not None, "PyTorch's release is not in the tables"
    build = release.build(parse_version(image.cuda))
    assert build is not None, "PyTorch was not released for this CUDA version"
    assert set(image.archs) == set(build.archs)
