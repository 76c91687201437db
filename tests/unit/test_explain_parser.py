"""The parser reads dumps however they are pasted, never raises, and is never slow."""

import random
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.published_cases import STYLES, cases

from gpuenv.assess.engine import assess
from gpuenv.assess.model import Verdict
from gpuenv.assess.sources.collect_env import read_collect_env
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.knowledge import load

KNOWLEDGE = load()
SEED = 20261123
HOSTILE_SIZE = 1_000_000
HOSTILE_SECONDS = 30.0
"""Of CPU time: a second is usual, and a pattern that backtracks over a megabyte takes hours."""
MUTATIONS = 10_000


def judge(text: str) -> Verdict:
    return assess(
        merge([read_collect_env(text), read_error_text(text, KNOWLEDGE)]), None, (), KNOWLEDGE
    ).verdict


@pytest.mark.parametrize("style", STYLES)
def test_every_field_of_a_dump_is_read(style: str) -> None:
    facts = read_collect_env(
        STYLES[style](
            {
                "torch": "2.4.0+cu124",
                "cuda": "12.4",
                "driver": "550.107.02",
                "gpus": ["NVIDIA A100-PCIE-40GB", "NVIDIA GeForce RTX 3090"],
                "available": True,
                "python": "3.10.12",
            }
        )
    )
    assert (facts.torch.version, facts.torch.cuda, facts.torch.available) == ("2.4.0+cu124", "12.4", True)
    assert facts.driver.version == "550.107.02"
    assert [gpu.product for gpu in facts.gpus] == ["NVIDIA A100-PCIE-40GB", "NVIDIA GeForce RTX 3090"]
    assert facts.container.python == "3.10.12"
    assert facts.container.machine == "x86_64"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Is CUDA available: Yes\nPyTorch version: 1.5.0", True),
        ("Is CUDA available: No\nPyTorch version: 1.5.0", False),
        ("PyTorch version (GPU?): 2.1.0+cu121 (True)", True),
        ("Is CUDA available: Could not collect", None),
        ("Is CUDA available: N/A", None),
    ],
)
def test_availability_in_its_spellings(text: str, expected: bool | None) -> None:
    assert read_collect_env(text).torch.available is expected


def test_a_cpu_machine_is_told_from_a_missing_nvidia_smi() -> None:
    none = "PyTorch version: 2.1.0+cu121\nCUDA used to build PyTorch: 12.1\nIs CUDA available: False\n"
    no_cuda = (
        none
        + "CUDA runtime version: No CUDA\nGPU models and configuration: No CUDA\nNvidia driver version: No CUDA\n"
    )
    assert read_collect_env(no_cuda).driver.absent is True
    unknown = none.replace("False", "True") + "GPU models and configuration: Could not collect\n"
    assert read_collect_env(unknown).driver.absent is None


def test_torch_that_does_not_import_is_told_from_one_that_is_not_there() -> None:
    missing = "PyTorch version: N/A\nIs CUDA available: N/A\n"
    assert read_collect_env(missing).torch.missing is True
    broken = missing + "[pip3] torch==2.3.0\n"
    assert read_collect_env(broken).torch.missing is None
    assert read_collect_env(broken).torch.import_error is not None


def test_other_builds_of_pytorch_have_no_cuda() -> None:
    assert (
        read_collect_env("PyTorch version: 2.4.0\nCUDA used to build PyTorch: None").torch.cpu_build is True
    )
    rocm = "PyTorch version: 2.4.0+rocm6.1\nCUDA used to build PyTorch: N/A\nROCM used to build PyTorch: 6.1.40091"
    assert read_collect_env(rocm).torch.cpu_build is True
    unknown = "PyTorch version: 2.4.0\nCUDA used to build PyTorch: Could not collect\nROCM used to build PyTorch: N/A"
    assert read_collect_env(unknown).torch.cpu_build is None


