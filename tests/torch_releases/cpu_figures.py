"""Run the probe's benchmark code on a CPU with a real torch: ``python cpu_figures.py ARCHIVE``.

ARCHIVE is the probe's zip application. CUDA events are replaced by the host's clock, and memory sizes by small numbers,
so that calls, shapes and sums are exercised. The printed figures only show that the code works; they measure no GPU.
"""

import json
import sys
import time


class Event:
    """A stand-in for a CUDA event that reads the host's clock."""

    def __init__(self, enable_timing):
        self.moment = 0.0

    def record(self):
        self.moment = time.perf_counter()

    def elapsed_time(self, end):
        return (end.moment - self.moment) * 1000.0


def main():
    sys.path.insert(0, sys.argv[1])
    import torch

    from gpuenv_probe.benchmarks import meter, workloads
    from gpuenv_probe.kernels.device import Device

    torch.cuda.Event = Event
    torch.cuda.synchronize = lambda: None
    torch.cuda.mem_get_info = lambda index: (64 << 20, 64 << 20)
    workloads.matrix_size = lambda device: 64
    meter._FLUSH_BYTES = 1 << 20
    meter._MIN_SAMPLES = 5
    device = Device(torch, "cpu", 0)
    device.dtype = lambda name: torch.float32
    rows = {}
    for benchmark in ("MatMul", "Conv", "Train", "DeviceMemory"):
        rows[benchmark] = workloads.MEASURES[benchmark](
            device, "fp32", meter.Meter(device, 0.01, time.monotonic() + 3600)
        ).summary()
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
