r"""Reads which torch, torchvision and torchaudio are installed or asked for, and whether they go together.

Each release of torchvision and torchaudio goes with one release of torch, and is built for one CUDA (``+cu128``). Installed
ones are in lists (``pip list``, ``pip freeze``) and in pip's last line (``Successfully installed``).
"""

import re
from itertools import islice
from typing import Final

from gpuenv.assess.facts import NO_FACTS, Facts, Failure, Source, TorchFacts
from gpuenv.assess.sources.text.lazy_pattern import LazyPattern
from gpuenv.knowledge.companions import COMPANIONS, goes_with, release_of
from gpuenv.knowledge.model import Knowledge

_MAX_PACKAGES: Final = 32
_VERSION: Final = r"(\d[\w.+!]{0,40})"
_LISTED: Final = LazyPattern(
    rf"^(?:\[(?:pip3?|conda)\] ?|[ |]{{0,8}})(torch|torchvision|torchaudio)(?:==| {{1,40}}){_VERSION}(?= *$| {{2,}}| \|)",
    re.MULTILINE,
)
_INSTALLED: Final = "Successfully installed "
_MAX_LINE: Final = 8_000
_IN_LINE: Final = LazyPattern(rf" (torch|torchvision|torchaudio)-{_VERSION}(?= |$)", re.MULTILINE)
_CONFLICT: Final = LazyPattern(
    r"Cannot install [^\n]{3,400}? because these package versions have conflicting dependencies"
)
_ASKED: Final = LazyPattern(rf"\b(torch|torchvision|torchaudio)={{2,3}}{_VERSION}")
_RELEASED: Final = LazyPattern(r"\d{1,3}(?:\.\d{1,3}){1,3}(?:\+(?:cu\d{2,3}|cpu|rocm[\d.]{1,8}))?$")
"""Matches a released version: builds of NVIDIA, nightly builds and those of other people go by numbers of their own."""
_LOCAL: Final = LazyPattern(r"\+(cu\d{2,3}|cpu|rocm[\d.]{1,8})$")


def read(text: str, knowledge: Knowledge) -> Facts:
    """Return the torch that pip has just installed, and packages that do not go with it."""
    del knowledge
    if "torch" not in text:
        return NO_FACTS
    place = text.rfind(_INSTALLED)
    end = text.find("\n", place)
    line = text[place : min(end if end >= 0 else len(text), place + _MAX_LINE)] if place >= 0 else ""
    fresh = _versions(_IN_LINE, line)
    installed = _versions(_LISTED, text) | fresh
    errors = (*_mixed(installed), *_conflict(text))
    if not errors and "torch" not in fresh:
        return NO_FACTS
    return Facts(source=Source.ERROR_TEXT, torch=TorchFacts(version=fresh.get("torch")), errors=tuple(errors))


def _versions(pattern: LazyPattern, text: str) -> dict[str, str]:
    return {match[1]: match[2] for match in islice(pattern.finditer(text), _MAX_PACKAGES)}


def _mixed(installed: dict[str, str]) -> list[Failure]:
    """Return a failure for each companion of another release or another CUDA than the torch that is installed."""
    torch = installed.get("torch")
    if torch is None or not _RELEASED.match(torch):
        return []
    return [
        _failure("companion-installed", f"{companion} {version}", companion, version, torch)
        for companion in COMPANIONS
        if (version := installed.get(companion))
        and _RELEASED.match(version)
        and (not goes_with(companion, version, torch) or _other_cuda(version, torch))
    ]


def _other_cuda(version: str, torch: str) -> bool:
    """Return whether both versions name what they were built for, and name different things."""
    ours, theirs = _LOCAL.search(torch), _LOCAL.search(version)
    return bool(ours and theirs and ours[1] != theirs[1])


def _conflict(text: str) -> list[Failure]:
    """Return a failure for each companion that pip was asked for together with a torch of another release."""
    match = _CONFLICT.search(text)
    if match is None:
        return []
    asked = _versions(_ASKED, match[0])
    torch = asked.get("torch", "")
    found = [
        _failure("companion-asked-for", match[0], companion, asked[companion], torch)
        for companion in COMPANIONS
        if companion in asked and not goes_with(companion, asked[companion], torch)
    ]
    return found or [Failure("python", name="requirements-conflict", message=match[0])]


def _failure(name: str, words: str, companion: str, version: str, torch: str) -> Failure:
    right, local = release_of(companion, torch), _LOCAL.search(torch)
    wanted = f"{companion}=={right}.*" if right else companion
    details = {
        "module": companion,
        "requirement": f"{companion} {version}",
        "version": torch,
        "package": wanted,
        "cuda": local[1] if local else "cu…",
    }
    return Failure("python", name=name, message=words, details=tuple(details.items()))