def test_nvidia_smi_tables_and_package_lists_help_out() -> None:
    facts = read_collect_env(
        "| NVIDIA-SMI 535.104.05             Driver Version: 535.104.05   CUDA Version: 12.2     |\n"
        "|   0  Tesla V100-SXM2-16GB           Off | 00000000:00:1E.0 Off |                    0 |\n"
        "|   1  NVIDIA GeForce GTX 1050 Ti     Off | 00000000:01:00.0  On |                  N/A |\n"
        "[pip3] torch==2.4.1\n[pip3] nvidia-cudnn-cu12==9.1.0.70\n[pip3] nvidia-nccl-cu12==2.20.5\n"
    )
    assert (facts.driver.version, facts.driver.nvml_cuda_version) == ("535.104.05", 12020)
    assert [gpu.product for gpu in facts.gpus] == ["Tesla V100-SXM2-16GB", "NVIDIA GeForce GTX 1050 Ti"]
    assert (facts.torch.version, facts.torch.cudnn, facts.torch.nccl) == ("2.4.1", 90100, "2.20.5")


def test_the_figures_of_error_texts_are_read() -> None:
    old = read_error_text(
        "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).", KNOWLEDGE
    )
    assert old.driver.cuda_version == 11040
    warned = read_error_text(
        "UserWarning: Found GPU0 Tesla P100-PCIE-16GB which is of compute capability (CC) 6.0.\n"
        "- 7.5 which supports hardware CC >=7.5,<8.0\n- 12.0 which supports hardware CC >=12.0,<13.0\n",
        KNOWLEDGE,
    )
    assert warned.gpus[0].compute_capability == (6, 0)
    assert warned.torch.arch_flags == ("sm_75", "sm_120")


LISTING = """$ ls -l /dev/nvidia*
crw-rw-rw- 1 root root 195,   0 Nov  1 10:00 /dev/nvidia0
crw-rw-rw- 1 root root 195, 255 Nov  1 10:00 /dev/nvidiactl
"""


def test_a_listing_of_devices_is_evidence() -> None:
    text = "CUDA unknown error - this may be due to an incorrectly set up environment\n" + LISTING
    facts = read_error_text(text, KNOWLEDGE)
    assert assess(facts, None, (), KNOWLEDGE).reason == "UvmMissing"
    whole = text + "crw-rw-rw- 1 root root 234,   0 Nov  1 10:00 /dev/nvidia-uvm\n"
    assert assess(read_error_text(whole, KNOWLEDGE), None, (), KNOWLEDGE).reason == "CudaInitUnknown"


def test_nvidia_smi_of_newer_drivers_is_read() -> None:
    facts = read_collect_env("| NVIDIA-SMI 610.43.02    KMD Version: 610.43.02    CUDA UMD Version: 13.3 |\n")
    assert (facts.driver.version, facts.driver.nvml_cuda_version) == ("610.43.02", 13030)


def test_nvidia_smi_q_is_read() -> None:
    old = read_collect_env(
        "Driver Version                            : 450.66\nCUDA Version                              : 11.0\n\n"
        "Attached GPUs                             : 1\nGPU 00000000:01:00.0\n"
        "    Product Name                          : GeForce GTX 780\n    Product Brand   : GeForce\n"
    )
    assert (old.driver.version, old.driver.nvml_cuda_version) == ("450.66", 11000)
    assert [gpu.product for gpu in old.gpus] == ["GeForce GTX 780"]
    new = read_collect_env(
        "Driver Version   : 610.43.03 [Deprecated; will be removed in CUDA 14.0. Use KMD Version instead]\n"
        "KMD Version      : 610.43.03\nCUDA UMD Version : 13.3\n"
        "    Product Name : NVIDIA L4\n    Product Name : NVIDIA L4\n"
    )
    assert (new.driver.version, new.driver.nvml_cuda_version) == ("610.43.03", 13030)
    assert [gpu.index for gpu in new.gpus] == [0, 1]


