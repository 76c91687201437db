"""From which platform a text comes, which of several counts, and that cures fit the platform."""

import re
from dataclasses import replace

import pytest
from tests.support.world import KNOWLEDGE

from gpuenv.api.reasons import ROWS
from gpuenv.assess.case import make_case
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import (
    DeviceNode,
    DriverFacts,
    Facts,
    Gpu,
    Libcuda,
    LibcudaOrigin,
    NodeFacts,
    Source,
    TorchFacts,
)
from gpuenv.assess.gpu_health import Health
from gpuenv.assess.other_vendors import vendor_of
from gpuenv.assess.platform import platforms_of
from gpuenv.assess.platform_cures import rule_remedies
from gpuenv.assess.questions.answer import open_answer
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.assess.sources.readers.platforms import read
from gpuenv.knowledge import KnowledgeError
from gpuenv.knowledge.files import yaml_tables
from gpuenv.knowledge.load import build
from gpuenv.knowledge.model import ErrorRule
from gpuenv.knowledge.platforms import modern

NO_DRIVER = "RuntimeError: Found no NVIDIA driver on your system."
NO_SHARED_MEMORY = (
    "RuntimeError: DataLoader worker (pid 123) is killed by signal: Bus error. It is possible that dataloader's "
    "workers are out of shared memory. Please try to raise your shared memory limit."
)
NO_DEVICE = "RuntimeError: No CUDA GPUs are available"
OF_LINUX = re.compile(
    r"container|\bpods?\b|the node\b|drain|/dev/nvidia\b|LD_LIBRARY_PATH|NVIDIA_DRIVER_CAP|kubernetes|docker run|modprobe"
    r"|kernel log|dmesg|ldconfig|C library|glibc",
    re.IGNORECASE,
)
OF_CUDA = {"cuda", "nvml"}


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("OS: Microsoft Windows 11 Pro (10.0.26100 64-bit)", "windows"),
        ("Python platform: Windows-10-10.0.22631-SP0", "windows"),
        (r'File "D:\ai\venv\Lib\site-packages\torch\__init__.py", line 281, in <module>', "windows"),
        ("ImportError: DLL load failed while importing flash_attn_2_cuda", "windows"),
        ("Linux kernel version 5.15.0-1028-gke", "gke"),
        ("stderr: Auto-detected mode as 'csv'", "jetson"),
        ("[ERROR] /apps/enroot/3.4.0/etc/enroot/hooks.d/98-nvidia.sh exited with return code 1", "hpc"),
        ("OSError: [WinError 126] The specified module could not be found", "windows"),
        (
            "| GPU  Name                  Driver-Model | Bus-Id | 0  NVIDIA GeForce RTX 3060  WDDM |",
            "windows",
        ),
        ("torch-2.9.1+cu128-cp312-cp312-win_amd64.whl is not a supported wheel", "windows"),
        ("Python platform: Linux-6.6.87.2-microsoft-standard-WSL2-x86_64-with-glibc2.39", "wsl"),
        ("cannot open /usr/lib/wsl/lib/libcuda.so.1.1", "wsl"),
        ("Python platform: Linux-5.15.148-tegra-aarch64-with-glibc2.35", "jetson"),
        ("|   0  Orin (nvgpu)                  N/A  | N/A              N/A |", "jetson"),
        ("OS: macOS 15.5 (arm64)\nGCC version: Could not collect", "macos"),
        ('File "/Users/ann/.venv/lib/python3.12/site-packages/torch/cuda/__init__.py"', "macos"),
        ("ImportError: dlopen(/opt/homebrew/lib/python3.12/site-packages/x.so)", "macos"),
        ("LD_LIBRARY_PATH=/opt/rocm-6.4.0/lib", "amd"),
        ("GPU models and configuration: AMD Instinct MI300X", "amd"),
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, JetPack 6.2", "jetson"),
        ("Hypervisor vendor:                    KVM", "vm"),
        ("vfio-pci 0000:01:00.0: enabling device (0000 -> 0003)", "vm"),
        ("    GPU Virtualization Mode\n        Virtualization Mode : Pass-Through", "vm"),
        ("Python platform: Linux-6.8.0-1021-aws-x86_64-with-glibc2.35", "cloud-vm"),
        ("CC status: ON", "confidential"),
        ("Labels: cloud.google.com/gke-accelerator=nvidia-l4", "gke"),
        ("OS: Container-Optimized OS from Google", "gke"),
        ("Node: eks.amazonaws.com/nodegroup=gpu", "eks"),
        ("ip-10-0-1-2.ec2.internal   Ready    <none>   3d   v1.31.4-eks-2d5f260", "eks"),
        ("ip-10-0-1-2.eu-west-1.compute.internal python[12]: x", "cloud-vm"),
        ("Microsoft Windows [Version 10.0.26100.4061]", "windows"),
        ("Could not locate cudnn_ops64_9.dll. Please make sure it is in your library path!", "windows"),
        ("Error loading cublas64_12.dll or one of its dependencies", "windows"),
        ("kubernetes.azure.com/accelerator=nvidia", "aks"),
        ("OS Image: Red Hat Enterprise Linux CoreOS (RHCOS) 417", "openshift"),
        ("Warning  FailedCreatePodSandBox  3s  kubelet  Failed to create pod sandbox", "kubernetes"),
        ("docker: Error response from daemon: could not select device driver", "docker"),
        ('File "/content/app.py", line 3, in <module>', "colab"),
        ('File "/kaggle/working/x.py", line 3', "kaggle"),
        ("root@runpod:/# python -c 'import torch'", "gpu-cloud"),
        ("slurmstepd: error: Detected 1 oom-kill event", "hpc"),
        ("INFO:    Converting SIF file; apptainer exec torch.sif python", "hpc"),
        ('File "/home/ann/.venv/lib/python3.12/site-packages/torch/cuda/__init__.py"', "bare-metal"),
    ],
)
def test_a_text_shows_its_platform(text: str, platform: str) -> None:
    signs = read(text, KNOWLEDGE).node.signs
    assert signs[:1] == (platform,)


