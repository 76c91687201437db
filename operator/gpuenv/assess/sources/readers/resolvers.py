r"""Reads the output of pip, uv, conda, mamba and poetry: what they could not install, and what they say is installed.

What a resolver could not find is *wanted*, never installed. The reader reports a requirement that no wheel fits, the Python
and the index for which it was asked, and the versions that were offered instead. A policy then names the builds that exist.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from gpuenv.assess.facts import NO_FACTS, Facts, Failure, Source, TorchFacts
from gpuenv.assess.sources.text.lazy_pattern import LazyPattern
from gpuenv.knowledge.model import Knowledge

MAX_PLACES: Final = 32
_REACH: Final = 4_000
"""Number of characters around a requirement in which its index, its Python and the offered versions are searched."""

_NAME: Final = (
    r"(torch|torchvision|torchaudio|torchcodec|torchao|pytorch|pytorch-cuda|pytorch-gpu|cudatoolkit|cuda-toolkit|triton|vllm"
    r"|sglang|sgl[-_]kernel|flash[-_]attn|flashinfer[-_]python|xformers|bitsandbytes|tensorrt[\w-]{0,20}|nvidia-[\w-]{2,40})"
    r"(?![\w-])"
)
_VERSION: Final = r"v?(\d[\w.+!*-]{0,60})"
_REQUIREMENT: Final = (
    rf"{_NAME}(?:\[[\w,-]{{1,60}}\])?(?:\{{[^}}\n]{{0,160}}\}})?"
    rf" ?(?:(?:===?|[<>~!]=|[=<>@]) ?)?\(?(?:==? ?)?(?:{_VERSION})?"
)
_ASKED: Final = (
    # pip
    rf"[Cc]ould not find a version that satisfies the requirement {_REQUIREMENT}",
    rf"No matching distribution found for {_REQUIREMENT}",
    r"([A-Za-z]\w{1,40})-(\d[\w.+!]{0,60})-(?:\d{1,3}-)?(?:cp|py)[\w.-]{3,120}\.whl is not a supported wheel",
    rf"no matching distributions available for your environment:\s{{1,20}}{_REQUIREMENT}",
    r"Package '(torch|torchvision|torchaudio)()' requires a different Python",
    # uv
    rf"{_REQUIREMENT} has no wheels? with a matching",
    rf"no wheels? (?:are|is) available (?:for|with) {_REQUIREMENT}",
    rf"[Tt]here (?:is|are) no versions? of {_REQUIREMENT}",
    rf"Distribution {_REQUIREMENT}[^\n]{{0,160}}can't be installed because",
    rf"No compatible version found for: {_NAME}()",
    rf"{_NAME} was (?:found on [^\n]{{1,120}} but not at the requested version|not found in the package registry)",
    # poetry and pdm
    rf"no versions of {_REQUIREMENT}",
    rf"depends on {_REQUIREMENT}\)? which doesn't match any versions",
    rf"Unable to find installation candidates for {_REQUIREMENT}",
    # conda and mamba
    rf"nothing provides (?:requested )?{_REQUIREMENT}",
    rf"not available from current channels:\s{{0,20}}- (?:[\w-]{{1,40}}::)?{_REQUIREMENT}",
    rf"ResolvePackageNotFound:\s{{0,20}}- (?:[\w-]{{1,40}}::)?{_REQUIREMENT}",
    rf"{_REQUIREMENT}[^\n]{{0,60}} does not exist \(perhaps",
    r"package (pytorch(?:-cuda|-gpu)?|torchvision|torchaudio|cudatoolkit)-(\d[\w.]{0,20})-\w{1,60} requires (?!__cuda)"
    r"[^\n]{1,120}, but none of the providers can be installed",
)
_WORDS: Final = (
    "satisfies the requirement", "No matching distribution", "no matching distribution",
    "is not a supported wheel", "requires a different Python",
    "no wheel", "no version", "can't be installed because", "No compatible version found", "was found on",
    "not found in the package registry", "match any versions", "find installation candidates", "nothing provides",
    "available from current channels", "ResolvePackageNotFound", "does not exist (perhaps", "none of the providers",
    "which is incompatible",
)  # fmt: skip
_INDEX: Final = LazyPattern(r"download\.pytorch\.org/whl/(?:test/|nightly/)?(cu\d{2,3})\b")
_LOCAL: Final = LazyPattern(r"\+(cu\d{2,3})\b")
_CONDA_CUDA: Final = LazyPattern(r"(?:pytorch-cuda|cudatoolkit|cuda-toolkit)[ =]{1,3}(\d{1,2}\.\d)")
_PYTHONS: Final = (
    LazyPattern(r"require(?:s|d)? CPython (\d\.\d{1,2})"),
    LazyPattern(r"matching Python (?:ABI|version|implementation)\s{1,12}tag \(e\.g\., cp(\d)(\d{1,2})"),
    LazyPattern(r"requires a different Python: (\d\.\d{1,2})"),
    LazyPattern(r"(?:installed Python version|Using (?:C?Python)|C?Python version):? (\d\.\d{1,2})"),
)
_OFFERED: Final = LazyPattern(r"\(from versions: ([^)]{0,4000})\)")
_INCOMPATIBLE: Final = LazyPattern(
    rf"^ ?(?:ERROR: )?([\w.-]{{2,60}}) (\d[\w.+!-]{{0,40}}) requires {_NAME}(?:\[[\w,-]{{1,60}}\])?[^\n;,]{{0,120}}[,;]"
    rf"[^\n]{{0,120}}?but you have {_NAME} {_VERSION} which is incompatible",
    re.MULTILINE,
)
_POETRY: Final = LazyPattern(
    r"version solving failed|Unable to find installation candidates|\bpoetry (?:add|install|lock|update)\b|poetry\.lock",
    re.IGNORECASE,
)
_UV: Final = LazyPattern(
    r"\buv (?:add|sync|lock|run)\b|uv\.lock|your project's requirements|your project depends on"
)
_COMPILED: Final = frozenset(
    {
        "torchvision",
        "torchaudio",
        "torchcodec",
        "torchao",
        "xformers",
        "vllm",
        "flash-attn",
        "sgl-kernel",
        "torch",
    }
)
"""Packages with compiled code for one release of torch, or of NVIDIA's libraries."""


