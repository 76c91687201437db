"""Reads pasted output of a Python prompt (``>>> torch.__version__``), and lists of versions written by hand.

Every pattern contains fixed words, such as ``torch.__version__`` or ``Driver``, and bounded repetitions only. Matching
therefore takes time linear in the length of the text.
"""

import re
from dataclasses import dataclass

_ANSWER = (
    r"\)?\)?[\"']? {0,4}(?:\n {0,4}(?:Out\[\d{1,4}\]: ?)?|(?:[:=]|=>|->|returns?|returned|gives) ?)[\"']?"
)
"""Matches the text between an expression and its value: brackets and a line break, or the colon in a list."""
_VERSION = re.compile(r"torch\.__version__" + _ANSWER + r"(\d{1,2}\.\d{1,3}[\w.+-]{0,40})")
_CUDA = re.compile(r"torch\.version\.cuda" + _ANSWER + r"(\d{1,2}\.\d{1,2}|None)\b")
_AVAILABLE = re.compile(r"torch\.cuda\.is_available\(\)" + _ANSWER + r"(True|False)\b")
_NAME = re.compile(r"get_device_name\([^()\n]{0,30}\)" + _ANSWER + r"([A-Z][^'\"\n]{2,80})")
_CAPABILITY = re.compile(r"get_device_capability\([^()\n]{0,30}\)" + _ANSWER + r"\((\d{1,2}), ?(\d)\)")
_PRINT = re.compile(r"print\(([^\n]{5,300}?)\)[\"']?[ ;]{0,4}\n *([^\n]{3,200})")
_START = r"^[ >*•-]{0,8}+"
_LISTED_GPU = re.compile(
    _START
    + r"(?:GPUs?|GPU (?:model|type|name)|Graphics card|Video card|Hardware) {0,3}[:=] {0,3}(?:\d{1,3} ?[x×] ?)?"
    r"([^\n:=]{0,40}?(?:NVIDIA|GeForce|RTX|GTX|Tesla|Quadro|TITAN|\b[ABHLPTV]\d{1,3}S?\b)[^\n:=]{0,60})$",
    re.MULTILINE | re.IGNORECASE,
)
_LISTED_DRIVER = re.compile(
    _START + r"(?:(?:NVIDIA|GPU|CUDA) )?drivers?(?: version)? {0,3}[:=] {0,3}v?(\d{3}\.\d[\d.]{0,10})",
    re.MULTILINE | re.IGNORECASE,
)
_LISTED_TORCH = re.compile(
    _START + r"(?:PyTorch|torch) {0,3}[:=]{1,2} {0,3}v?(\d\.\d{1,2}[\w.+-]{0,40})"
    r"(?![\w.+-]| (?:and|or|depends|has|requires|cannot|could) )",
    re.MULTILINE | re.IGNORECASE,
)
"""``_LISTED_GPU``, ``_LISTED_DRIVER`` and ``_LISTED_TORCH`` match lines of lists that people write by hand.

Examples are ``- GPU: RTX 4090``, ``Driver: 550.54.15`` and ``torch: 2.4.0+cu121``.
"""
_EXPRESSIONS = {
    "torch.__version__": "version",
    "torch.version.cuda": "cuda",
    "torch.cuda.is_available()": "available",
}


@dataclass(frozen=True, slots=True)
class Answers:
    """Values that Python printed, or that a person listed. None means that the text does not contain the value.

    ``cpu_build`` True means that ``torch.version.cuda`` was printed as None.
    """

    version: str | None = None
    cuda: str | None = None
    available: bool | None = None
    cpu_build: bool | None = None
    product: str | None = None
    driver: str | None = None
    capability: tuple[int, int] | None = None


def read_prompt(text: str) -> Answers:
    """Return the values that the text gives for expressions such as ``torch.__version__``, or in a list.

    If an expression occurs several times, its first value counts.
    """
    told = _printed(text)
    for key, pattern in (("version", _VERSION), ("cuda", _CUDA), ("available", _AVAILABLE)):
        found = pattern.search(text)
        if found:
            told[key] = found[1]
    name, capability = _NAME.search(text) or _LISTED_GPU.search(text), _CAPABILITY.search(text)
    driver, torch = _LISTED_DRIVER.search(text), _LISTED_TORCH.search(text)
    cuda, available = told.get("cuda"), told.get("available")
    return Answers(
        version=told.get("version") or (torch[1] if torch else None),
        cuda=None if cuda == "None" else cuda,
        available=None if available is None else available == "True",
        cpu_build=True if cuda == "None" else None,
        product=name[1].strip() if name else None,
        driver=driver[1] if driver else None,
        capability=(int(capability[1]), int(capability[2])) if capability else None,
    )


def _printed(text: str) -> dict[str, str]:
    """Return the values that a call such as ``print(torch.__version__, torch.version.cuda)`` printed.

    Each key is the name of a field of :class:`Answers`, and its value is the printed word. The result is empty if the
    line after the call does not have as many words as the call has arguments.
    """
    found = _PRINT.search(text)
    asked = [part.strip() for part in found[1].split(",")] if found else []
    answers = found[2].split() if found else []
    if len(asked) != len(answers):
        return {}
    return {
        _EXPRESSIONS[question]: answer
        for question, answer in zip(asked, answers, strict=True)
        if question in _EXPRESSIONS and (answer in {"True", "False", "None"} or answer[:1].isdigit())
    }
