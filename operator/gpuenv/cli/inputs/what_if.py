"""Reads ``--what-if``: the one thing about all nodes or images that would be different."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from gpuenv.assess.facts import Facts, TorchFacts
from gpuenv.assess.questions.what_if import with_driver
from gpuenv.cli.inputs.given import Given
from gpuenv.cli.inputs.versions import require_driver, require_version
from gpuenv.cli.shared.errors import BadInput
from gpuenv.knowledge.build_name import parse_build_name
from gpuenv.knowledge.versions import show

EXAMPLE: Final = "driver=580.65.06 or torch=2.12.0+cu130"


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A change of facts. ``words`` describes it: ``driver 590.48.01``."""

    words: str
    applied: Callable[[Facts], Facts]


def read_what_if(change: str, given: Given) -> WhatIf:
    """Return the change that the value of ``--what-if`` names.

    Raises BadInput if the value is invalid, or if a pasted text says what happened on the node as it is.
    """
    if given.error or given.collect_env or given.report:
        raise BadInput(
            "--what-if changes versions; what --error, --collect-env and --report say would not be true then"
        )
    name, _, value = change.partition("=")
    if name == "driver":
        version = require_driver(value)
        return WhatIf(f"driver {version}", lambda facts: with_driver(facts, version))
    if name == "torch":
        text = require_version(value, "--what-if torch", parts=2, example="2.12.0+cu130") or ""
        cuda = parse_build_name(text).cuda
        torch = TorchFacts(version=text, cuda=show(cuda) if cuda else None, typed=True)
        return WhatIf(f"PyTorch {text}", lambda facts: replace(facts, torch=torch))
    raise BadInput(f"--what-if: {change[:60]!r} is no change such as {EXAMPLE}")