MINOR_MODE = """WARNING: CUDA Minor Version Compatibility mode ENABLED.
  Using driver version 510.108.03 which has support for CUDA 11.6.  This container
  was built with CUDA 11.8 and will be run in Minor Version Compatibility mode.
  CUDA Forward Compatibility is preferred over Minor Version Compatibility for use
  with this container but was unavailable:
  [[Forward compatibility was attempted on non supported HW (CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE) cuInit()=804]]
"""


@pytest.mark.parametrize("prefix", ["", "# ", "> "])
def test_what_a_container_of_nvidia_says_at_its_start_is_no_error(prefix: str) -> None:
    facts = read_error_text(MINOR_MODE.replace("\n", f"\n{prefix}"), KNOWLEDGE)
    assert facts.errors == ()
    assert (facts.driver.version, facts.driver.nvml_cuda_version) == ("510.108.03", 11060)
    failed = MINOR_MODE + "RuntimeError: CUDA error: no kernel image is available for execution on the device"
    assert [error.name for error in read_error_text(failed, KNOWLEDGE).errors] == ["no-kernel-image"]


def test_cuda_compat_that_works_is_told_by_the_container() -> None:
    facts = read_error_text(
        "NOTE: CUDA Forward Compatibility mode ENABLED.\n"
        "  Using CUDA 13.0 driver version 580.82.07 with kernel driver version 535.183.01.\n",
        KNOWLEDGE,
    )
    assert (facts.driver.version, facts.driver.cuda_version) == ("535.183.01", 13000)


def test_nothing_usable_is_unknown() -> None:
    for text in ("", "hello", "\x00\x01\x02", "{}", "a" * 10_000):
        assert judge(text) is Verdict.UNKNOWN


@settings(max_examples=300)
@given(st.text(max_size=2_000))
def test_no_text_raises(text: str) -> None:
    judge(text)


def mutated(text: str, source: random.Random) -> str:
    """``text`` with a few parts cut, doubled, swapped or overwritten."""
    for _ in range(source.randint(1, 6)):
        if not text:
            break
        start = source.randrange(len(text))
        end = min(len(text), start + source.randint(1, 40))
        kind = source.randrange(5)
        if kind == 0:
            text = text[:start] + text[end:]
        elif kind == 1:
            text = text[:end] + text[start:end] * source.randint(1, 3) + text[end:]
        elif kind == 2:
            text = text[:start] + "".join(source.choices(string.printable, k=end - start)) + text[end:]
        elif kind == 3:
            text = text[:start] + text[start:end].swapcase() + text[end:]
        else:
            text = text[end:] + text[:start]
    return text


def test_ten_thousand_mutated_dumps_get_an_answer() -> None:
    source = random.Random(SEED)
    styles = list(STYLES.values())
    given_facts = [case["given"] for case in cases()]
    for number in range(MUTATIONS):
        given_case = given_facts[number % len(given_facts)]
        text = styles[number % len(styles)](given_case) + str(given_case.get("error", ""))
        assert judge(mutated(text, source)) in Verdict, f"seed {SEED}, mutation {number}"


