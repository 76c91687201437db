"""The search for cures: the remedies of each check that another build, driver or library solves.

A policy names only the reason of a check. The row of the reason says which parts may be replaced
(:class:`gpuenv.api.reasons.Part`). For each of these parts, candidates are applied to the setup of the case and
assessed (:mod:`gpuenv.assess.cures.trial`). The first that helps is offered, and nothing that does not help.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from gpuenv.api import check_names
from gpuenv.api.bounded_cache import bounded_cache
from gpuenv.api.reasons import ROWS, Part
from gpuenv.api.remedies import Action, Remedies
from gpuenv.assess.case import Case
from gpuenv.assess.cures.builds import Build
from gpuenv.assess.cures.candidates import (
    for_an_unknown_driver,
    for_this_driver,
    other_builds,
    other_drivers,
    other_parts,
    with_another_driver,
)
from gpuenv.assess.cures.changes import Change
from gpuenv.assess.cures.driver_remedies import REMOVE_COMPAT
from gpuenv.assess.cures.setup import Setup, setup_of
from gpuenv.assess.cures.trial import Trial
from gpuenv.assess.cures.words import nothing_helps, remedy_for
from gpuenv.assess.model import Check, Status
from gpuenv.knowledge.model import Knowledge

CACHE_BYTES: Final = 4 * 2**20
"""How many bytes the kinds of setups hold whose cures are known. A kind takes about a kilobyte."""
MAX_TRIALS: Final = 6
"""How many candidates for one part are tried at most. Usually, the first helps."""
_BUILDS: Final = frozenset({Part.BUILD, Part.BUILD_FOR_GPU})
_DRIVERS: Final = (Part.DRIVER, Part.TOOLKIT_DRIVER)


def with_cures(case: Case, checks: list[Check]) -> list[Check]:
    """Return the checks with the remedies that help. A check for which none is found keeps the remedies that it has."""
    setup, platforms = setup_of(case), case.platforms
    # Many checks can have one reason, such as one for each GPU.
    kinds = dict.fromkeys((found.reason, found.status.severity) for found in checks if found.curable)
    helps = {kind: _remedies(case.knowledge, setup, platforms, *kind) for kind in kinds}
    return [
        _cured(found, helps[found.reason, found.status.severity]) if found.curable else found
        for found in checks
    ]


def _cured(found: Check, remedies: Remedies) -> Check:
    if not remedies:
        return found
    actions = {one.action for one in remedies}
    if Part.TOOLKIT_DRIVER in ROWS[found.reason].solved_by:
        # Such a problem has another way out, which no version shows: to avoid what needs the newer driver.
        remedies += tuple(one for one in found.remedies if one.action not in actions)
    elif remedies[0] == REMOVE_COMPAT:
        # The driver is new enough. It may also be that it was upgraded, and that only a reboot is missing.
        remedies = (REMOVE_COMPAT, *found.remedies)
    elif found.remedies and found.remedies[0].action == Action.CHANGE_IMAGE:
        # On a platform where nobody can replace the driver, another image comes first.
        remedies = tuple(sorted(remedies, key=lambda one: one.action != Action.CHANGE_IMAGE))
    return replace(found, remedies=remedies)


@bounded_cache(CACHE_BYTES)
def _remedies(
    knowledge: Knowledge, setup: Setup, platforms: tuple[str, ...], reason: str, severity: int
) -> Remedies:
    """Return the remedies that solve a problem of this severity in a setup, or () if no replacement solves it."""
    changes = list(_changes(Trial(setup, knowledge, severity), ROWS[reason].solved_by))
    if not changes:
        return nothing_helps(setup, knowledge)
    first = next((change for change in changes if change.build is not None), None)
    return tuple(
        remedy_for(change, setup, ROWS[reason].build_cure if change is first else "", platforms, knowledge)
        for change in changes
    )


def _changes(trial: Trial, parts: tuple[Part, ...]) -> Iterator[Change]:
    """Yield the changes that help, in the order of the parts.

    A libcuda that the image should not bring is the whole cause if its removal helps. If neither a driver nor a build
    helps alone, both together are tried.
    """
    found = {part: list(_replacing(trial, part)) for part in parts}
    if found.get(Part.LIBCUDA):
        yield from found[Part.LIBCUDA]
        return
    alone = any(found.get(part) for part in (*_BUILDS, *_DRIVERS))
    for part in parts:
        yield from found[part]
        if part in _BUILDS and not alone and trial.setup.knows_driver:
            yield from _first(trial, with_another_driver(trial.setup, _builds(trial, part), trial.knowledge))


def _replacing(trial: Trial, part: Part) -> Iterable[Change]:
    """Return the changes of one part that help, the best one first."""
    setup, knowledge = trial.setup, trial.knowledge
    if part is Part.DRIVER:
        return _first(trial, other_drivers(setup, knowledge))
    if part is Part.TOOLKIT_DRIVER:
        strict = trial.by_toolkit_rule()
        # If the driver is as new as the toolkit, or is not known, the toolkit does not say which one is needed.
        is_older = strict.before.get(check_names.DRIVER_VERSION) == Status.FAIL.severity
        return _first(strict, other_drivers(setup, knowledge)) if is_older else []
    if part not in _BUILDS:
        return _first(trial, other_parts(setup, part, knowledge))
    builds = _builds(trial, part)
    if setup.knows_driver:
        return _first(trial, for_this_driver(setup, builds, knowledge))
    return [change for change in for_an_unknown_driver(setup, builds, knowledge) if trial.helps(change)]


def _builds(trial: Trial, part: Part) -> list[Build]:
    """Return the builds that may replace the one in the image. None is named at random: something has to be known."""
    setup = trial.setup
    nothing_known = not setup.gpus and not setup.knows_driver and not setup.torch
    if nothing_known or (part is Part.BUILD_FOR_GPU and not setup.gpus):
        return []
    return other_builds(setup, trial.knowledge)


def _first(trial: Trial, changes: Iterable[Change]) -> list[Change]:
    """Return a list with the first change that helps, or []."""
    return [*islice((change for change in islice(changes, MAX_TRIALS) if trial.helps(change)), 1)]
