"""What the annotations ``gpuenv.dev/revalidate`` of an environment and of a node report ask for."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAX_TOKEN: Final = 4096
"""How many characters of an annotation count. The schemas allow no more of them in ``status.observedRevalidate``."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The revalidate annotations of one validation at one time; "" stands for an annotation that is not set.

    ``environment`` is a digest of the environment's token: every probe pod and node report of a fleet holds it, and
    only the operator compares it. ``report`` is the token of the node report itself, as its status shows it.
    """

    environment: str = ""
    report: str = ""

    def asks_beyond(self, observed: "Demand") -> bool:
        """Return whether these annotations ask for a run, given those that the last run took into account.

        They do if one of the two is set and was different then. An annotation that was removed asks for nothing.
        """
        return self.asks_all_beyond(observed) or self.report not in ("", observed.report)

    def asks_all_beyond(self, observed: "Demand") -> bool:
        """Return whether the environment's annotation alone, which asks for runs on all nodes, asks for a run."""
        return self.environment not in ("", observed.environment)


NOTHING_ASKED: Final = Demand()
"""The demand of a validation without any annotation."""


def demand(environment_token: str, report_token: str) -> Demand:
    """Return what the values of the two annotations ask for. A value counts up to its ``MAX_TOKEN``-th character."""
    return Demand(_digest(environment_token[:MAX_TOKEN]), report_token[:MAX_TOKEN])


@lru_cache(maxsize=1 << 8)
def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()[:16] if token else ""
