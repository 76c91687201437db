"""``python -m gpuenv.knowledge.reasons_doc > docs/reasons.md``: the page of reasons, from the reasons and the tables."""

import sys
from pathlib import Path
from typing import Final

from gpuenv.api.reasons import MEANINGS
from gpuenv.knowledge.load import load
from gpuenv.knowledge.model import ErrorRule, Knowledge

PAGE: Final = Path("docs/reasons.md")
"""Where the page lies, from the root of the repository."""

HEAD: Final = """# Reasons

Every check, condition and Event of gpuenv names its reason by one of these constants. They are API: new ones may come, those
that are here keep their meaning. How bad a reason is says the status beside it, not the reason.

This page is made from `operator/gpuenv/api/reasons.py`, `operator/gpuenv/knowledge/reasons.yaml` and
`operator/gpuenv/knowledge/errors.yaml` by `make docs`.
"""


def page(knowledge: Knowledge) -> str:
    """The whole page. Raises KeyError when a reason has no row in the tables."""
    parts = [HEAD, "| reason | meaning |\n| --- | --- |"]
    parts += [f"| [{reason}](#{reason.lower()}) | {meaning} |" for reason, meaning in MEANINGS.items()]
    for reason, meaning in MEANINGS.items():
        text = knowledge.reasons[reason]
        parts.append(f"\n## {reason}\n\n{meaning}\n")
        parts.append(f"- **Cause:** {text.cause}")
        parts.append(f"- **Cure:** {text.cure}")
        parts += _seen(reason, knowledge)
        parts.append(f"- **Source:** {_link(text.source)}")
    return "\n".join(parts) + "\n"


def _seen(reason: str, knowledge: Knowledge) -> list[str]:
    """Numbers and words by which the reason is recognised in errors."""
    signs = [sign for rule in knowledge.errors if rule.reason == reason for sign in _signs(rule)]
    return [f"- **Seen as:** {', '.join(signs)}"] if signs else []


def _signs(rule: ErrorRule) -> list[str]:
    layer = {"cuda": "CUDA", "nvml": "NVML", "os": "errno"}.get(rule.layer, rule.layer)
    numbers = [f"{layer} error {code}" for code in rule.codes]
    words = [f"`{' … '.join(part for part in parts)}`" for parts in rule.text[:3]]
    return numbers + words


def _link(source: str) -> str:
    return f"<{source}>" if source.startswith("http") else "a rule of gpuenv's own"


if __name__ == "__main__":
    sys.stdout.write(page(load()))
