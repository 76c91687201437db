"""What `kubectl apply -f examples/` answers on a real kubelet, with the real PyTorch where an example names it."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.node_images import stand_in_torch
from tests.support.release import Release
from tests.support.torch_image import import_torch_image

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "examples"
OFFICIAL = "docker.io/pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime"
ADVERTISED = "docker.io/library/pytorch-cuda:v2.9"


def applied(release: Release, file: str, name: str) -> dict[str, Any]:
    """The report's status, once the example has its answer."""
    release.kubectl("apply", "-f", str(EXAMPLES / file))
    return release.answer(name)


def test_the_real_pytorch_without_a_driver_says_so(
    release: Release, torch_wheel: Path, tmp_path: Path
) -> None:
    """The wheel that the official image has, in the official image's name, on a machine without an NVIDIA driver."""
    import_torch_image(release.node, OFFICIAL, torch_wheel, tmp_path)
    status = applied(release, "pytorch-2.9.yaml", "pytorch-2-9")
    assert (status["verdict"], status["reason"]) == ("Incompatible", "DriverNotVisible"), status
    assert "libcuda.so.1" in status["message"]
    torch = status["facts"]["torch"]
    assert (torch["version"], torch["cuda"], torch["cudnn"]) == ("2.9.1+cu128", "12.8", 91002)
    assert "sm_90" in torch["archFlags"]


def test_a_claim_and_the_content_stand_side_by_side(release: Release, tmp_path: Path) -> None:
    """The stand-in contains PyTorch 2.9.1 for CUDA 12.8 with cuDNN 9.10, not what the example says was advertised."""
    release.node.import_image(ADVERTISED, stand_in_torch(tmp_path))
    file, name = "pytorch-cuda-v2.9-as-advertised.yaml", "pytorch-cuda-v2-9-as-advertised"
    status = applied(release, file, name)
    assert (status["verdict"], status["reason"]) == ("Incompatible", "ExpectationMismatch"), status
    failed = [check["message"] for check in status["checks"] if check["status"] == "Fail"]
    for expected, observed in (("==11.8.*", "12.8"), ("==8.7.*", "9.10"), ("==3.9.*", "3.11")):
        assert any(expected in message and observed in message for message in failed), failed
