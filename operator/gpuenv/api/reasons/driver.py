"""Reasons about the driver, and about the parts of it that have to be visible in the container."""

from gpuenv.api.reasons.row import LAST, Behaviour, NextRun, Part, Start, finding
from gpuenv.api.remedies import Action

DriverNotVisible = finding(
    "DriverNotVisible",
    behaviour=Behaviour(depth=330, next_run=NextRun.INTERVAL, warns=True, start=Start.DOUBTFUL),
    meaning="No NVIDIA driver is visible inside the container.",
    cause=(
        "The container was not given the GPU (no nvidia.com/gpu limit, no nvidia RuntimeClass, no --gpus), "
        "NVIDIA_DRIVER_CAPABILITIES lacks compute, or the driver is not installed or not loaded on the "
        "node."
    ),
    action=Action.EXPOSE_GPU,
    cure="Give the container the GPU, and check nvidia-smi on the node.",
    source="https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/troubleshooting.html",
    platform_cure="expose-gpu",
)

DriverTooOld = finding(
    "DriverTooOld",
    behaviour=Behaviour(depth=335, next_run=NextRun.INTERVAL, warns=True, start=Start.PREVENTED),
    meaning="The driver is older than the image's CUDA runtime can work with.",
    cause=(
        "The driver's CUDA major version is below that of the image's CUDA runtime (minor-version "
        "compatibility does not cross major versions), the Toolkit rule was asked for and not met, or the "
        "driver branch is older than the GPU."
    ),
    action=Action.UPGRADE_DRIVER,
    cure=(
        "Upgrade the node driver, or use an image built for an older CUDA; on data-centre GPUs the "
        "matching cuda-compat package also carries it."
    ),
    source="https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html",
    solved_by=(
        Part.LIBCUDA,
        Part.DRIVER,
        Part.BUILD,
        Part.FORWARD_COMPAT,
        Part.DRIVER_RULE,
    ),
    build_cure="Use an image that this driver can run, such as {build}",
)

DriverOlderThanToolkit = finding(
    "DriverOlderThanToolkit",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The driver is older than the toolkit's own; minor-version compatibility carries it.",
    cause=(
        "Minor-version compatibility lets any 11.x, 12.x or 13.x program run on the first driver of that "
        "CUDA major version, with a limited set of features; PTX is not covered."
    ),
    action=None,
    cure="Nothing to do. If a program fails with DriverFeatureMissing, upgrade the driver.",
    source="https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html",
)

