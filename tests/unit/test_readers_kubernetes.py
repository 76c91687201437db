"""Readers of device plug-in logs, kubelet and scheduler Events, and kernel logs, with the words of published reports."""

import pytest

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import Facts, Source
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.assess.sources.readers import kernel_log
from gpuenv.assess.sources.readers.containers import device_plugin
from gpuenv.knowledge import load

K = load()
CONFIG = """I0105 10:00:00.000001       1 main.go:353]
Running with config:
{
  "version": "v1",
  "flags": {
    "migStrategy": "none",
    "failOnInitError": true,
    "deviceDiscoveryStrategy": "auto"
  },
  "sharing": {
    "timeSlicing": {}
  }
}
"""

PLUGIN = {
    "E0105 1 factory.go:112] Incompatible strategy detected auto\nE0105 1 factory.go:113] If this is a GPU node, did you "
    "configure the NVIDIA Container Toolkit?\nI0105 1 main.go:381] No devices found. Waiting indefinitely.": (
        "GpuNotAdvertised", "runtime",
    ),
    "I1204 07:31:31.765400       1 main.go:381] No devices found. Waiting indefinitely.": ("GpuNotAdvertised", "runtime"),
    "E0402 12:47:47.247405       1 factory.go:112] Incompatible platform detected": ("GpuNotAdvertised", "runtime"),
    "error starting plugins: error getting plugins: unable to create plugins: failed to construct resource managers: "
    "invalid device discovery strategy": ("GpuNotAdvertised", "runtime"),
    "I0117 15:43:15.907336 1 factory.go:107] Detected non-NVML platform: could not load NVML library: libnvidia-ml.so.1: "
    "cannot open shared object file: No such file or directory": ("DriverNotVisible", "runtime"),
    "W0819 07:02:54.757556       1 rm.go:109] NVML not detected: could not load NVML library: libnvidia-ml.so.1: cannot open "
    "shared object file": ("DriverNotVisible", "runtime"),
    "Loading NVML\nFailed to start nvml with error:  could not load NVML library": ("DriverNotVisible", "runtime"),
    "Failed to initialize NVML: could not load NVML library.": ("DriverNotVisible", "runtime"),
    "panic: At least one device with migEnabled=true was not configured correctly: More than one MIG device type present on "
    "node": ("GpuNotAdvertised", "strategy"),
    "error: all devices on the node must be configured with the same migEnabled value": ("GpuNotAdvertised", "strategy"),
    "error visiting device: device 0 has an invalid MIG configuration": ("GpuNotAdvertised", "strategy"),
    "Could not resolve Linux kernel version": ("DriverNotVisible", "kernel"),
    "Starting dcgm-exporter\nError: Failed to initialize NVML": ("NvmlUnavailable", "runtime"),
    "nvidia-cuda-mps-server exited with status 1": ("MpsUnavailable", "mps"),
    "[2024-12-10 06:38:01.158 Control    64] Server encountered a fatal exception. Shutting down": ("MpsUnavailable", "mps"),
}  # fmt: skip

