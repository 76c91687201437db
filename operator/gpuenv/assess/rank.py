"""Which of several reasons is the deeper cause: sick hardware explains a failed kernel, never the other way round."""

from typing import Final

from gpuenv.api import reasons

ROOT_CAUSES: Final = (
    # Hardware that is broken breaks everything above it.
    reasons.GpuLost,
    reasons.GpuResetRequired,
    reasons.EccUncorrectable,
    reasons.NvlinkFault,
    reasons.GpuUnhealthy,
    reasons.ContainedHwError,
    # An image without CUDA runs on no node.
    reasons.ImageArchMismatch,
    reasons.TorchMissing,
    reasons.TorchCpuBuild,
    # The way from the program to the driver.
    reasons.DriverMismatch,
    reasons.StubLibcuda,
    reasons.ForwardCompatUnsupported,
    reasons.FabricNotReady,
    reasons.DriverDroppedGpu,
    reasons.DriverNotVisible,
    reasons.DriverTooOld,
    reasons.UvmMissing,
    reasons.ContainerLostGpu,
    reasons.MpsUnavailable,
    reasons.GpuBusy,
    reasons.OsCallFailed,
    reasons.NoDevice,
    reasons.CudaInitUnknown,
    reasons.CudaInitFailed,
    # What the build brings along.
    reasons.LibraryConflict,
    reasons.CudnnLoadFailed,
    reasons.TorchBroken,
    reasons.ArchNotInBuild,
    reasons.CudnnDroppedGpu,
    reasons.PtxNewerThanDriver,
    reasons.PtxJitFailed,
    reasons.BuildBroken,
    reasons.DriverFeatureMissing,
    # What ran, and how.
    reasons.WrongResult,
    reasons.KernelFault,
    reasons.OutOfMemory,
    reasons.KernelFailed,
    reasons.ImportFailed,
    reasons.CompileUnavailable,
    reasons.FeatureOutOfReach,
    reasons.CheckFailed,
    reasons.CheckTimedOut,
    reasons.ExpectationMismatch,
    reasons.BelowFloor,
    # What is not known; the most telling first.
    reasons.OomKilled,
    reasons.ProbeTimeout,
    reasons.ConflictingFacts,
    reasons.KernelsNotRun,
    reasons.ArchUnknown,
    reasons.ExpectationUnknown,
    reasons.FloorNotMeasured,
    reasons.NvmlUnavailable,
    reasons.NotEnoughFacts,
)
"""Deepest first; reasons that are not here come last, in the order of the policies."""

_RANK: Final = {reason: number for number, reason in enumerate(ROOT_CAUSES)}


def rank(reason: str) -> int:
    """Position among the root causes; the smaller the deeper."""
    return _RANK.get(reason, len(ROOT_CAUSES))