DriverFeatureMissing = finding(
    "DriverFeatureMissing",
    behaviour=Behaviour(depth=445, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="A call needs a newer driver than the node has.",
    cause="Minor-version compatibility carries the program, but one call belongs to a newer driver.",
    action=Action.UPGRADE_DRIVER,
    cure="Upgrade the driver to the toolkit's own version, or avoid the feature.",
    source="https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html",
    solved_by=(Part.TOOLKIT_DRIVER,),
)

DriverDroppedGpu = finding(
    "DriverDroppedGpu",
    behaviour=Behaviour(depth=325, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The driver branch no longer supports this GPU.",
    cause=(
        "Driver branches stop supporting old generations: Kepler after R470, Maxwell, Pascal and Volta "
        "after R580."
    ),
    action=Action.CHANGE_DRIVER,
    cure=(
        "Go back to the last branch that supports this GPU (R470 for Kepler, R580 for Maxwell, Pascal and "
        "Volta), and stay there."
    ),
    source=(
        "https://docs.nvidia.com/datacenter/tesla/drivers/cuda-toolkit-driver-and-architecture-matrix.html"
    ),
    solved_by=(
        Part.DRIVER,
        Part.BUILD,
    ),
)

DriverMismatch = finding(
    "DriverMismatch",
    behaviour=Behaviour(depth=305, next_run=NextRun.INTERVAL, warns=True, start=Start.PREVENTED),
    meaning="The user-mode driver library and the kernel module are of different versions.",
    cause=(
        "The driver was upgraded on the node without a reload, or the image brings a libcuda of its own "
        "that wins over the node's."
    ),
    action=Action.RELOAD_DRIVER,
    cure="Reload the driver or reboot the node; remove libcuda and cuda-compat copies from the image.",
    source="https://github.com/NVIDIA/nvidia-docker/issues/1256",
    platform_cure="reload-driver",
)

ForwardCompatUnsupported = finding(
    "ForwardCompatUnsupported",
    behaviour=Behaviour(depth=315, next_run=NextRun.INTERVAL, warns=True, start=Start.PREVENTED),
    meaning="A cuda-compat library is in use on a GPU that does not support forward compatibility.",
    cause=(
        "cuda-compat works only on data-centre GPUs, some NGC-ready RTX cards and Jetson; a GeForce node "
        "with an older driver gets error 804."
    ),
    action=Action.UPGRADE_DRIVER,
    cure="Upgrade the node driver, or take /usr/local/cuda/compat off the loader path of the image.",
    source="https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html",
    solved_by=(Part.COMPAT_LIBRARY, Part.DRIVER, Part.BUILD),
    build_cure="Use an image that this driver can run, such as {build}",
)

ForwardCompatInUse = finding(
    "ForwardCompatInUse",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="A cuda-compat library carries a newer CUDA over an older driver.",
    cause="The image, or the container toolkit, put a cuda-compat libcuda in front of the node's.",
    action=None,
    cure="Nothing to do; know that the driver on the node is older than the CUDA it reports.",
    source="https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html",
)

StubLibcuda = finding(
    "StubLibcuda",
    behaviour=Behaviour(depth=310, next_run=NextRun.INTERVAL, warns=True, start=Start.PREVENTED),
    meaning="The loader picked the toolkit's stub instead of the driver's libcuda.",
    cause="LD_LIBRARY_PATH names …/lib64/stubs, which holds an empty libcuda for linking only.",
    action=Action.REPAIR_IMAGE,
    cure="Remove the stubs directory from LD_LIBRARY_PATH in the image.",
    source="https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html",
)

FabricNotReady = finding(
    "FabricNotReady",
    behaviour=Behaviour(depth=320, next_run=NextRun.INTERVAL, warns=True, start=Start.PREVENTED),
    meaning="The NVSwitch fabric is not initialised (Fabric Manager).",
    cause=(
        "An NVSwitch machine without a running Fabric Manager, with one of another version than the "
        "driver, or still starting. NVML works in this state, CUDA does not."
    ),
    action=Action.START_FABRIC_MANAGER,
    cure=(
        "Start nvidia-fabricmanager of exactly the driver's version, wait for Fabric State: Completed, and "
        "run again."
    ),
    source="https://docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide/",
    platform_cure="fabric",
)

UvmMissing = finding(
    "UvmMissing",
    behaviour=Behaviour(depth=340, next_run=NextRun.INTERVAL, warns=True, start=Start.DOUBTFUL),
    meaning="The device node /dev/nvidia-uvm is missing or cannot be opened in the container.",
    cause=(
        "The nvidia_uvm module is not loaded on the node, or its device node was not given to the container."
    ),
    action=Action.LOAD_KERNEL_MODULE,
    cure="Load nvidia_uvm on the node (nvidia-modprobe -c 0 -u) and recreate the pod.",
    source="https://github.com/NVIDIA/nvidia-docker/issues/1085",
    platform_cure="load-uvm",
)

CudaInitFailed = finding(
    "CudaInitFailed",
    behaviour=Behaviour(depth=375, next_run=NextRun.INTERVAL, warns=True, start=Start.DOUBTFUL),
    meaning="The CUDA driver could not be initialised.",
    cause=(
        "cuInit or torch.cuda.init() failed, or PyTorch says that CUDA is not available although versions "
        "fit."
    ),
    action=Action.INVESTIGATE,
    cure=(
        "Run python -c 'import torch; torch.cuda.init()' in the container for the exact text, and look for "
        "NVRM messages in the node's kernel log."
    ),
    source="https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html",
)

CudaInitUnknown = finding(
    "CudaInitUnknown",
    behaviour=Behaviour(depth=370, next_run=NextRun.INTERVAL, warns=True, start=Start.DOUBTFUL),
    meaning="CUDA initialisation fails with error 999 and no evidence names the cause.",
    cause=(
        "Often nvidia_uvm, a driver that did not come back from a suspend, or another GPU of the node that "
        "is lost; error 999 itself does not say which."
    ),
    action=Action.INSPECT_NODE,
    cure=(
        "Check nvidia_uvm, the device nodes in the container and the kernel log of the node; then reboot "
        "the node."
    ),
    source="https://github.com/pytorch/pytorch/issues/49081",
)

NoDevice = finding(
    "NoDevice",
    behaviour=Behaviour(depth=365, next_run=NextRun.INTERVAL, warns=True, start=Start.DOUBTFUL),
    meaning="No GPU is visible where PyTorch runs.",
    cause=(
        "CUDA_VISIBLE_DEVICES or NVIDIA_VISIBLE_DEVICES hides the GPUs, the device nodes were not given to "
        "the container, MIG is on without instances, the driver is too new or too old for the GPU, or the "
        "GPU fell off the bus."
    ),
    action=Action.EXPOSE_GPU,
    cure=(
        "Look at those two variables in the container, at nvidia-smi -L on the node and in the container, "
        "and at the kernel log."
    ),
    source="https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#cuda-environment-variables",
)

NvmlUnavailable = finding(
    "NvmlUnavailable",
    behaviour=Behaviour(depth=640, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="NVML is not usable where the program runs.",
    cause=(
        "libnvidia-ml is not in the container: NVIDIA_DRIVER_CAPABILITIES lacks utility. CUDA itself does "
        "not need it."
    ),
    action=Action.EXPOSE_GPU,
    cure="Set NVIDIA_DRIVER_CAPABILITIES=compute,utility.",
    source="https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/troubleshooting.html",
)

ContainerLostGpu = finding(
    "ContainerLostGpu",
    behaviour=Behaviour(depth=345, next_run=NextRun.BACKOFF, warns=True, start=Start.UNRELATED),
    meaning="The container has lost access to its GPU; a new container helps.",
    cause="A systemd reload (or a CPU manager update) took the device rules away from a running container.",
    action=Action.RECREATE_POD,
    cure=(
        "Recreate the pod; on the node create the /dev/char links (nvidia-ctk system "
        "create-dev-char-symlinks) or use CDI."
    ),
    source="https://github.com/NVIDIA/nvidia-docker/issues/1730",
)

MpsUnavailable = finding(
    "MpsUnavailable",
    behaviour=Behaviour(depth=350, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The MPS server cannot be reached.",
    cause="The MPS pipe directory is there, but its server is down, recovering, or of another user.",
    action=Action.INSPECT_NODE,
    cure="Check the MPS control daemon on the node, and that pod and daemon run as the same user.",
    source="https://docs.nvidia.com/deploy/mps/index.html",
)

OsCallFailed = finding(
    "OsCallFailed",
    behaviour=Behaviour(depth=360, next_run=NextRun.INTERVAL, warns=True, start=Start.DOUBTFUL),
    meaning="The operating system refused a call of the driver (device node, cgroup, limits).",
    cause="The device cgroup, a missing device node or a resource limit refuses what the driver asks.",
    action=Action.RECREATE_POD,
    cure="Check the device nodes and limits of the container and recreate the pod.",
    source="https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html",
)
