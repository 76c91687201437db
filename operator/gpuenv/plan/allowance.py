"""How much assessing one plan may do. Assessing a result is by far the slowest part of a plan.

After an upgrade of the operator or a change of expectations, thousands of results may have to be assessed. If one plan
assessed them all, no other environment would be served meanwhile. So each plan assesses some of them, and the next plan,
which follows at once, goes on.
"""

from collections.abc import Callable


class Allowance:
    """What one plan may still assess. ``put_off`` counts the results that are left to the next plans.

    ``may_continue`` is asked before each result but the first, so that each plan gets on. The planner knows no time: the
    caller decides, and can take each question as a sign of life.
    """

    def __init__(self, may_continue: Callable[[], bool] = lambda: True) -> None:
        """Start a plan. Without ``may_continue``, the plan assesses everything."""
        self._may_continue = may_continue
        self._begun = False
        self.put_off = 0

    @property
    def is_spent(self) -> bool:
        """Whether the plan has left a result to the next plans. It then assesses no other, either."""
        return self.put_off > 0

    def take(self) -> bool:
        """Return whether one more result may be assessed in this plan."""
        may_continue = not self.is_spent and self._may_continue()
        if may_continue or not self._begun:
            self._begun = True
            return True
        self.put_off += 1
        return False
