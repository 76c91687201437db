"""Readers of the container toolkit's and the container runtimes' errors, with the words of published reports."""

import pytest

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import DriverFacts, Facts, Gpu, Source, TorchFacts
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.assess.sources.readers.containers import container_runtime, container_toolkit
from gpuenv.knowledge import load

K = load()
CHAIN = (
    "Error: failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: error during container init: error running prestart hook #0: exit status 1, "
    "stdout: , stderr: Auto-detected mode as 'legacy'\nnvidia-container-cli: "
)
OLD_CHAIN = (
    "docker: Error response from daemon: OCI runtime create failed: container_linux.go:349: starting container process "
    'caused "process_linux.go:449: container init caused \\"process_linux.go:432: running prestart hook 0 caused '
    '\\\\\\"error running hook: exit status 1, stdout: , stderr: exec command: [/usr/bin/nvidia-container-cli --load-kmods '
    "configure --ldconfig=@/sbin/ldconfig.real --device=all --compute --utility --require=cuda>=9.0 --pid=4781 "
    "/var/lib/docker/overlay2/7c70/merged]\\\\\\\\nnvidia-container-cli: "
)
OLD_END = '\\\\\\\\n\\\\\\"\\"": unknown.'

TOOLKIT = {
    "initialization error: nvml error: driver not loaded: unknown": ("toolkit-driver-not-loaded", {}),
    "initialization error: driver error: driver not loaded": ("toolkit-driver-not-loaded", {}),
    "initialization error: nvml error: driver/library version mismatch: unknown": ("nvml-mismatch", {}),
    "initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object file: no such file or "
    "directory: unknown": ("toolkit-no-driver-library", {"library": "libnvidia-ml.so.1"}),
    "initialization error: load library failed: libcuda.so.1: cannot open shared object file: no such file": (
        "toolkit-no-driver-library", {"library": "libcuda.so.1"},
    ),
    "initialization error: driver rpc error: timed out: unknown.": ("toolkit-timeout", {}),
    "initialization error: driver error: timed out": ("toolkit-timeout", {}),
    "initialization error: nvcgo rpc error: timed out": ("toolkit-timeout", {}),
    "initialization error: driver rpc error: failed to process request: unknown.": ("toolkit-driver-service", {}),
    "initialization error: WSL environment detected but no adapters were found: unknown": (
        "toolkit-wsl-no-adapter", {},
    ),
    "initialization error: open failed: /proc/sys/kernel/overflowuid: permission denied": ("toolkit-permission", {}),
    "initialization error: privilege change failed: invalid argument": ("toolkit-permission", {}),
    "permission error: capability change failed: operation not permitted": ("toolkit-permission", {}),
    "detection error: nvml error: unknown error: unknown.": ("toolkit-gpu-unknown-error", {}),
    "initialization error: cuda error: unknown error": ("toolkit-gpu-unknown-error", {}),
    "detection error: cuda error: invalid device ordinal: unknown": ("toolkit-cuda-error", {}),
    "initialization error: cuda error: initialization error": ("toolkit-cuda-error", {}),
    "device error: 2: unknown device: unknown": ("toolkit-unknown-device", {"device": "2"}),
    "device error: /var/run/nvidia-container-devices: unknown device: unknown": (
        "toolkit-unknown-device", {"device": "/var/run/nvidia-container-devices"},
    ),
    "device error: GPU-8de47821-9ed2-75e0-acc4-4646a03f8b35: unknown device: unknown.": (
        "toolkit-unknown-device", {"device": "GPU-8de47821-9ed2-75e0-acc4-4646a03f8b35"},
    ),
    "container error: cgroup subsystem devices not found: unknown": ("toolkit-cgroup", {}),
    "mount error: failed to add device rules: unable to find any existing device filters attached to the cgroup: "
    "bpf_prog_query(BPF_CGROUP_DEVICE) failed: operation not permitted: unknown": ("toolkit-cgroup", {}),
    "mount error: failed to add device rules: unable to generate new device filter program: load program: invalid "
    "argument": ("toolkit-cgroup", {}),
    "mount error: file creation failed: /var/lib/docker/overlay2/5c64/merged/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1: "
    "file exists: unknown": ("toolkit-mount-exists", {"library": "libnvidia-ml.so.1"}),
    "mount error: file creation failed: /x/merged/run/nvidia-persistenced/socket: no such device or address": (
        "toolkit-mount-socket", {},
    ),
    "mount error: mount operation failed: /tmp/enroot/x/usr/lib/firmware/nvidia/470.57.02: operation not permitted": (
        "toolkit-permission", {},
    ),
    "mount error: mount operation failed: /x/merged/proc/driver/nvidia/params/version: no such file or directory": (
        "toolkit-driver-not-loaded", {},
    ),
    "mount error: stat failed: /usr/lib/libnvidia-tls.so.418.67: no such file or directory": ("toolkit-mount", {}),
    "ldcache error: process /sbin/ldconfig terminated with signal 9": ("toolkit-ldcache", {}),
    "ldcache error: process /sbin/ldconfig.real failed with error code: 1: unknown": ("toolkit-ldcache", {}),
    "requirement error: unsatisfied condition: cuda>=12.8, please update your driver to a newer version, or use an "
    "earlier cuda container: unknown": ("toolkit-requirement", {"version": "12.8", "driver": "R570"}),
    "requirement error: unsatisfied condition: cuda >= 9.0": (
        "toolkit-requirement", {"version": "9.0", "driver": "R384"},
    ),
    "requirement error: unsatisfied condition: brand = tesla": ("toolkit-brand", {"version": "brand = tesla"}),
    "input error: something that is quite new": ("toolkit-other", {}),
}  # fmt: skip