EVENTS = {
    "Warning  UnexpectedAdmissionError  10s  kubelet  Allocate failed due to requested number of devices unavailable for "
    "nvidia.com/gpu. Requested: 1, Available: 0, which is unexpected": ("GpuNotAdvertised", "device plug-in"),
    "Pod Allocate failed due to requested number of devices unavailable for nvidia.com/mig-1g.10gb. Requested:1, Available: 0, "
    "which is unexpected": ("GpuNotAdvertised", "kubelet"),
    "Status: Failed\nReason: OutOfnvidia.com/gpu\nMessage: Pod was rejected": ("GpuNotAdvertised", "device plug-in"),
    "Warning  UnexpectedAdmissionError  73s  kubelet  Allocate failed due to rpc error: code = Unavailable desc = transport is "
    "closing, which is unexpected": ("GpuNotAdvertised", "device plug-in"),
    "Allocate failed due to device plugin GetPreferredAllocation rpc failed with err: rpc error: code = Unknown desc = error "
    "creating nvml.Device 5: nvml: GPU is lost, which is unexpected": ("GpuLost", "reboot"),
    "Allocate failed due to no healthy devices present; cannot allocate unhealthy devices nvidia.com/gpu, which is "
    "unexpected": ("GpuNotAdvertised", "device plug-in"),
    "Warning  FailedScheduling  default-scheduler  0/5 nodes are available: 1 Insufficient nvidia.com/gpu, 4 node(s) didn't "
    "match Pod's node affinity/selector.": ("Unschedulable", "device plug-in"),
    "0/3 nodes are available: 3 node(s) had untolerated taint {nvidia.com/gpu: present}. preemption: 0/3 nodes are "
    "available": ("Unschedulable", "toleration"),
    "0/6 nodes are available: 6 node(s) didn't match node selector.": ("Unschedulable", "selector"),
    "Capacity:\n  cpu:  4\n  nvidia.com/gpu:   0\nAllocatable:\n  cpu:  3920m\n  nvidia.com/gpu:   0\n  pods:  29": (
        "GpuNotAdvertised", "device plug-in",
    ),
    'nvidia GPUs not available on Node: "pool-4w11"': ("GpuNotAdvertised", "device plug-in"),
    "Error: node gpu-1 has no allocatable GPUs": ("GpuNotAdvertised", "device plug-in"),
    "Warning  FailedCreatePodSandBox  2s  kubelet  Failed to create pod sandbox: rpc error: code = Unknown desc = failed to "
    "setup network for sandbox": ("SandboxFailed", "log"),
}  # fmt: skip

KERNEL = {
    "modprobe: ERROR: could not insert 'nvidia': Key was rejected by service": ("DriverNotVisible", "mokutil"),
    "modprobe: ERROR: could not insert 'nvidia': Required key not available": ("DriverNotVisible", "mokutil"),
    "[   12.3] Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7": (
        "DriverNotVisible", "secure boot",
    ),
    "[188549.976351] NVRM: The NVIDIA probe routine was not called for 3 device(s).\n[188549.977053] NVRM: This can occur when "
    "a driver such as:\nNVRM: nouveau, rivafb, nvidiafb or rivatv\nNVRM: was loaded and obtained ownership of the NVIDIA "
    "device(s).": ("DriverNotVisible", "nouveau"),
    "modprobe: FATAL: Module nvidia not found in directory /lib/modules/6.8.0-45-generic": ("DriverNotVisible", "dkms"),
    "modprobe: ERROR: could not insert 'nvidia': Exec format error": ("DriverNotVisible", "headers"),
    "modprobe: ERROR: could not insert 'nvidia': No such device": ("DriverNotVisible", "lspci"),
    "ERROR: Unable to load the kernel module 'nvidia.ko'.  This happens most frequently when this kernel module was built "
    "against the wrong or improperly configured kernel sources, or if another driver, such as nouveau, is present": (
        "DriverNotVisible", "secure boot",
    ),
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is "
    "installed and running.": ("DriverNotVisible", "modprobe"),
    "[83260.063553] NVRM: This PCI I/O region assigned to your NVIDIA device is invalid:\n               NVRM: BAR1 is 0M @ "
    "0x0 (PCI:0000:14:00.0)": ("NoDevice", "above 4g"),
    "NVRM: osInitNvMapping: *** Cannot attach gpu\nNVRM: GPU 0000:09:00.0: RmInitAdapter failed! (0x22:0x56:894)": (
        "GpuLost", "reboot",
    ),
    "slurmd: fatal: MIG mode is enabled, but no MIG devices were found. Please either create MIG instances": (
        "NoDevice", "mig instances",
    ),
    "NVRM: GPU 0000:03:00.0: RmInitAdapter failed! (0x24:0x72:1603)": ("NoDevice", "kernel log"),
    "Aug 29 16:58:38 devbox kernel: [14282.6] NVRM: Xid (PCI:0000:03:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen "
    "off the bus.": ("GpuLost", "reboot"),
    "kernel: NVRM: Xid (PCI:0000:dc:00): 45, pid=1818990, name=python3, Ch 00000001 caused by previous Xid 149": (
        "NvlinkFault", "nvlink",
    ),
    "NVRM: Xid (PCI:0000:4f:00): 31, pid=123456, name=python, Ch 00000008, MMU Fault: ENGINE GRAPHICS": (
        "KernelFault", "new process",
    ),
    "NVRM: Xid (PCI:0000:07:00): 94, pid=1234, name=python, Contained: SM (0x1).": ("EccUncorrectable", "reset"),
    "Error! Bad return status for module build on kernel: 6.8.0-45-generic (x86_64)\nConsult /var/lib/dkms/nvidia/550.120/build/"
    "make.log": ("DriverNotVisible", "dkms"),
    "warning: the compiler differs from the one used to build the kernel\nWarning: Compiler version check failed:": (
        "DriverNotVisible", "headers",
    ),
    "NVRM: API mismatch: the client has the version 535.183.01, but\nNVRM: this kernel module has the version 535.171.04.": (
        "DriverMismatch", "reboot",
    ),
}  # fmt: skip


