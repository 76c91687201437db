"""The causes for which a figure was not measured (``benchmarks[].notMeasured`` in ``report.schema.json``)."""

UNSUPPORTED = "Unsupported"
"""The GPU or the image's torch lacks what the benchmark needs, such as the data type."""
SHARED = "Shared"
"""The GPU is shared between pods, or the device is a MIG slice. Such devices are never measured."""
MEMORY_IN_USE = "MemoryInUse"
"""Too little of the GPU's memory is free, because other programs use it."""
PROFILE_TIME = "ProfileTime"
"""The time of the benchmark profile does not suffice."""
STAGE_TIME = "StageTime"
"""The time of the stage does not suffice."""
FAILED = "Failed"
"""The benchmark was tried and failed."""

ALL = (UNSUPPORTED, SHARED, MEMORY_IN_USE, PROFILE_TIME, STAGE_TIME, FAILED)