@pytest.mark.parametrize("said", TOOLKIT)
@pytest.mark.parametrize("style", ["plain", "chain", "old chain"])
def test_what_the_container_toolkit_says_has_its_rule(said: str, style: str) -> None:
    text = {
        "plain": f"nvidia-container-cli: {said}",
        "chain": CHAIN + said,
        "old chain": f"{OLD_CHAIN}{said.removesuffix('.').removesuffix(': unknown')}{OLD_END}",
    }[style]
    name, details = TOOLKIT[said]
    errors = read_error_text(text, K).errors
    assert [error.name for error in errors] == [name], errors
    found = dict(errors[0].details)
    if "driver" in details:
        assert int(found["driver"][1:]) in {row.branch for row in K.branches}
        details = {**details, "driver": found["driver"]}
    assert found == details
    assert errors[0].message in text


RUNTIME = {
    "OCI runtime create failed: could not apply required modification to OCI specification: error modifying OCI spec: failed "
    "to inject CDI devices: unresolvable CDI devices management.nvidia.com/gpu=GPU-e78e68c0-4e6a-737e-f9cc-4223fe50aead": (
        "cdi-unresolvable", {"device": "management.nvidia.com/gpu=GPU-e78e68c0-4e6a-737e-f9cc-4223fe50aead"},
    ),
    "failed to create containerd container: CDI device injection failed: unresolvable CDI devices "
    "k8s.gpu.nvidia.com/device=gpu-1": ("cdi-unresolvable", {"device": "k8s.gpu.nvidia.com/device=gpu-1"}),
    "Error: setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=all": (
        "cdi-unresolvable", {"device": "nvidia.com/gpu=all"},
    ),
    "docker: Error response from daemon: failed to inject devices: unresolvable CDI devices nvidia.com/gpu=0: unknown.": (
        "cdi-unresolvable", {"device": "nvidia.com/gpu=0"},
    ),
    'Error: setting up CDI devices: failed to inject devices: failed to stat CDI host device "/dev/dri/renderD129": no such '
    "file or directory": ("cdi-stale", {"device": "/dev/dri/renderD129"}),
    'conflicting device "nvidia.com/gpu=0" (specs "/etc/cdi/nvidia.yaml", "/var/run/cdi/nvidia.yaml")': (
        "cdi-conflict", {"device": "nvidia.com/gpu=0"},
    ),
    'failed to load CDI Spec "/etc/cdi/nvidia.yaml": invalid CDI Spec: missing device name': ("cdi-invalid", {}),
    "CDI device injection failed: something that is quite new": ("cdi-other", {}),
    'docker: Error response from daemon: could not select device driver "cdi" with capabilities: [].': ("cdi-off", {}),
    "Error response from daemon: failed to discover GPU vendor from CDI: no known GPU vendor found": (
        "cdi-no-specification", {},
    ),
    'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].': (
        "no-gpu-support-in-docker", {},
    ),
    'Error response from daemon: could not select device driver "nvidia" with capabilities: [[gpu compute utility]]': (
        "no-gpu-support-in-docker", {},
    ),
    "docker: Error response from daemon: Unknown runtime specified nvidia.": ("no-such-runtime", {"runtime": "nvidia"}),
    "Error response from daemon: unknown or invalid runtime name: nvidia": ("no-such-runtime", {"runtime": "nvidia"}),
    'Failed to create pod sandbox: rpc error: code = Unknown desc = RuntimeHandler "nvidia" not supported': (
        "no-such-runtime", {"runtime": "nvidia"},
    ),
    "FailedCreatePodSandBox: failed to get sandbox runtime: no runtime for \"nvidia-cdi\" is configured": (
        "no-such-runtime", {"runtime": "nvidia-cdi"},
    ),
    "failed to find runtime handler nvidia from runtime list map[runc:0xc0003]": (
        "no-such-runtime", {"runtime": "nvidia"},
    ),
    'pod rejected: RuntimeClass "nvidia" not found': ("no-such-runtime-class", {"runtime": "nvidia"}),
    'Error creating: pods "x" is forbidden: pod rejected: RuntimeClass.node.k8s.io "nvidia" not found': (
        "no-such-runtime-class", {"runtime": "nvidia"},
    ),
    'error gathering device information while adding custom device "/dev/nvidiactl": no such file or directory': (
        "no-device-file", {"device": "/dev/nvidiactl"},
    ),
    'starting container process caused: exec: "nvidia-smi": executable file not found in $PATH': (
        "container-without-nvidia-smi", {},
    ),
    "OCI runtime create failed: runc create failed: unable to start container process: unable to apply cgroup "
    "configuration: no space left on device": ("oci-create", {}),
    "Error: crun: cannot find `` in $PATH: No such file or directory: OCI runtime attempted to invoke a command": (
        "oci-create", {},
    ),
    "Using requested mode 'cdi'\ninvoking the NVIDIA Container Runtime Hook directly (e.g. specifying the docker --gpus "
    "flag) is not supported. Please use the NVIDIA Container Runtime": ("toolkit-hook-in-cdi-mode", {}),
    'exec: "nvidia-container-runtime-hook": executable file not found in $PATH: unknown.': (
        "toolkit-no-program", {"program": "nvidia-container-runtime-hook"},
    ),
    "fork/exec /opt/nvidia-runtime/toolkit/nvidia-container-runtime: no such file or directory: unknown": (
        "toolkit-no-program", {"program": "nvidia-container-runtime"},
    ),
    "Error: container create failed: error executing hook `/usr/local/nvidia/toolkit/nvidia-container-runtime-hook` (exit "
    "code: 1)": ("toolkit-hook-failed", {}),
    "OCI runtime create failed: /usr/bin/nvidia-container-runtime did not terminate successfully: exit status 127: unknown": (
        "toolkit-hook-failed", {},
    ),
    "/usr/local/bin/nvidia-container-cli: error while loading shared libraries: libelf.so.1: cannot open shared object file: No "
    "such file or directory: unknown": ("toolkit-broken", {"library": "libelf.so.1"}),
    "error running createContainer hook #0: fork/exec /usr/bin/nvidia-cdi-hook: no such file or directory": (
        "toolkit-no-program", {"program": "nvidia-cdi-hook"},
    ),
    "crun: cannot stat `/usr/lib64/libEGL_nvidia.so.565.77`: No such file or directory: OCI runtime attempted to invoke a "
    "command that was not found": ("cdi-stale", {"device": "/usr/lib64/libEGL_nvidia.so.565.77"}),
    "Error: stat nvidia.com/gpu=all: no such file or directory": ("cdi-off", {}),
}  # fmt: skip