def read(text: str, knowledge: Knowledge) -> Facts:
    """Return what a resolver could not install, and the torch that pip says is installed."""
    del knowledge
    if not any(words in text for words in _WORDS):
        return NO_FACTS
    wanted = {failure.details: failure for failure in _wanted(text)}
    conflicts = {failure.details: failure for failure, _ in _conflicts(text)}
    installed = next((torch for _, torch in _conflicts(text) if torch), None)
    return Facts(
        source=Source.ERROR_TEXT,
        torch=TorchFacts(version=installed),
        errors=(*wanted.values(), *conflicts.values()),
    )


def wanted_versions(text: str) -> set[str]:
    """Return the versions of torch that a resolver was asked for and did not find. They are not installed."""
    if not any(words in text for words in _WORDS):
        return set()
    details = (dict(failure.details) for failure in _wanted(text))
    return {one.get("version", "") for one in details if one["package"] in ("torch", "pytorch")}


def _wanted(text: str) -> Iterator[Failure]:
    """Yield one failure for each package that no wheel fits, of torch first. One that torch depends on explains torch."""
    flat = re.sub(r"\n {2,12}(?=[a-z(\[])", " ", text)  # uv wraps its sentences
    found: dict[str, tuple[str, int, str]] = {}
    for pattern in _ASKED:
        for match in islice(re.finditer(pattern, flat), MAX_PLACES):
            name, version = match[1], (match[2] if match.re.groups > 1 else "") or ""
            if name not in found or (version and not found[name][0]):
                found[name] = (version.rstrip("."), match.start(), match[0])
    order = sorted(found, key=lambda name: (name not in ("torch", "pytorch"), found[name][1]))
    for name in order[:MAX_PLACES]:
        version, place, words = found[name]
        yield _failure(flat, name, version, place, words)


def _failure(text: str, name: str, version: str, place: int, words: str) -> Failure:
    near = text[max(0, place - _REACH) : place + _REACH]
    index = _LOCAL.search(version) or _INDEX.search(near)
    conda = _CONDA_CUDA.search(near)
    cuda = f"{index[1][2:-1]}.{index[1][-1]}" if index else conda[1] if conda else ""
    offered = _OFFERED.search(text, place, place + 400)
    details = {
        "package": name,
        "version": version,
        "requirement": f"{name} {version}".strip(),
        "cuda": cuda,
        "python": _python(near),
        "program": "poetry" if _POETRY.search(near) else "uv" if _UV.search(near) else "",
        "offered": _span(offered[1]) if offered else "",
    }
    return Failure(
        "python",
        name="no-such-wheel",
        message=words,
        details=tuple(pair for pair in details.items() if pair[1]),
    )


def _python(text: str) -> str:
    for pattern in _PYTHONS:
        match = pattern.search(text)
        if match:
            return ".".join(match.groups())
    return ""


def _span(versions: str) -> str:
    """Return the first and the last of the offered versions in words, or "none"."""
    listed = [version.strip() for version in versions.split(",") if version.strip()]
    if not listed or listed == ["none"]:
        return "none"
    return listed[0] if len(listed) == 1 else f"{listed[0]} to {listed[-1]}"


def _conflicts(text: str) -> Iterator[tuple[Failure, str]]:
    """Yield failures for installed packages that do not fit each other, each with the version of torch that is installed."""
    if "which is incompatible" not in text:
        return
    for match in islice(_INCOMPATIBLE.finditer(text), MAX_PLACES):
        module, needed, installed = match[1], match[4], match[5]
        torch = installed if needed == "torch" else match[2] if module == "torch" else ""
        if module.lower().replace("_", "-") in _COMPILED:
            details = (
                ("module", module),
                ("package", needed),
                ("version", installed),
                ("requirement", f"{module} {match[2]}"),
            )
            yield (
                Failure(
                    "python", name="packages-of-other-releases", message=match[0].strip(), details=details
                ),
                torch,
            )
