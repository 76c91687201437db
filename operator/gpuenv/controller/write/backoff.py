"""Back-offs: for how long failed actions are not tried again, and what the API server said about them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gpuenv.controller.kube.errors import ApiError
from gpuenv.plan.snapshot import Refusal, ValidationKey

BACKOFF_SECONDS: Final = 1.0
"""Pause after the first failure of an action. It doubles with each consecutive failure."""
BACKOFF_MAX_SECONDS: Final = 60.0
STALE_SECONDS: Final = 2.0
"""Pause after an action that was planned from an outdated state. It doubles with each consecutive failure."""
OFTEN: Final = 5
"""After so many failures in a row a write counts as refused often, that is, after a quarter of a minute."""
WORDS: Final = 300
"""How many characters of an error message are kept, to be quoted in the status of the environment."""

Place = tuple[str, str, str]
"""(environment, node, part): a key for all actions that share one back-off.

For an action with a back-off of its own, ``part`` is the name of its class. For all other actions of a validation it
is "".
"""


@dataclass(slots=True)
class _Backoff:
    """The back-off of the actions of one Place, after ``count`` consecutive failures.

    None of them is tried before the monotonic time ``not_before``. ``words`` is the error message that the status of
    the environment quotes, or "". ``code`` is its HTTP status.
    """

    count: int
    not_before: float
    words: str = ""
    code: int = 0


class Backoffs:
    """The back-offs of all places. ``clock`` must be monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._places: dict[Place, _Backoff] = {}

    def __contains__(self, place: Place) -> bool:
        """Return whether the last action of this place has failed, even if its back-off is over."""
        return place in self._places

    def until(self, place: Place) -> float | None:
        """Return until when no action of this place is tried, or None if one may be tried now."""
        known = self._places.get(place)
        return known.not_before if known is not None and self._clock() < known.not_before else None

    def start(self, place: Place, seconds: float) -> float:
        """Start the back-off of ``place`` after a failure, and return its length in seconds.

        It lasts ``seconds`` after the first failure, and doubles with each consecutive one up to BACKOFF_MAX_SECONDS.
        """
        count = self._places[place].count if place in self._places else 0
        seconds = min(seconds * 2.0**count, BACKOFF_MAX_SECONDS)
        self._places[place] = _Backoff(count + 1, self._clock() + seconds)
        return seconds

    def note_refusal(self, place: Place, error: ApiError) -> None:
        """Keep what the API server said when it refused the action, for the next plan."""
        self._places[place].words, self._places[place].code = str(error)[:WORDS], error.status

    def end(self, place: Place) -> None:
        """Forget the failures of a place, because an action of it was done."""
        self._places.pop(place, None)

    def forget_old(self) -> None:
        """Forget the failures of places of which no action has been tried for long."""
        old = self._clock() - 2 * BACKOFF_MAX_SECONDS
        for place in [place for place, one in self._places.items() if one.not_before < old]:
            del self._places[place]

    def refusals(self) -> dict[ValidationKey, Refusal]:
        """Return the refused writes of each validation."""
        return {
            place[:2]: Refusal(one.words, of_status=not place[2], code=one.code, often=one.count >= OFTEN)
            for place, one in sorted(self._places.items(), key=lambda item: item[0], reverse=True)
            if one.words
        }
