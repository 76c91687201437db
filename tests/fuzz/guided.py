"""Lets atheris choose the inputs by what they reach in gpuenv's code: ``python -m tests.fuzz.guided --help``.

``make fuzz`` installs atheris (https://github.com/google/atheris), where there is a package of it.
"""

import json
import os
import sys
import time

import atheris

# Only what is imported in here tells atheris which lines an input reaches.
with atheris.instrument_imports(include=["gpuenv", "gpuenv_probe"]):
    from tests.fuzz.campaign import LONGEST, Campaign, options, targets


def main() -> None:
    """Run a campaign. The first byte of an input chooses its target."""
    given, campaign, known = options(__doc__), Campaign(), list(targets().items())
    until = time.monotonic() + 60 * given.minutes

    def one(data: bytes) -> None:
        if campaign.is_over(until) or campaign.inputs.total() >= given.inputs:
            print(json.dumps(campaign.report(), indent=2), flush=True)
            os._exit(
                bool(campaign.failures)
            )  # libFuzzer takes an exception, also that of sys.exit, for a crash
        name, (target, _) = known[data[0] % len(known)] if data else known[0]
        campaign.run(name, target, data[1:])

    atheris.Setup([sys.argv[0], f"-seed={given.seed}", f"-max_len={LONGEST}", "-verbosity=0"], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
