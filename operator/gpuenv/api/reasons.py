"""Reasons: documented API. CamelCase constants, each with one line of meaning; cause, cure and source are in ``docs/reasons.md``.

A reason says what is the case, never how bad it is: the status of the check does that.
"""

from typing import Final

MEANINGS: Final[dict[str, str]] = {}
"""Every reason with its one line of meaning, in the order of this file."""


def _reason(code: str, meaning: str) -> str:
    MEANINGS[code] = meaning
    return code


# The driver and how it reaches the container.
DriverNotVisible = _reason("DriverNotVisible", "No NVIDIA driver is visible inside the container.")
DriverTooOld = _reason("DriverTooOld", "The driver is older than the image's CUDA runtime can work with.")
DriverOlderThanToolkit = _reason(
    "DriverOlderThanToolkit",
    "The driver is older than the toolkit's own; minor-version compatibility carries it.",
)
DriverFeatureMissing = _reason("DriverFeatureMissing", "A call needs a newer driver than the node has.")
DriverDroppedGpu = _reason("DriverDroppedGpu", "The driver branch no longer supports this GPU.")
DriverMismatch = _reason(
    "DriverMismatch", "The user-mode driver library and the kernel module are of different versions."
)
ForwardCompatUnsupported = _reason(
    "ForwardCompatUnsupported",
    "A cuda-compat library is in use on a GPU that does not support forward compatibility.",
)
ForwardCompatInUse = _reason(
    "ForwardCompatInUse", "A cuda-compat library carries a newer CUDA over an older driver."
)
StubLibcuda = _reason("StubLibcuda", "The loader picked the toolkit's stub instead of the driver's libcuda.")
FabricNotReady = _reason("FabricNotReady", "The NVSwitch fabric is not initialised (Fabric Manager).")
UvmMissing = _reason(
    "UvmMissing", "The device node /dev/nvidia-uvm is missing or cannot be opened in the container."
)
CudaInitFailed = _reason("CudaInitFailed", "The CUDA driver could not be initialised.")
CudaInitUnknown = _reason(
    "CudaInitUnknown", "CUDA initialisation fails with error 999 and no evidence names the cause."
)
NoDevice = _reason("NoDevice", "The driver is there, but the container sees no GPU.")
NvmlUnavailable = _reason("NvmlUnavailable", "NVML is not usable inside the container.")
ContainerLostGpu = _reason(
    "ContainerLostGpu", "The container has lost access to its GPU; a new container helps."
)
MpsUnavailable = _reason("MpsUnavailable", "The MPS server cannot be reached.")
OsCallFailed = _reason(
    "OsCallFailed", "The operating system refused a call of the driver (device node, cgroup, limits)."
)

# The GPU.
GpuBusy = _reason("GpuBusy", "The GPU is in use by somebody else; nothing can be said now.")
GpuLost = _reason("GpuLost", "The GPU has fallen off the bus.")
GpuResetRequired = _reason("GpuResetRequired", "The GPU waits for a reset.")
GpuUnhealthy = _reason("GpuUnhealthy", "The GPU reports a hardware condition that needs attention.")
GpuSlowed = _reason("GpuSlowed", "The GPU is slowed down by heat, power or its link.")
EccUncorrectable = _reason("EccUncorrectable", "The GPU met an uncorrectable memory error.")
NvlinkFault = _reason("NvlinkFault", "The GPU met an uncorrectable NVLink error.")
ContainedHwError = _reason("ContainedHwError", "The GPU contained a hardware error; the process ended.")
GpuNotInTables = _reason(
    "GpuNotInTables", "This GPU is not in the tables; the answer follows from rules alone."
)

# Architecture and build.
ArchNotInBuild = _reason("ArchNotInBuild", "The PyTorch build has no code this GPU can run.")
ArchUnknown = _reason("ArchUnknown", "GPU or build is not known well enough to judge the architecture.")
PtxNewerThanDriver = _reason("PtxNewerThanDriver", "PTX from a newer toolkit meets an older driver.")
PtxJitFailed = _reason("PtxJitFailed", "The driver could not compile PTX for this GPU.")
PtxJitOnly = _reason(
    "PtxJitOnly", "The build has only PTX for this GPU; the driver compiles it at first use."
)
BuildBroken = _reason("BuildBroken", "A binary in the image is corrupt or of the wrong kind.")
KernelFault = _reason("KernelFault", "A kernel ended with an illegal access or launch failure.")
KernelFailed = _reason("KernelFailed", "A kernel failed with an error that has no reason of its own.")
LastSupportedGeneration = _reason(
    "LastSupportedGeneration", "This GPU generation is near the end of its support."
)
FeatureOutOfReach = _reason(
    "FeatureOutOfReach", "The toolkit in the image cannot reach a feature of this GPU."
)