@pytest.mark.parametrize(
    "text",
    [
        "RuntimeError: CUDA error: out of memory",
        "see https://example.com/content/drivers and https://example.org/home/driver",
        "the slurmish dockerish thing, a bold:\\nline, singularityless",
        "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
    ],
)
def test_a_text_without_signs_shows_no_platform(text: str) -> None:
    assert read(text, KNOWLEDGE).node.signs == ()


def of(signs: tuple[str, ...] = (), platform: str | None = None) -> Facts:
    return Facts(source=Source.ERROR_TEXT, node=NodeFacts(platform=platform, signs=signs))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (of(), ()),
        (of(("vm", "gke")), ("gke", "kubernetes", "vm")),
        (of(("bare-metal", "docker")), ("docker",)),
        (of(("windows", "wsl")), ("wsl", "windows")),
        (of(("windows", "docker")), ("wsl", "docker", "windows")),
        (of(("windows",), "gke"), ("gke", "kubernetes", "windows")),
        (of((), "somewhere of a user's list of nodes"), ("somewhere of a user's list of nodes",)),
        (Facts(source=Source.FLAGS, gpus=(Gpu(product="Orin (nvgpu)"),)), ("jetson",)),
        (Facts(source=Source.FLAGS, driver=DriverFacts(version="540.4.0")), ("jetson",)),
        (Facts(source=Source.FLAGS, gpus=(Gpu(product="AMD Radeon RX 7900 XTX"),)), ("amd",)),
        (Facts(source=Source.FLAGS, gpus=(Gpu(product="Apple M3 Max"),)), ("macos",)),
        (Facts(source=Source.FLAGS, torch=TorchFacts(version="2.9.1+rocm6.4")), ("amd",)),
        (Facts(source=Source.FLAGS, torch=TorchFacts(version="2.9.1+rocm6.4"), gpus=(Gpu(product="NVIDIA L4"),)), ()),
        (replace(of(("macos", "kubernetes")), driver=DriverFacts(version="580.65.06")), ("kubernetes",)),
        (Facts(source=Source.FLAGS, gpus=(Gpu(product="NVIDIA A10-12Q"),)), ("vgpu", "vm")),
        (Facts(source=Source.FLAGS, gpus=(Gpu(health=Health(virtualization_mode=1)),)), ("vm",)),
        (Facts(source=Source.PROBE, node=NodeFacts(name="node-1", platform="gfd")), ("gfd", "kubernetes")),
        (Facts(source=Source.PROBE, driver=DriverFacts(libcuda=Libcuda(origin=LibcudaOrigin.GKE))), ("gke", "kubernetes")),
        (Facts(source=Source.PROBE, driver=DriverFacts(libcuda=Libcuda(origin=LibcudaOrigin.WSL))), ("wsl",)),
        (Facts(source=Source.PROBE, driver=DriverFacts(device_nodes=(DeviceNode("/dev/dxg", 0),))), ("wsl",)),
    ],
)  # fmt: skip
def test_the_most_specific_platform_counts_first(facts: Facts, expected: tuple[str, ...]) -> None:
    assert platforms_of(facts, KNOWLEDGE) == expected