@pytest.mark.parametrize("said", RUNTIME)
def test_what_a_container_runtime_says_has_its_rule(said: str) -> None:
    name, details = RUNTIME[said]
    for text in (said, f"Warning  Failed  7s (x3 over 31s)  kubelet  Error: {said}", f"> {said}\n> {said}"):
        errors = read_error_text(text, K).errors
        assert [error.name for error in errors] == [name], (text, errors)
        assert dict(errors[0].details) == details


def judge(error: str) -> Assessment:
    flags = Facts(
        source=Source.FLAGS,
        torch=TorchFacts(version="2.9.1+cu128"),
        driver=DriverFacts(version="580.95.05"),
        gpus=(Gpu(product="NVIDIA A10"),),
    )
    return assess(merge([flags, read_error_text(error, K)]), None, (), K)


@pytest.mark.parametrize("text", [*(f"nvidia-container-cli: {said}" for said in TOOLKIT), *RUNTIME])
def test_every_fault_leads_and_nobody_is_told_what_they_did(text: str) -> None:
    found = judge(text)
    assert found.verdict in ("Unknown", "Incompatible")
    first = found.checks[0]
    assert first.reason == K.errors_by_name[read_error_text(text, K).errors[0].name].reason
    cure = " ".join(one.message for one in first.remedies).lower()
    assert cure
    assert first.source.startswith("https://")
    if first.reason == "SandboxFailed":
        assert found.verdict == "Unknown", "what could not run is no failure of the image"
    if "nvidia-smi" not in text.split('"'):
        assert "a limit of nvidia.com/gpu" not in cure, "the container was given the GPU"


@pytest.mark.parametrize(
    "text",
    [
        'time=2025 level=info msg="Using OCI runtime nvidia-container-runtime"',
        "nvidia-container-cli -k -d /dev/tty info",
        "Auto-detected mode as 'legacy'",
        'exec: "python3": executable file not found in $PATH: unknown',
        'OCI runtime create failed: exec: "vllm": executable file not found in $PATH: unknown',
        "containerd 1.7.28, runc 1.2.5, nvidia-container-toolkit 1.18.0",
        '"default-runtime": "nvidia", "features": {"cdi": true}',
    ],
)
def test_what_is_no_fault_of_the_runtime_is_not_taken_for_one(text: str) -> None:
    for reader in (container_toolkit, container_runtime):
        assert reader.read(text, K).errors == (), reader