# PyTorch and what surrounds it.
TorchCpuBuild = _reason("TorchCpuBuild", "PyTorch was built without CUDA.")
TorchMissing = _reason("TorchMissing", "The image's Python has no torch module.")
TorchBroken = _reason("TorchBroken", "torch is installed but does not import.")
TorchNotInTables = _reason(
    "TorchNotInTables", "This PyTorch release is not in the tables; the answer follows from rules alone."
)
NoSuchBuild = _reason("NoSuchBuild", "No such PyTorch build was ever released.")
PythonMissing = _reason("PythonMissing", "The image has no Python the probe could start.")
PythonUnreadable = _reason(
    "PythonUnreadable", "The interpreter is there, but the probe's user may not run it."
)
PythonTooOld = _reason("PythonTooOld", "The image's Python is older than 3.8.")
CudnnLoadFailed = _reason("CudnnLoadFailed", "cuDNN does not load or does not start.")
CudnnDroppedGpu = _reason("CudnnDroppedGpu", "The image's cuDNN no longer supports this GPU.")
LibraryConflict = _reason("LibraryConflict", "Libraries of different versions get in each other's way.")
OutOfMemory = _reason("OutOfMemory", "The GPU's memory does not suffice.")
WrongResult = _reason("WrongResult", "A kernel computed a wrong result, twice.")
BelowFloor = _reason("BelowFloor", "A benchmark stays below the floor that was asked for.")
FloorNotMeasured = _reason("FloorNotMeasured", "A floor was asked for, but the benchmark did not run.")
ExpectationMismatch = _reason("ExpectationMismatch", "Expected and observed differ.")
ExpectationUnknown = _reason(
    "ExpectationUnknown", "An expectation could not be compared: the observed value is not known."
)
ImportFailed = _reason("ImportFailed", "A module the environment expects does not import.")
CheckFailed = _reason("CheckFailed", "One of the environment's own checks failed.")
CheckTimedOut = _reason("CheckTimedOut", "One of the environment's own checks did not finish in time.")
CompileUnavailable = _reason("CompileUnavailable", "torch.compile does not work in this image.")
EnvironmentVariable = _reason(
    "EnvironmentVariable", "An environment variable hides GPUs or changes what CUDA does."
)
LooseSecurity = _reason("LooseSecurity", "Something in the image is open to others.")
SmallWorkspace = _reason(
    "SmallWorkspace", "Shared memory, temporary space or mounts are smaller than usual work needs."
)
ConflictingFacts = _reason("ConflictingFacts", "Given facts contradict each other.")
NotEnoughFacts = _reason("NotEnoughFacts", "Too little is known for a verdict.")

# The node, and how the probe fared there.
Stale = _reason("Stale", "Driver, boot, node or image changed since the last verdict; a new run is due.")
NotYetValidated = _reason("NotYetValidated", "No probe has run for this generation yet.")
GpuNotAdvertised = _reason(
    "GpuNotAdvertised", "The node is selected but advertises no such device at the moment."
)
HeldOff = _reason("HeldOff", "The node is cordoned, under maintenance, or marked to be skipped.")
GpusBusy = _reason("GpusBusy", "All GPUs of the node are in use; the probe waits for its turn.")
Unschedulable = _reason("Unschedulable", "The scheduler cannot place the probe pod on the node.")
ProbeRejected = _reason("ProbeRejected", "The API server refused the probe pod.")
SandboxFailed = _reason(
    "SandboxFailed", "The node could not set up the probe pod (runtime, network, volumes)."
)
ImagePullFailed = _reason("ImagePullFailed", "The node could not pull the image.")
ImageArchMismatch = _reason("ImageArchMismatch", "The image is not for this node's CPU architecture.")
ProbeTimeout = _reason("ProbeTimeout", "The probe did not finish in time.")
ProbeStuck = _reason(
    "ProbeStuck", "The deleted probe pod does not end; the node is probed no more until it is gone."
)
ProbeCrashed = _reason("ProbeCrashed", "The probe ended without a report.")
OomKilled = _reason("OomKilled", "The probe exceeded its memory limit and was killed.")
Evicted = _reason("Evicted", "The probe pod was evicted.")
Preempted = _reason("Preempted", "The probe pod had to make room for another pod.")
ProbePodDeleted = _reason("ProbePodDeleted", "Somebody deleted the probe pod before it reported.")
ReportInvalid = _reason("ReportInvalid", "What the probe left behind is not a readable report.")
KernelsNotRun = _reason("KernelsNotRun", "No kernel result arrived; versions alone are no verdict.")

# The environment.
NoMatchingNodes = _reason("NoMatchingNodes", "No node matches the environment's selection.")
Suspended = _reason("Suspended", "The environment is suspended.")
SpecInvalid = _reason("SpecInvalid", "The specification cannot be understood.")
SpecAccepted = _reason("SpecAccepted", "The specification makes sense.")
AllAnswered = _reason("AllAnswered", "Every selected node has its answer.")
ValidationRunning = _reason(
    "ValidationRunning",
    "Some selected nodes have no answer for this generation yet, or it is not written to them yet.",
)
AllCompatible = _reason("AllCompatible", "Every selected node is compatible.")
SomeIncompatible = _reason("SomeIncompatible", "Some selected nodes are incompatible.")
SomeDegraded = _reason("SomeDegraded", "Some selected nodes are degraded, none is incompatible.")
SomeUnknown = _reason("SomeUnknown", "Some selected nodes are unknown, none is incompatible.")
OneContent = _reason("OneContent", "One content and one set of versions everywhere.")
DifferentContent = _reason(
    "DifferentContent", "Nodes run different contents or versions under the same image name."
)
ContentUnknown = _reason("ContentUnknown", "Too little has been reported to compare contents.")