def test_signs_of_several_texts_come_together() -> None:
    assert merge([of(("windows",)), of(("docker", "windows"))]).node.signs == ("windows", "docker")


def first_cure(text: str, *, platform: str | None = None) -> str:
    facts = merge([of(platform=platform), read_error_text(text, KNOWLEDGE)])
    return assess(facts, None, (), KNOWLEDGE).checks[0].remedies[0].message


@pytest.mark.parametrize(
    ("text", "says", "never"),
    [
        (NO_DRIVER, "nvidia-smi on the machine itself", "windows"),
        (f"C:\\Users\\ann> python x.py\n{NO_DRIVER}", "driver for Windows", "container"),
        (f"Linux-6.6.87.2-microsoft-standard-WSL2\n{NO_DRIVER}", "on Windows (never inside WSL)", "kubernetes"),
        (f'File "/home/ann/x.py"\n{NO_DRIVER}', "ubuntu-drivers", "container"),
        (f"docker compose logs\n{NO_DRIVER}", "--gpus all", "kubernetes"),
        (f'File "/content/x.py"\n{NO_DRIVER}', "Change runtime type", "container"),
        (f'File "/kaggle/working/x.py"\n{NO_DRIVER}', "accelerator", "container"),
        (f"srun: job 7\n{NO_DRIVER}", "--nv", "kubernetes"),
        (f"tegra234\n{NO_DRIVER}", "JetPack", "kubernetes"),
        (f'File "D:\\x.py"\n{NO_DEVICE}', "graphics preference", "container"),
        (f"Hypervisor vendor: KVM\n{NO_DEVICE}", "IOMMU group", "kubernetes"),
        (f'File "/home/ann/x.py"\n{NO_DEVICE}', "CUDA_VISIBLE_DEVICES", "container"),
        (f'File "/opt/homebrew/lib/x.py"\n{NO_DRIVER}', "CUDA does not exist on macOS", "container"),
        (f"/opt/rocm-6.4.0/lib\n{NO_DRIVER}", "PyTorch for ROCm", "container"),
        ("OS: macOS 15.5 (arm64)\nAssertionError: Torch not compiled with CUDA enabled", "the device mps", "cu126"),
        ("hint: You're on macOS (`macosx_14_0_arm64`), but `torch` (v2.6.0+cu124) only has wheels for the following platforms: "
         "`linux_x86_64`\nBecause torch==2.6.0+cu124 has no wheels with a matching platform tag (e.g., `macosx_14_0_arm64`) and "
         "you require torch==2.6.0+cu124, we can conclude that your requirements are unsatisfiable.", "the device mps", "64-bit"),
        ("RuntimeError: No HIP GPUs are available", "rocminfo", "cu126"),
        (f'File "/content/x.py"\n{NO_DEVICE}', "Change runtime type", "Xid"),
        (f'File "/kaggle/working/x.py"\n{NO_DEVICE}', "accelerator", "Xid"),
        (f"root@runpod:/# python\n{NO_DEVICE}", "rented container", "Xid"),
        (f"srun: job 7\n{NO_DEVICE}", "--gres", "Xid"),
        (f"kubectl logs x\n{NO_DEVICE}", "limit of nvidia.com/gpu", "docker"),
        (f"{NO_DEVICE}\nip-10-0-1-2.ec2.internal v1.31.4-eks-2d5f260", "accelerated AMI", "docker"),
        (f'File "/home/ann/x.py"\n{NO_SHARED_MEMORY}', "mount", "kubernetes"),
        (f'File "D:\\x.py"\n{NO_SHARED_MEMORY}', "num_workers", "/dev/shm"),
        ("Could not locate cudnn_ops64_9.dll. Please make sure it is in your library path!", "PATH", "LD_LIBRARY"),
        ("OSError: [WinError 1114] ... Error loading \"D:\\torch\\lib\\c10.dll\"", "Visual C++ Redistributable", "C library"),
        ("Error 803: system has unsupported display driver / cuda driver combination", "reboot", "windows"),
        ("Error 804: forward compatibility was attempted on non supported HW", "reboot", "windows"),
    ],
)  # fmt: skip
def test_the_cure_fits_the_platform_of_the_text(text: str, says: str, never: str) -> None:
    cure = first_cure(text)
    assert says in cure
    assert never.lower() not in cure.lower()


