"""The versions of the software in an image and on its node, under the names that ``spec.expect`` uses."""

from typing import Final

from gpuenv.api.foreign_text import one_line
from gpuenv.assess.facts import Facts
from gpuenv.assess.policies.architecture import cudnn_version
from gpuenv.knowledge.versions import show

IMAGE: Final = ("pytorch", "cuda", "cudnn", "python")
"""The names of those versions that must be equal wherever the same image runs."""
MAX_LENGTH: Final = 128
"""The longest version in characters. The probe report comes from the user's image, so its texts are not trusted."""


def observed_versions(facts: Facts) -> dict[str, str]:
    """Return the known versions by name: driver, pytorch, cuda, cudnn, nccl and python.

    All are dotted texts, such as ``9.10.2`` for cuDNN's number 91002. A version that is not known is left out.
    """
    cudnn = cudnn_version(facts.torch.cudnn)
    found = {
        "driver": facts.driver.version or facts.node.driver_version,
        "pytorch": facts.torch.version,
        "cuda": facts.torch.cuda,
        "cudnn": show(cudnn) if cudnn else None,
        "nccl": facts.torch.nccl,
        "python": facts.container.python,
    }
    return {name: one_line(version, MAX_LENGTH) for name, version in found.items() if version}
