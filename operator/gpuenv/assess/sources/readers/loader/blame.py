r"""Finds the module that asked for a library, so that it is blamed and not PyTorch: in a file's path or in a traceback.

A traceback ends with the frame that failed. Frames of the machinery that loads libraries say nothing: those of Python, and
those of torch that load the libraries of others (``torch/_ops.py``). Names such as ``flash_attn_2_cuda`` are those of a
file; the module that people install is ``flash_attn``.
"""

import re
from itertools import islice
from typing import Final

from gpuenv.assess.sources.text.lazy_pattern import LazyPattern

_BEFORE: Final = 6_000
"""Number of characters before an error in which its traceback is searched."""
_AFTER: Final = 1_500
"""Number of characters after an error in which the exception is searched that it caused."""
_MAX_FRAMES: Final = 200
_TRACEBACK: Final = "Traceback (most recent call last)"

_FRAME: Final = LazyPattern(
    r'^[ |+-]{0,60}File "?([^"\n]{1,300}?)"?(?:, line \d{1,6}|:\d{1,6})(?:, in ?[^\n]{0,100})?$'
    r"(?:\n(?! {0,60}File )([^\n]{0,200}))?",
    re.MULTILINE,
)
_ARROW: Final = LazyPattern(r"^-{2,8}> {1,4}\d{1,6} ([^\n]{1,200})", re.MULTILINE)
_IMPORT: Final = LazyPattern(r"\s{0,60}(?:from ([A-Za-z_][\w.]{0,80}) import|import ([A-Za-z_][\w.]{0,80}))")
_LAST_IMPORT: Final = LazyPattern(
    r"^ {0,60}(?:from ([A-Za-z_][\w.]{0,80}) import|import ([A-Za-z_][\w.]{0,80}))[^\n]{0,120}\n{1,3}[^\n]{0,80}$"
)
_INSTALLED: Final = LazyPattern(r"(?:site|dist)-packages[/\\]([\w.-]{1,80})")
_MACHINERY: Final = LazyPattern(
    r"<frozen|<string>|<stdin>|[/\\](?:ctypes|importlib|multiprocessing|concurrent|runpy|imp|cffi)(?:[/\\.]|$)"
    r"|-packages[/\\]torch[/\\](?:_ops|_classes|_library|library|ops|utils[/\\]cpp_extension|utils[/\\]_import_utils)\b"
)
_SAID: Final = LazyPattern(
    r"(?:[Ff]ailed to (?:import|load)(?: from| library)?"
    r"|(?:[Cc](?:ould|an) ?not|[Uu]nable to) (?:import|load)(?: this library:?| library| any)?"
    r"|[Ee]rror (?:importing|loading)"
    r"|[Cc]an't (?:import|load)|[Ii]mport(?:ing)?(?: of)?|DLL load failed while importing) [\"']?([\w./\\:-]{2,200})"
    r"|(\w{2,40}) (?:library|module|extension) (?:load|import) error"
)
_NEAR: Final = LazyPattern(
    r"^\W{0,4}\[?([a-z]\w{2,30})\] CRITICAL|[Cc]ould not load (lib\w{3,40})|[Ff]ailed to import (?:from )?(\w{2,40})\b",
    re.MULTILINE,
)
_CHAINED: Final = LazyPattern(
    r"(?:Could not load this library: |raised[^\n]{0,40} loading )([^\s\"']{3,300})"
)
_WORDS: Final = frozenset(
    {
        "a", "an", "any", "the", "this", "image", "module", "library", "lib", "shared", "dynamic", "extension", "extensions",
        "native", "with", "from", "failed", "error", "file", "python", "cuda", "model", "custom", "and", "in", "of", "it", "is",
        "c", "libraries", "numpy_core", "os", "sys", "load", "required", "some", "kernel", "kernels", "library_load", "object",
    }
)  # fmt: skip
"""Words that the sentences about a failed import contain in place of a module's name."""
_NO_LIBRARIES: Final = frozenset({"caffe", "cudart", "raries", "rary", "torch"})
"""What follows ``lib`` in names that are no library of a module of that name, and in the words library and libraries."""
_MODULES: Final = {
    "__triton_launcher": "triton",
    "_flash_attn_2_cuda": "flash_attn",
    "_flash_attn_3": "flash_attn",
    "_torchaudio": "torchaudio",
    "amp_C": "apex",
    "apex_C": "apex",
    "causal_conv1d_cuda": "causal_conv1d",
    "common_ops": "sgl_kernel",
    "cuda_utils": "triton",
    "exllamav2_ext": "exllamav2",
    "exllama_kernels": "auto_gptq",
    "flash_attn_2_cuda": "flash_attn",
    "flash_attn_3_cuda": "flash_attn",
    "flash_attn_cuda": "flash_attn",
    "fused_layer_norm_cuda": "apex",
    "marlin_cuda": "auto_gptq",
    "selective_scan_cuda": "mamba_ssm",
    "transformer_engine_torch": "transformer_engine",
    "vllm_flash_attn": "vllm",
}
"""Maps the name of a file of compiled code to the module that it belongs to, where the name does not say it."""
_PURE: Final = frozenset(
    {
        "accelerate", "datasets", "diffusers", "fastai", "gradio", "lightning", "peft", "pytorch_lightning", "ray",
        "sentence_transformers", "timm", "transformers", "trl", "unsloth",
    }
)  # fmt: skip
"""Modules without compiled code: a library that is missing while they are imported is that of another module."""
TORCH: Final = "torch"
COMPANIONS: Final = frozenset({"torchvision", "torchaudio", "torchtext"})
"""Modules of which each release goes with one release of torch."""
NVIDIA: Final = "nvidia"
"""The directory of NVIDIA's libraries beside torch, which are installed as packages."""