def judge(text: str) -> Assessment:
    return assess(merge([Facts(source=Source.FLAGS), read_error_text(text, K)]), None, (), K)


@pytest.mark.parametrize("text", [*PLUGIN, *EVENTS, *KERNEL])
def test_what_cluster_and_kernel_say_has_its_reason_and_its_own_cure(text: str) -> None:
    reason, word = {**PLUGIN, **EVENTS, **KERNEL}[text]
    found = judge(text)
    assert found.reason == reason, [(check.status, check.reason, check.message) for check in found.checks]
    cure = " ".join(one.message for one in found.checks[0].remedies).lower()
    assert word in cure
    assert "a limit of nvidia.com/gpu" not in cure, "the pod asks for a GPU"


@pytest.mark.parametrize(
    "text", [text for text in PLUGIN if "mps" not in text.lower() and "Server" not in text]
)
def test_the_configuration_that_the_plug_in_prints_is_never_the_error(text: str) -> None:
    found = judge(CONFIG + text)
    assert found.reason == PLUGIN[text][0]
    unknown = judge(CONFIG + "E0105 1 main.go:1] something quite new went wrong: error 7 of the plug-in")
    assert "something quite new" in unknown.message
    assert "failOnInitError" not in judge(CONFIG).message


def test_an_xid_names_gpu_and_process() -> None:
    found = judge("NVRM: Xid (PCI:0000:3b:00): 48, pid=1234, name=python, DBE (double bit error) on GPU 3")
    assert found.reason == "EccUncorrectable"
    assert "PCI:0000:3b:00" in found.message
    errors = kernel_log.read(
        "NVRM: Xid (PCI:0000:3b:00): 79, pid=12, name=python, GPU has fallen off the bus.", K
    ).errors
    assert dict(errors[0].details) == {"device": "0000:3b:00", "program": "python"}


def test_the_kernel_log_names_the_driver() -> None:
    text = "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025"
    assert read_error_text(text, K).driver.version == "580.95.05"
    text = "NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  570.158.01  Release Build  Mon Jun  2 13:13:04 UTC 2025"
    assert read_error_text(text, K).driver.version == "570.158.01"


@pytest.mark.parametrize(
    "text",
    [
        "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  580.95.05",
        "nvidia: module verification failed: signature and/or required key missing - tainting kernel",
        "nvidia-nvlink: Nvlink Core is being initialized, major device number 510",
        "NVRM: Xid (PCI:0000:3b:00): 0, nothing",
        '"Starting NVIDIA Device Plugin" version=<',
        "Registered device plugin for 'nvidia.com/gpu' with Kubelet",
        "Normal  Scheduled  default-scheduler  Successfully assigned default/x to node-1",
    ],
)
def test_what_is_no_fault_is_not_taken_for_one(text: str) -> None:
    for reader in (device_plugin, kernel_log):
        assert reader.read(text, K).errors == (), reader
