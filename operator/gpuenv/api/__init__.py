"""gpuenv's documented API: names, reasons, names of checks, and the typed specification of a GPUEnvironment."""