def module_of_file(path: str) -> str | None:
    """Return the module that a library or a file of Python code belongs to, or None if its path does not say it."""
    parts = [part for part in re.split(r"[/\\]", path) if part]
    if not parts:
        return None
    if NVIDIA in parts:
        return NVIDIA
    if parts[-3:-1] == [TORCH, "lib"]:
        return TORCH  # as in a program that PyInstaller packed, too
    base = parts[-1].partition(".")[0]
    if re.match(
        r"lib(?:torch(?:_|$)|c10(?:_|$)|caffe2|shm$)|torch_(?:cpu|cuda|python)$|c10(?:_cuda)?$", base
    ):
        return TORCH
    installed = _INSTALLED.search(path)
    if installed:
        return module_name(re.split(r"[.-]", installed[1], maxsplit=1)[0])
    if re.match(r"lib(?:cu|nv|nccl)|(?:cu[a-z]{2,12}|nvrtc|npp[a-z]{1,4})64_", base):
        return NVIDIA
    if base.startswith("lib") and len(parts) == 1:
        return module_of_library(base)
    if base.startswith(("_", "lib")) or base in ("cpp", "ext"):
        return module_name(parts[-2]) if len(parts) > 1 and parts[-2] not in ("lib", "lib64", "bin") else None
    return module_name(base) if ".so" in parts[-1] or parts[-1].endswith((".pyd", ".dll")) else None


def module_of_library(name: str) -> str | None:
    """Return the module that brings a library which is named after it, such as torchcodec for libtorchcodec_core8."""
    found = re.match(
        r"lib([a-z]{4,40})(?:_(?:core|ops|custom|cuda|cpu|cu|decoder|providers|pybind)\w{0,20})?\d{0,3}(?:$|\.)",
        name,
    )
    return module_name(found[1]) if found and found[1] not in _NO_LIBRARIES else None


def module_name(name: str) -> str | None:
    """Return the module that people install, from the name of a module or of its compiled code; None if it is no name."""
    top = name.strip(".").partition(".")[0]
    if top.lower() in _WORDS or len(top) < 2 or top[0].isdigit():
        return None
    return _MODULES.get(top, top)


def blamed(text: str, start: int, end: int) -> str | None:
    """Return the module that asked for what failed between ``start`` and ``end`` of the text, or None."""
    line = text[max(text.rfind("\n", 0, start) + 1, start - 400) : start]
    said = [name for found in _SAID.finditer(line) if (name := _said(found[1] or found[2]))]
    name = (said[-1] if said else None) or _of_traceback(text, start) or _nearby(text, start, end)
    return None if name in _PURE else name


def _said(name: str) -> str | None:
    if "/" in name or "\\" in name or (name.startswith("lib") and name.lower() not in _WORDS):
        return module_of_file(name)
    return module_name(name)


def _of_traceback(text: str, position: int) -> str | None:
    """Return the module of the last telling frame before ``position``, or that of an import statement just before it."""
    window = text[max(0, position - _BEFORE) : position]
    window = window[max(0, window.rfind(_TRACEBACK)) :]
    frames = list(islice(_FRAME.finditer(window), _MAX_FRAMES))
    for frame in reversed(frames):
        name = _of_frame(frame[1], frame[2] or "")
        if name is not None:
            return name
    arrows = list(islice(_ARROW.finditer(window), _MAX_FRAMES))
    last = _LAST_IMPORT.search(window) or (_IMPORT.match(arrows[-1][1]) if arrows else None)
    return module_name(last[1] or last[2]) if last else None


def _of_frame(path: str, source: str) -> str | None:
    statement = _IMPORT.match(source)
    imported = module_name(statement[1] or statement[2]) if statement else None
    if _MACHINERY.search(path):
        return imported if path.startswith("<") and not path.startswith("<frozen") else None
    if imported and imported not in ("ctypes", "importlib", "typing", "os", "sys"):
        return imported
    installed = _INSTALLED.search(path)
    return module_name(re.split(r"[.-]", installed[1], maxsplit=1)[0]) if installed else None


def _nearby(text: str, start: int, end: int) -> str | None:
    after = _CHAINED.search(text, end, end + _AFTER)
    if after:
        return module_of_file(after[1])
    found = list(islice(_NEAR.finditer(text, max(0, start - _BEFORE), start), _MAX_FRAMES))
    for near in reversed(found):
        name = module_of_library(near[2]) if near[2] else module_name(near[1] or near[3])
        if name:
            return name
    return None
