"""The statuses of a step in the probe report (``steps[].status`` in ``report.schema.json``)."""

PASS = "Pass"  # noqa: S105 - an outcome, no password
FAIL = "Fail"
"""The step raised an error."""
WRONG = "Wrong"
"""The step's result was wrong, and it was wrong again in a second process."""
UNCONFIRMED = "Unconfirmed"
"""The step's result was wrong once, and no second process has confirmed or refuted it."""
SKIPPED = "Skipped"
"""The step was not run, because it cannot run on this GPU or with this torch."""
CRASHED = "Crashed"
"""The worker process died during the step."""
TIMED_OUT = "TimedOut"
"""The step did not end within its time limit."""

ALL = (PASS, FAIL, WRONG, UNCONFIRMED, SKIPPED, CRASHED, TIMED_OUT)
