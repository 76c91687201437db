"""The platforms of a machine, such as GKE, Docker or Windows, as far as the facts show them.

Several can hold at once. Their order decides which of them gives a cure:

1. the platform that a person gave (``--platform``) or that the labels of the node name;
2. the platforms that values of the facts show, such as a Jetson by its GPU, and those of which a pasted text shows signs,
   in the order of platforms.yaml, which has the most specific one first.

A platform is followed in this order by the more general ones that it implies.
"""

from collections.abc import Iterator
from typing import Final

from gpuenv.assess.facts import Facts, LibcudaOrigin, Source
from gpuenv.assess.other_vendors import AMD, APPLE, vendor_of
from gpuenv.assess.targets import is_embedded
from gpuenv.assess.vgpu import virtual_gpus
from gpuenv.knowledge.build_name import parse_build_name
from gpuenv.knowledge.model import Knowledge
from gpuenv.knowledge.versions import parse_version

_WSL_DEVICE: Final = "/dev/dxg"
_WITHOUT_NVIDIA: Final = frozenset({"amd", "macos"})
_PASSED_THROUGH: Final = 1
"""NVML's virtualisation mode of a GPU that is passed through to a virtual machine."""
_JETSON_BRANCH: Final = 540
"""Driver branch that exists for Jetson alone: JetPack 6 has 540.2 to 540.5.

https://docs.nvidia.com/jetson/archives/
"""


def platforms_of(facts: Facts, knowledge: Knowledge) -> tuple[str, ...]:
    """Return the names of all platforms that hold, the one whose cures count first at the beginning."""
    given = facts.node.platform
    seen = (
        {given, *facts.node.signs, *_shown(facts, knowledge)}
        if given
        else {*facts.node.signs, *_shown(facts, knowledge)}
    )
    if _has_nvidia(facts, knowledge):
        # A text can name a processor or a second card of AMD, too, or come through a terminal of macOS.
        seen -= _WITHOUT_NVIDIA - {given}
    if "windows" in seen and "docker" in seen:
        seen.add("wsl")  # containers with GPUs run on Windows in the virtual machine of WSL only
    for row in knowledge.platforms:
        if row.name in seen and row.implies:
            seen.add(row.implies)
    for row in knowledge.platforms:
        if row.name in facts.node.signs and not seen.isdisjoint(row.unless):
            seen.discard(row.name)
    ordered = tuple(row.name for row in knowledge.platforms if row.name in seen)
    return (given, *(name for name in ordered if name != given)) if given else ordered


def _has_nvidia(facts: Facts, knowledge: Knowledge) -> bool:
    """Return whether the facts show a GPU or a driver of NVIDIA."""
    products = (facts.node.product, *(gpu.product for gpu in facts.gpus))
    driver = facts.driver.version or facts.node.driver_version or facts.driver.cuda_version
    return driver is not None or any(knowledge.model(product) is not None for product in products)


def _shown(facts: Facts, knowledge: Knowledge) -> Iterator[str]:
    """Yield the platforms that single values of the facts show."""
    library, nodes = facts.driver.libcuda, facts.driver.device_nodes or ()
    origin = library.origin if library is not None else None
    driver = parse_version(facts.driver.version)
    if is_embedded(facts, knowledge) or (driver is not None and driver[0] == _JETSON_BRANCH):
        yield "jetson"
    vendors = {vendor_of(gpu.product) for gpu in facts.gpus}
    if AMD in vendors or parse_build_name(facts.torch.version).is_rocm:
        yield "amd"
    if APPLE in vendors:
        yield "macos"
    if origin is LibcudaOrigin.WSL or any(node.path == _WSL_DEVICE and node.errno == 0 for node in nodes):
        yield "wsl"
    if origin is LibcudaOrigin.GKE:
        yield "gke"
    if facts.source is Source.PROBE and facts.node.name is not None:
        yield "kubernetes"
    if virtual_gpus(facts):
        yield "vgpu"
    if any(gpu.health.virtualization_mode == _PASSED_THROUGH for gpu in facts.gpus):
        yield "vm"
