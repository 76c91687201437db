"""How a step ended, in the words of the report (``steps[].status`` in ``report.schema.json``)."""

PASS = "Pass"  # noqa: S105 - an outcome, no password
FAIL = "Fail"
"""An error was raised."""
WRONG = "Wrong"
"""The numbers were off, and a fresh process confirmed it."""
UNCONFIRMED = "Unconfirmed"
"""The numbers were off once, and no second process has said anything yet."""
SKIPPED = "Skipped"
"""The step was not tried."""
CRASHED = "Crashed"
"""The worker process died in it."""
TIMED_OUT = "TimedOut"
"""The step did not end in time."""

ALL = (PASS, FAIL, WRONG, UNCONFIRMED, SKIPPED, CRASHED, TIMED_OUT)
