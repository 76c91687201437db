"""The exit codes of every command. Scripts rely on them, so a code never changes its meaning."""

from collections.abc import Iterable
from typing import Final

from gpuenv.assess.model import Verdict

OK: Final = 0
FAILED: Final = 1
"""The command could not do its work."""
USAGE: Final = 2
"""The command cannot begin: its input makes no sense, or the cluster cannot be asked."""
INTERRUPTED: Final = 130
"""Ctrl-C: 128 and the number of SIGINT, as shells count."""

OF_VERDICT: Final = {
    Verdict.COMPATIBLE: OK,
    Verdict.INCOMPATIBLE: 1,
    Verdict.DEGRADED: 3,
    Verdict.UNKNOWN: 4,
}
"""The exit code of a command whose answer is a verdict."""
HELP: Final = "Exit code: 0 Compatible, 1 Incompatible, 2 wrong usage, 3 Degraded, 4 Unknown"
"""The line below the help text of such a command."""


def of_worst(verdicts: Iterable[Verdict]) -> int:
    """Return the exit code of the worst verdict; without any verdict, that of Unknown."""
    return OF_VERDICT[max(verdicts, key=lambda verdict: verdict.severity, default=Verdict.UNKNOWN)]