def test_a_given_platform_takes_precedence_over_the_signs_of_a_text() -> None:
    assert "accelerated AMI" in first_cure(f"C:\\Users\\ann> python x.py\n{NO_DRIVER}", platform="eks")


@pytest.mark.parametrize(
    "rule", [rule for rule in KNOWLEDGE.errors if rule.layer in OF_CUDA], ids=lambda rule: rule.name
)
def test_no_cure_on_windows_is_about_linux_or_containers(rule: ErrorRule) -> None:
    case = make_case(of(("windows",)), None, (), KNOWLEDGE, None)
    for one in rule_remedies(rule, rule.reason, case):
        assert not OF_LINUX.search(one.message) or "WSL" in one.message, one.message


def test_every_cure_is_sourced_and_belongs_to_an_error_or_a_reason() -> None:
    used = {"upgrade-driver", *ROWS, *(row.platform_cure for row in ROWS.values()), *KNOWLEDGE.errors_by_name}
    for name, rows in KNOWLEDGE.cures.items():
        assert name in used, name
        for platform, row in rows.items():
            assert row.source.startswith("https://"), f"{name} of {platform}"
    assert all(row.source.startswith("https://") for row in KNOWLEDGE.platforms)


def test_tables_of_an_older_version_are_still_read() -> None:
    content = yaml_tables()
    old = {
        "cures": {"expose-gpu": {"default": "Plug it in."}, "stray-libcuda": {"gke": "Remove it."}},
        "sources": {},
    }
    content["platforms"] = modern(old, content["platforms"])
    tables = build(content)
    assert tables.cures["expose-gpu"]["default"].cure == "Plug it in."
    assert tables.cures["driver-mismatch"]["gke"].cure == "Remove it."
    assert tables.platforms == KNOWLEDGE.platforms


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cures": {"x": {"moon": {"cure": "Fly."}}}}, "'moon' is no platform"),
        ({"cures": {"x": {"gke": {"cure": ""}}}}, "has no cure"),
        ({"cures": {"x": {"gke": {"cure": "Fly.", "action": "Fly"}}}}, "not an action"),
        ({"cures": []}, "needs a mapping named cures"),
        ({"platforms": [{"name": "x", "title": "y"}]}, "has no source"),
        ({"platforms": [{"name": "x", "title": "y", "source": "z", "implies": "w"}]}, "is no platform"),
        ({"platforms": [{"name": "x", "title": "y", "source": "z", "unless": ["w"]}]}, "is no platform"),
        ({"platforms": [{"name": "x", "title": "y", "source": "z"}] * 2}, "two rows"),
    ],
)
def test_an_invalid_table_is_refused(change: dict[str, object], words: str) -> None:
    content = yaml_tables()
    content["platforms"] = {**content["platforms"], **change}
    with pytest.raises(KnowledgeError, match=words):
        build(content)


