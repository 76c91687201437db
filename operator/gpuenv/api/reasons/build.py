"""Reasons about a PyTorch build: the GPU architectures for which it contains code, and its binaries."""

from gpuenv.api.reasons.row import LAST, Behaviour, NextRun, Part, Start, finding
from gpuenv.api.remedies import Action

ArchNotInBuild = finding(
    "ArchNotInBuild",
    behaviour=Behaviour(depth=420, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The PyTorch build has no code this GPU can run.",
    cause=(
        "The build was made for other GPU generations: the GPU is newer than the build (Blackwell with "
        "CUDA 12.6 and older), or older (Pascal with cu128, Volta with cu130). A GPU runs code of its own "
        "major version and an equal or lower minor version only."
    ),
    action=Action.CHANGE_IMAGE,
    cure=(
        "Use a build that has this generation: for Blackwell (RTX 50, B200) PyTorch 2.7 or newer with CUDA 12.8 or newer "
        "(index https://download.pytorch.org/whl/cu128), for Volta, Pascal and Maxwell one with CUDA 12.6 (cu126). "
        "Extensions have to be built for it, too."
    ),
    source="https://docs.nvidia.com/cuda/hopper-compatibility-guide/",
    solved_by=(Part.BUILD_FOR_GPU,),
    build_cure="Use a build that has this generation, such as {build}",
)

ArchUnknown = finding(
    "ArchUnknown",
    behaviour=Behaviour(depth=625, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="GPU or build is not known well enough to judge the architecture.",
    cause=(
        "The compute capability of the GPU, or the targets of the build (own builds, vendor containers), "
        "are not known."
    ),
    action=Action.PROVIDE_FACTS,
    cure="Give --compute-capability, or the output of torch.cuda.get_arch_list() with --arch-list.",
    source="https://docs.pytorch.org/docs/stable/generated/torch.cuda.get_arch_list.html",
)

PtxNewerThanDriver = finding(
    "PtxNewerThanDriver",
    behaviour=Behaviour(depth=430, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="PTX from a newer toolkit meets an older driver.",
    cause=(
        "Minor-version compatibility does not cover PTX: the driver compiles only PTX of toolkits up to "
        "its own."
    ),
    action=Action.UPGRADE_DRIVER,
    cure="Upgrade the driver to the toolkit's own version, or use a build with native code for this GPU.",
    source="https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html",
    solved_by=(
        Part.TOOLKIT_DRIVER,
        Part.BUILD_FOR_GPU,
    ),
    build_cure="Use a build with native code for this GPU, such as {build}",
)

PtxJitFailed = finding(
    "PtxJitFailed",
    behaviour=Behaviour(depth=435, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The driver could not compile PTX for this GPU.",
    cause=(
        "The driver rejected the PTX, its compiler library is not in the container, or "
        "CUDA_DISABLE_PTX_JIT is set."
    ),
    action=Action.CHANGE_IMAGE,
    cure=(
        "Use a build with native code for this GPU; check that the container toolkit injects all compute "
        "libraries."
    ),
    source="https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html",
)

PtxJitOnly = finding(
    "PtxJitOnly",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The build has only PTX for this GPU; the driver compiles it at first use.",
    cause=(
        "The build has no native code for this GPU, only PTX; the first use compiles it, which can take "
        "minutes."
    ),
    action=Action.CHANGE_IMAGE,
    cure="Prefer a build with native code; keep the compute cache (CUDA_CACHE_PATH) on a writable volume.",
    source="https://docs.nvidia.com/cuda/hopper-compatibility-guide/",
)

BuildBroken = finding(
    "BuildBroken",
    behaviour=Behaviour(depth=440, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="A binary in the image is corrupt or of the wrong kind.",
    cause="A wheel or extension is corrupt, or was made for another system or GPU.",
    action=Action.REPAIR_IMAGE,
    cure="Reinstall the package for this CUDA and this GPU.",
    source="https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html",
)

KernelFault = finding(
    "KernelFault",
    behaviour=Behaviour(depth=510, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="A kernel ended with an illegal access or launch failure.",
    cause=(
        "A kernel read or wrote where it must not. With stock PyTorch kernels, suspect the GPU or the driver."
    ),
    action=Action.RUN_DIAGNOSTICS,
    cure="Run again in a new process; when it repeats, test the GPU with dcgmi diag -r 3.",
    source="https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html",
)

KernelFailed = finding(
    "KernelFailed",
    behaviour=Behaviour(depth=520, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="A kernel failed with an error that has no reason of its own.",
    cause="A kernel ended with an error that the tables do not know.",
    action=Action.INVESTIGATE,
    cure="Read the message; run again with CUDA_LAUNCH_BLOCKING=1.",
    source="https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html",
)

LastSupportedGeneration = finding(
    "LastSupportedGeneration",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="This GPU generation is near the end of its support.",
    cause=(
        "Toolkit 12.9 and driver branch R580 are the last for Maxwell, Pascal and Volta; 11.8 and R470 "
        "were for Kepler."
    ),
    action=Action.REPLACE_GPU,
    cure="Plan the replacement; until then stay on the last branch and on images for CUDA 12.6.",
    source=(
        "https://docs.nvidia.com/datacenter/tesla/drivers/cuda-toolkit-driver-and-architecture-matrix.html"
    ),
)

FeatureOutOfReach = finding(
    "FeatureOutOfReach",
    behaviour=Behaviour(depth=535, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The toolkit in the image cannot reach a feature of this GPU.",
    cause=(
        "The generation works, but the toolkit or the software is older than one of its features (FP8 on "
        "Hopper wants CUDA 12)."
    ),
    action=Action.CHANGE_IMAGE,
    cure="Use an image for a newer CUDA when the feature matters.",
    source=(
        "https://docs.nvidia.com/datacenter/tesla/drivers/cuda-toolkit-driver-and-architecture-matrix.html"
    ),
)
