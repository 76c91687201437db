"""Faults of the dynamic loader: what they are, and who is blamed. The texts are those that programs print."""

import time
from pathlib import Path

import pytest
import yaml
from tests.support.world import KNOWLEDGE

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import DriverFacts, Facts, Failure, Gpu, Source, TorchFacts
from gpuenv.assess.model import Assessment
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.assess.sources.readers.loader import dll_faults, loader_faults
from gpuenv.assess.sources.readers.loader.blame import module_of_file
from gpuenv.assess.sources.rules.failure_rules import classify

MISSING = ": cannot open shared object file: No such file or directory"
SITE = "/opt/env/lib/python3.12/site-packages"


def traceback(*frames: tuple[str, str], error: str) -> str:
    """A traceback as Python prints it."""
    lines = [f'  File "{path}", line 7, in <module>\n    {source}' for path, source in frames]
    return "\n".join(["Traceback (most recent call last):", *lines, error])


def fault(text: str) -> tuple[str, dict[str, str]]:
    """Return the name and the details of the first fault in a text."""
    found = read_error_text(text, KNOWLEDGE).errors
    assert found, text
    return found[0].name, dict(found[0].details)


CASES = yaml.safe_load((Path(__file__).parent / "reader_texts" / "loader.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "case", [case for cases in CASES.values() for case in cases], ids=lambda case: case["text"][-60:]
)
def test_a_fault_is_known_and_blamed_on_who_asked_for_the_library(case: dict[str, str]) -> None:
    found, details = fault(case["text"])
    assert found == case["name"]
    if found != "c-library":
        assert details.get("module") == case.get("module")
    assert "library" not in case or details["library"] == case["library"]


def test_there_are_at_least_ten_wordings_of_each_kind() -> None:
    assert all(len(cases) >= 10 for cases in CASES.values()), {
        kind: len(cases) for kind, cases in CASES.items()
    }


@pytest.mark.parametrize(
    ("path", "module"),
    [
        (f"{SITE}/vllm/_C.abi3.so", "vllm"),
        ("/root/.cache/torch_extensions/py310_cu121/fused_adam/fused_adam.so", "fused_adam"),
        ("flash_attn_2_cuda.cpython-310-x86_64-linux-gnu.so", "flash_attn"),
        (f"{SITE}/nvidia/cublas/lib/libcublas.so.12", "nvidia"),
        ("libc10_cuda.so", "torch"),
        ("libcudart.so.12", "nvidia"),
        (r"C:\x\Lib\site-packages\torchvision\_C.pyd", "torchvision"),
        ("/usr/lib/libz.so.1", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_module_of_a_file(path: str, module: str | None) -> None:
    assert module_of_file(path) == module


@pytest.mark.parametrize(
    "text",
    [
        f"libfoo.so{MISSING}",
        "NCCL INFO NET/Plugin: dlerror=libnccl-net.so: cannot open shared object file",
        f"Could not load dynamic library 'libcudart.so.11.0'; dlerror: libcudart.so.11.0{MISSING}",
        "error: patch version 2.0 not found",
        "the DLL was loaded",
    ],
)
def test_what_is_harmless_is_no_fault(text: str) -> None:
    assert loader_faults.read(text, KNOWLEDGE).errors == ()
    assert dll_faults.read(text, KNOWLEDGE).errors == ()


def judge(error: str, torch: str = "", cuda: str | None = None, driver: str | None = None) -> Assessment:
    flags = Facts(
        source=Source.FLAGS,
        torch=TorchFacts(version=torch or None, cuda=cuda),
        driver=DriverFacts(version=driver),
        gpus=(Gpu(product="NVIDIA H100 80GB HBM3"),),
    )
    return assess(merge([flags, read_error_text(error, KNOWLEDGE)]), None, (), KNOWLEDGE)


FOR_13 = traceback(
    (f"{SITE}/vllm/platforms/cuda.py", "import vllm._C"), error=f"ImportError: libcudart.so.13{MISSING}"
)


def test_an_extension_for_another_cuda_than_torch_is_told_so() -> None:
    found = judge(FOR_13, "2.11.0+cu128", driver="570.133.20")
    assert (found.verdict, found.reason) == ("Incompatible", "ImportFailed")
    assert "vllm was built for CUDA 13, and this torch is for CUDA 12.8" in found.message
    (cure,) = found.checks[0].remedies
    assert "build of vllm for CUDA 12" in cure.message
    assert "a PyTorch for CUDA 13" not in cure.message, "this driver cannot run it"
    newer = judge(FOR_13, "2.11.0+cu128", driver="580.95.05").checks[0].remedies[0]
    assert "a PyTorch for CUDA 13, which this driver can run" in newer.message


def test_an_extension_for_the_cuda_of_torch_is_not_called_one_for_another() -> None:
    found = judge(FOR_13, "2.11.0+cu130", driver="580.95.05")
    assert found.reason == "ImportFailed"
    assert "another" not in found.message
    assert "Import torch before vllm" in found.checks[0].remedies[0].message


SYMBOL = f"ImportError: {SITE}/sgl_kernel/common_ops.abi3.so: undefined symbol: cuGreenCtxStreamCreate"


@pytest.mark.parametrize(
    ("driver", "reason", "words"),
    [
        ("550.90.07", "DriverFeatureMissing", "555.42.02 or newer"),
        ("580.95.05", "ImportFailed", "another build of sgl_kernel"),
        (None, "DriverFeatureMissing", "Upgrade the driver"),
    ],
)
def test_a_symbol_of_libcuda_is_judged_by_the_driver(driver: str | None, reason: str, words: str) -> None:
    found = judge(SYMBOL, "2.6.0+cu124", driver=driver)
    assert (found.verdict, found.reason) == ("Incompatible", reason)
    assert words in " ".join(one.message for one in found.checks[0].remedies)


def test_only_a_failing_import_of_torch_is_a_broken_torch() -> None:
    message = f"libcudart.so.12{MISSING}"
    own = classify(
        Failure("python", name="ImportError", message=message, details=(("module", "torch"),)), KNOWLEDGE
    )
    other = classify(
        Failure("python", name="ImportError", message=message, details=(("module", "vllm"),)), KNOWLEDGE
    )
    assert own is not None
    assert other is not None
    assert (own.reason, other.reason) == ("TorchBroken", "ImportFailed")
    assert other.meaning.startswith("vllm needs libcudart.so.12")


def test_a_torch_that_does_not_load_is_not_a_missing_one() -> None:
    dump = Facts(source=Source.COLLECT_ENV, torch=TorchFacts(missing=True))
    error = read_error_text(f"OSError: {SITE}/torch/lib/libtorch_cpu.so: undefined symbol: iJIT_NotifyEvent\n" + traceback(
        (f"{SITE}/torch/__init__.py", "_load_global_deps()"), error=f"OSError: libcufft.so.10{MISSING}"), KNOWLEDGE)  # fmt: skip
    reasons = {check.reason for check in assess(merge([dump, error]), None, (), KNOWLEDGE).checks}
    assert "TorchMissing" not in reasons
    assert "TorchBroken" in reasons


@pytest.mark.parametrize(
    "piece",
    [
        f"libcudart.so.12{MISSING}\n", "a" * 300 + ".so: undefined symbol: x\n", "undefined symbol: ",
        "/" * 400 + ".so: cannot open shared object file", "symbol " + "a" * 500 + ", version x not defined in file y\n",
        "version `GLIBC_2.34' not found (required by ", '  File "' + "a" * 200 + '", line 1, in <module>\n    import a\n',
        "[WinError 126] Error loading ", "DLL load failed", "import " * 20, "Could not load this library: /a/b.so ",
        "invalid ELF header", "Failed to import ", "----> 1 import a\n",
    ],
)  # fmt: skip
def test_a_hostile_megabyte_takes_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    start = time.thread_time()
    found = [error for reader in (loader_faults, dll_faults) for error in reader.read(text, KNOWLEDGE).errors]
    assert time.thread_time() - start < 1.5
    assert len(found) <= 3 * loader_faults.MAX_PLACES


@pytest.mark.parametrize(
    ("library", "package"),
    [
        ("libcublas.so.12", "nvidia-cublas-cu12"),
        ("libcublas.so.13", "nvidia-cublas"),
        ("cublas64_11.dll", "nvidia-cublas-cu11"),
    ],
)
def test_a_library_that_ctranslate2_loads_late_comes_with_its_wheel(library: str, package: str) -> None:
    name, details = fault(f"RuntimeError: Library {library} is not found or cannot be loaded")
    assert (name, details["package"]) == ("runtime-library-missing", package)
    rule = classify(Failure("python", name=name, details=tuple(details.items())), KNOWLEDGE)
    assert rule is not None
    assert rule.cure.startswith(f"Install {package} (pip)")