@pytest.mark.parametrize(
    "facts",
    [
        Facts(source=Source.FLAGS, torch=TorchFacts(version="2.9.1+rocm6.4")),
        Facts(source=Source.FLAGS, torch=TorchFacts(version="2.9.1+cpu"), gpus=(Gpu(product="AMD Instinct MI300X"),)),
        Facts(source=Source.FLAGS, torch=TorchFacts(version="2.9.1+cu128"), gpus=(Gpu(product="RX 7900 XTX"),)),
        Facts(source=Source.FLAGS, torch=TorchFacts(version="2.9.1+cu128"), gpus=(Gpu(product="Intel Arc A770"),)),
        Facts(source=Source.FLAGS, torch=TorchFacts(version="2.9.1"), gpus=(Gpu(product="Apple M3 Max"),)),
        replace(of(platform="macos"), torch=TorchFacts(version="2.9.1+cpu"), gpus=(Gpu(product="NVIDIA L4"),)),
    ],
)  # fmt: skip
def test_a_machine_without_nvidia_gpu_gets_no_cuda_build(facts: Facts) -> None:
    found = assess(facts, None, (), KNOWLEDGE)
    assert found.verdict in ("Unknown", "Incompatible")
    offered = [one for check in found.checks for one in check.remedies]
    assert not any({"index", "minVersion", "package"} & dict(one.parameters).keys() for one in offered)
    assert any("NVIDIA" in check.message + one.message for check in found.checks for one in check.remedies)
    assert (
        open_answer(make_case(facts, None, (), KNOWLEDGE, None), lambda one: assess(one, None, (), KNOWLEDGE))
        is None
    )


@pytest.mark.parametrize(
    ("name", "vendor"),
    [
        ("AMD Radeon RX 7900 XTX", "AMD"), ("MI300X", "AMD"), ("gfx1100", "AMD"), ("Apple M3 Max", "Apple"),
        ("Intel Arc A770", "Intel"),
        *((name, None) for name in ("NVIDIA RTX A6000", "RTX 6000 Ada", "Quadro RTX 4000", "GeForce MX150", "", None)),
    ],
)  # fmt: skip
def test_vendors_are_known_by_the_names_of_their_gpus(name: str | None, vendor: str | None) -> None:
    assert vendor_of(name) == vendor


def test_no_gpu_of_the_tables_is_of_another_vendor() -> None:
    assert [model.name for model in KNOWLEDGE.models.values() if vendor_of(model.name)] == []


MISSING = "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory"
IN_HOME = f'File "/home/user/app/app.py", line 3\n{MISSING}'


@pytest.mark.parametrize(
    ("prefix", "platforms", "cure"),
    [
        ("[pod/trainer-0/main] ", ("kubernetes",), "nvidia.com/gpu"),
        ("2026-11-28T10:11:12.123456789Z stderr F ", ("kubernetes",), "nvidia.com/gpu"),
        ("app-1  | ", ("docker",), "--gpus all"),
        ("\x1b[36mapp-1  |\x1b[0m ", ("docker",), "--gpus all"),
        ("", ("bare-metal",), "ubuntu-drivers"),
    ],
)
def test_prefixes_of_logs_show_the_platform_and_a_home_directory_in_a_container_does_not(
    prefix: str, platforms: tuple[str, ...], cure: str
) -> None:
    text = "\n".join(prefix + line for line in IN_HOME.splitlines())
    facts = read_error_text(text, KNOWLEDGE)
    assert platforms_of(facts, KNOWLEDGE) == platforms
    assert cure in assess(facts, None, (), KNOWLEDGE).checks[0].remedies[0].message


def test_a_name_before_bars_of_several_lines_is_that_of_a_container() -> None:
    text = "\n".join(f"web | {line}" for line in ("starts", *IN_HOME.splitlines()))
    assert platforms_of(read_error_text(text, KNOWLEDGE), KNOWLEDGE) == ("docker",)


def test_the_home_directory_of_a_jupyter_image_is_in_a_container() -> None:
    text = IN_HOME.replace("/home/user", "/home/jovyan")
    assert platforms_of(read_error_text(text, KNOWLEDGE), KNOWLEDGE) == ("docker",)


def test_paths_of_a_machine_do_not_count_where_a_given_platform_has_them_too() -> None:
    facts = merge(
        [
            Facts(source=Source.FLAGS, node=NodeFacts(platform="kubernetes")),
            read_error_text(IN_HOME, KNOWLEDGE),
        ]
    )
    assert platforms_of(facts, KNOWLEDGE) == ("kubernetes",)