@pytest.mark.parametrize(
    "unit",
    [
        "PyTorch version: ",
        "GPU 0: A",
        "GPU 1:",
        "| 0 A ",
        "torch==1",
        "[pip3] torch",
        "Xid (",
        "nvidia-uvm",
        "(1.1) - (",
        "- 1.1 which ",
        "with CUDA capability sm_",
        "Found GPU0 ",
        "\x1b[",
        "CUDA_VISIBLE_DEVICES=",
        "['sm_80', ",
        "supports CUDA capabilities ",
        "sm_80 ",
        "Driver Version: 535.",
        "libcublas.so",
        " ",
        "\n",
        "9",
        "a",
        "OS:",
        "Minimum and Maximum (",
        "Kernel Module for ",
        "NVRM version: ",
        "/libcuda.so.580.95.05 NVRM: loading NVIDIA UNIX Kernel Module  580.95.05\n/compat",
        "xdocker",
        "ac:\\",
        "nvidia-container-cli: mount error: ",
        "unresolvable CDI devices a/b=c ",
        'could not select device driver "',
        "NVRM: Xid (PCI:0000:3b:00): 79, name=",
        "NVRM: Xid (PCI:0000:3b:00): 79, pid=1\n",
        "could not insert 'nvidia': ",
        "Watchdog caught collective operation timeout: WorkNCCL(OpType=",
        "NCCL WARN Cuda failure 'an illegal memory access was encountered",
        "requested number of devices unavailable for nvidia.com/gpu. ",
        "Detected non-NVML platform: NVML not detected ",
        "Allocatable:\n nvidia.com/gpu: 0 \n",
        "Product Name : NVIDIA L4\n",
        "GPU 00000000:01:00.0\n License Status : Unlicensed\n",
        "|   0  NVIDIA L4  On  | 1 | 0 |\n",
        "name, driver_version, ",
    ],
)
def test_hostile_text_takes_bounded_time(unit: str) -> None:
    text = unit * (HOSTILE_SIZE // len(unit))
    started = time.process_time()
    judge(text)
    assert time.process_time() - started < HOSTILE_SECONDS


@pytest.mark.parametrize(
    "text",
    [
        ">>> import torch\n>>> torch.__version__\n'2.5.1+cu121'\n>>> torch.version.cuda\n'12.1'\n"
        ">>> torch.cuda.is_available()\nTrue\n>>> torch.cuda.get_device_name(0)\n'NVIDIA GeForce RTX 5080'\n"
        ">>> torch.cuda.get_device_capability()\n(12, 0)\n",
        "In [2]: torch.__version__\nOut[2]: '2.5.1+cu121'\n\nIn [3]: print(torch.version.cuda)\n12.1\n"
        "print(torch.cuda.is_available())\nTrue\nprint(torch.cuda.get_device_name())\nNVIDIA GeForce RTX 5080\n",
        "torch.__version__: 2.5.1+cu121\ntorch.version.cuda: 12.1\ntorch.cuda.is_available(): True\n"
        "torch.cuda.get_device_name(0): NVIDIA GeForce RTX 5080\n",
        '$ python -c "import torch; print(torch.__version__, torch.version.cuda, torch.cuda.is_available())"\n'
        "2.5.1+cu121 12.1 True\nGPU 0: NVIDIA GeForce RTX 5080 (UUID: GPU-1)\n",
    ],
)
def test_answers_at_a_prompt_are_read(text: str) -> None:
    facts = read_collect_env(text)
    assert (facts.torch.version, facts.torch.cuda, facts.torch.available) == ("2.5.1+cu121", "12.1", True)
    assert [gpu.product for gpu in facts.gpus] == ["NVIDIA GeForce RTX 5080"]


def test_a_prompt_tells_a_build_without_cuda() -> None:
    facts = read_collect_env(
        ">>> torch.version.cuda\n>>> print(torch.version.cuda)\nNone\n>>> torch.__version__\n'2.5.1'\n"
    )
    assert facts.torch.cpu_build


@pytest.mark.parametrize(
    "text",
    [
        "PyTorch: 2.11.0+cu130\ntorch.version.cuda: 13.0\nGPU: NVIDIA L4\nDriver: 550.90.07\n",
        "- **GPU**: 2x NVIDIA L4 24GB\n- **NVIDIA Driver**: 550.90.07\n- **PyTorch Version**: 2.11.0+cu130\n",
    ],
)
def test_what_people_list_themselves_is_read(text: str) -> None:
    facts = read_collect_env(text)
    assert (facts.torch.version, facts.driver.version) == ("2.11.0+cu130", "550.90.07")
    assert [KNOWLEDGE.model(gpu.product) for gpu in facts.gpus] == [KNOWLEDGE.model("NVIDIA L4")]
    assert judge(text) == "Incompatible"


def test_what_is_no_list_of_versions_is_not_taken_for_one() -> None:
    facts = read_collect_env("Storage Driver: overlay2\nGPU: yes\nGPU: 0\nDriver: nvidia\ntorch: installed\n")
    assert (facts.torch.version, facts.driver.version, facts.gpus) == (None, None, ())
