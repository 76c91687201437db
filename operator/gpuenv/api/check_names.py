"""The names of all checks, each with a one-line description.

The names are documented API; ``docs/checks.md`` lists them. At run time, a check name is a plain string. For mypy it is
the type :data:`CheckName`, so that policies can only use names that this module defines.
"""

from dataclasses import dataclass
from typing import Final, NewType

CheckName = NewType("CheckName", str)

DESCRIPTIONS: Final[dict[str, str]] = {}
"""Maps every check name to one sentence that is true if the check passes.

A :class:`Family` has a pattern as its key, such as ``floor-<benchmark>-<data type>``.
"""


def _name(name: str, description: str) -> CheckName:
    DESCRIPTIONS[name] = description
    return CheckName(name)


@dataclass(frozen=True, slots=True)
class Family:
    """A group of check names that share a prefix: ``floor-matmul-bf16`` belongs to the family ``floor``.

    What follows the prefix comes from the specification (``import-flash_attn``) or from the probe report.
    """

    prefix: str

    def of(self, *parts: str) -> CheckName:
        """Return the check name made of the prefix and ``parts``, joined by hyphens. Empty parts are left out."""
        return CheckName("-".join(part for part in (self.prefix, *parts) if part))


def _family(prefix: str, end: str, description: str) -> Family:
    DESCRIPTIONS[f"{prefix}-{end}"] = description
    return Family(prefix)


# The image.
TORCH: Final = _name("torch", "The image's Python has a torch module, and it imports.")
CUDA_BUILD: Final = _name("cuda-build", "PyTorch was built with CUDA.")
TORCH_RELEASE: Final = _name("torch-release", "Such a build of PyTorch was released.")
PYTHON_VERSION: Final = _name("python-version", "The PyTorch release has wheels for the image's Python.")

# The driver, and how CUDA starts.
DRIVER_VISIBLE: Final = _name("driver-visible", "A driver is visible where the program runs.")
DRIVER_VERSION: Final = _name("driver-version", "The driver is new enough for the image's CUDA runtime.")
DRIVER_GPU: Final = _name("driver-gpu", "The driver's branch supports the GPU.")
DRIVER_MODULE: Final = _name(
    "driver-module",
    "The loaded kernel module is of libcuda's version, and of the flavour that the GPU needs.",
)
CUDA_INIT: Final = _name("cuda-init", "CUDA starts, and finds a GPU.")
NVML: Final = _name("nvml", "NVML works inside the container.")
TORCH_WARNING: Final = _name("torch-warning", "PyTorch warned of nothing that keeps kernels from running.")
ERROR: Final = _name(
    "error", "No error was given that tells of a failure. Each known error is a check of this name."
)
FORWARD_COMPAT: Final = _name(
    "forward-compat", "The loaded libcuda is the driver's own, not one of cuda-compat."
)
GENERATION: Final = _name(
    "generation", "New driver branches and toolkits still support the GPU's generation."
)

# The code that the build has for the GPU.
ARCHITECTURE: Final = _name("architecture", "The build has code that the GPU can run.")
CUDNN_GPU: Final = _name("cudnn-gpu", "The image's cuDNN still supports the GPU.")
FEATURES: Final = _name("features", "The image's toolkit reaches all features of the GPU.")

# The kernels and other programs that a probe ran.
KERNELS: Final = _name("kernels", "Kernels ran on every GPU, and computed the right results.")
KERNEL: Final = _family("kernel", "<step>-<data type>", "A kernel ran and computed the right result.")
KERNELS_STAGE: Final = _name("kernels-stage", "The probe's stage that runs kernels came to its end.")
FACTS_STAGE: Final = _name("facts-stage", "The probe's stage that collects facts came to its end.")
COMPILE: Final = _name("compile", "torch.compile works.")
PROBE_POD: Final = _name("probe-pod", "The probe pod started, ended by itself and left a readable report.")
PROBE: Final = _name("probe", "The probe that `gpuenv check` starts ends by itself and leaves a report.")

# The environment's own expectations.
EXPECT: Final = _family("expect", "<what>", "A version or a property of the GPUs is as `spec.expect` asks.")
IMPORT: Final = _family("import", "<module>", "A module of `spec.checks.imports` imports.")
COMMAND: Final = _family("check", "<name>", "A command of `spec.checks.commands` ended with exit code 0.")
FLOOR: Final = _family(
    "floor", "<benchmark>-<data type>", "A benchmark reaches its floor in `spec.benchmarks.floors`."
)

# The GPU's health, and the container around the program.
GPU_HEALTH: Final = _name("gpu-health", "NVML reports no hardware condition that needs attention.")
GPU_FABRIC: Final = _name("gpu-fabric", "The NVSwitch fabric is initialised.")
GPU_LICENCE: Final = _name("gpu-licence", "Every virtual GPU (NVIDIA vGPU software) has its licence.")
GPU_CLOCKS: Final = _name("gpu-clocks", "Nothing slows down the GPU's clocks.")
GPU_POWER: Final = _name("gpu-power", "The GPU's power limit is its default.")
GPU_LINK: Final = _name("gpu-link", "The GPU's PCIe link has its full width.")
GPU_PERSISTENCE: Final = _name(
    "gpu-persistence", "The driver keeps idle GPUs initialised (persistence mode)."
)
ENVIRONMENT: Final = _name("environment", "No environment variable hides GPUs or changes what CUDA does.")
WORKSPACE: Final = _name("workspace", "Shared memory and /tmp suffice for usual work.")
SECURITY: Final = _name(
    "security", "The container does not run as root, and nothing in it is open to others."
)

# Whether enough is known for a verdict.
KNOWN: Final = _name("known", "Build, driver and GPU are known, as far as the verdict follows from them.")
GPU: Final = _name("gpu", "The GPU is in the tables.")
FACTS: Final = _name("facts", "The given facts do not contradict each other.")
