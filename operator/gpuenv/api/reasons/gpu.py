"""Reasons about the GPU itself."""

from gpuenv.api.reasons.row import LAST, Behaviour, NextRun, Start, finding
from gpuenv.api.remedies import Action

GpuBusy = finding(
    "GpuBusy",
    behaviour=Behaviour(depth=355, next_run=NextRun.BACKOFF, warns=False, start=Start.UNRELATED),
    meaning="The GPU is in use by somebody else; nothing can be said now.",
    cause=(
        "Another process holds the GPU or its memory (exclusive compute mode, time-slicing, a program "
        "beside Kubernetes)."
    ),
    action=Action.WAIT,
    cure="Wait for the other client; gpuenv tries again by itself.",
    source="https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html",
)

VgpuUnlicensed = finding(
    "VgpuUnlicensed",
    behaviour=Behaviour(depth=342, next_run=NextRun.INTERVAL, warns=True, start=Start.DOUBTFUL),
    meaning="The virtual GPU has no licence.",
    cause=(
        "The virtual machine has not obtained its licence for NVIDIA vGPU software: the client configuration token is "
        "missing, the licence server cannot be reached or has no licence left, or the guest driver is not the one that "
        "belongs to the vGPU manager of the hypervisor. Such a GPU is slowed down, and after some time it refuses CUDA."
    ),
    action=Action.LICENSE_GPU,
    cure=(
        "Look at License Status in nvidia-smi -q and at the log of nvidia-gridd on the node; give the node its client "
        "configuration token (with the GPU Operator: driver.licensingConfig) and a way to the licence server, and use the "
        "guest driver of the vGPU manager's release."
    ),
    source="https://docs.nvidia.com/vgpu/latest/grid-licensing-user-guide/",
)

GpuLost = finding(
    "GpuLost",
    behaviour=Behaviour(depth=105, next_run=NextRun.INTERVAL, warns=True, start=Start.GPU_GONE),
    meaning="The GPU has fallen off the bus.",
    cause="The GPU stopped answering on the PCIe bus (Xid 79): hardware, power, riser or link.",
    action=Action.REBOOT_NODE,
    cure="Drain and reboot the node; have the hardware checked when it returns.",
    source="https://docs.nvidia.com/deploy/xid-errors/",
)

GpuResetRequired = finding(
    "GpuResetRequired",
    behaviour=Behaviour(depth=110, next_run=NextRun.INTERVAL, warns=True, start=Start.GPU_GONE),
    meaning="The GPU waits for a reset.",
    cause="An earlier error left the GPU in a state that only a reset clears.",
    action=Action.RESET_GPU,
    cure="Drain the node, then nvidia-smi --gpu-reset or reboot.",
    source="https://docs.nvidia.com/deploy/xid-errors/",
)

GpuUnhealthy = finding(
    "GpuUnhealthy",
    behaviour=Behaviour(depth=125, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The GPU reports a hardware condition that needs attention.",
    cause="NVML reports a failed row remap, a pending remap, uncorrected memory errors or a recovery action.",
    action=Action.RESET_GPU,
    cure="Look at nvidia-smi -q on the node; reset the GPU, and replace it when a remap failed.",
    source="https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/",
)

GpuSlowed = finding(
    "GpuSlowed",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The GPU is slowed down by heat, power or its link.",
    cause="Heat, a power brake or a power limit below the default holds the clocks down.",
    action=Action.INSPECT_NODE,
    cure="Check cooling, power supply and nvidia-smi -q -d PERFORMANCE,POWER.",
    source="https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html",
)

EccUncorrectable = finding(
    "EccUncorrectable",
    behaviour=Behaviour(depth=115, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The GPU met an uncorrectable memory error.",
    cause="DRAM or SRAM of the GPU is damaged (Xid 48, 63, 64, 95). Xid 94: the error was contained and ended one program.",
    action=Action.RESET_GPU,
    cure="Drain the node, reset the GPU; replace it when the row remap fails or the error returns.",
    source="https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/",
)

NvlinkFault = finding(
    "NvlinkFault",
    behaviour=Behaviour(depth=120, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The GPU met an uncorrectable NVLink error.",
    cause="An NVLink of the GPU or its fabric is faulty.",
    action=Action.RESET_GPU,
    cure="Drain the node, look at nvidia-smi nvlink -e, reset GPU and fabric.",
    source="https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html",
)

ContainedHwError = finding(
    "ContainedHwError",
    behaviour=Behaviour(depth=130, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="The GPU contained a hardware error; the process ended.",
    cause="Blackwell contains some hardware errors: the process ends, the GPU goes on.",
    action=Action.RECREATE_POD,
    cure="Restart the process; look for Xid messages and the recovery action in nvidia-smi -q.",
    source="https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html",
)

PersistenceModeOff = finding(
    "PersistenceModeOff",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.INTERVAL, warns=False, start=Start.UNRELATED),
    meaning="The driver shuts a GPU down whenever no program uses it.",
    cause=(
        "Persistence mode is off: the first program on an idle GPU waits one to three seconds for each GPU "
        "until the driver has initialised it, and settings such as clocks and power limits are lost each time."
    ),
    action=Action.ENABLE_PERSISTENCE,
    cure="Run nvidia-persistenced on the node, or nvidia-smi -pm 1 after each boot.",
    source="https://docs.nvidia.com/deploy/driver-persistence/overview.html",
)

GpuNotInTables = finding(
    "GpuNotInTables",
    behaviour=Behaviour(depth=LAST, next_run=NextRun.INTERVAL, warns=True, start=Start.UNRELATED),
    meaning="This GPU is not in the tables; the answer follows from rules alone.",
    cause="The product is newer, rarer or spelled otherwise than the tables know.",
    action=Action.PROVIDE_FACTS,
    cure=(
        "Give the compute capability (nvidia-smi --query-gpu=compute_cap --format=csv), or a newer table "
        "with --knowledge."
    ),
    source="https://developer.nvidia.com/cuda-gpus",
)
