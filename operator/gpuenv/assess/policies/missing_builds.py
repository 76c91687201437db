"""Makes errors of package resolvers more precise: which builds exist for a release of PyTorch, and for which Pythons."""

from gpuenv.api.remedies import Action, Remedies, remedy
from gpuenv.assess.case import Case
from gpuenv.knowledge.build_name import cuda_label
from gpuenv.knowledge.model import ErrorRule, TorchRelease
from gpuenv.knowledge.versions import Version, parse_version, show

RULE = "no-such-wheel"


def builds_that_exist(case: Case, rule: ErrorRule) -> tuple[str, Remedies] | None:
    """Return meaning and remedies for a PyTorch that no wheel fits, or None if the rule is another or the tables lack it."""
    details = dict(rule.details)
    if {"macos", "amd"} & {*case.platforms}:
        return None  # no Python and no index has a build for CUDA there
    if rule.name != RULE or details.get("package") not in ("torch", "pytorch"):
        return None
    release = case.knowledge.release(parse_version(details.get("version")))
    python = parse_version(details.get("python") or case.facts.container.python)
    cuda = parse_version(details.get("cuda"))
    offered, program = details.get("offered", ""), details.get("program", "")
    meaning = _meaning(rule, release, python, cuda)
    # Where one of the two is to blame for certain, the other need not change.
    of_python, of_index = _python_words(release, python, case), _index_words(release, cuda, program)
    sure = meaning != rule.meaning
    words = (
        of_python
        if sure and of_python and python is not None
        else of_index
        if sure
        else [*of_python, *of_index]
    )
    if words is not of_python:
        words += _project_words(program, cuda)
    if offered not in ("", "none"):
        words.append(f"The index offers {offered} to this Python and platform.")
    elif release is None:
        words.append(
            "The tables do not know this release of PyTorch: install a newer one, from the index of its CUDA."
        )
    name = show(release.torch) if release else ""
    return meaning, (remedy(Action.CHANGE_IMAGE, " ".join(words), pytorch=name),)


def _meaning(
    rule: ErrorRule, release: TorchRelease | None, python: Version | None, cuda: Version | None
) -> str:
    if release is None:
        return rule.meaning
    oldest, newest = release.python
    name = f"PyTorch {show(release.torch)}"
    if python is not None and not release.suits(python):
        return f"{name} has wheels for Python {show(oldest)} to {show(newest)}, not for {show(python[:2])}"
    if cuda is not None and release.build(cuda) is None:
        exists = "was not released" if release.all_builds else "is not in the tables"
        return f"{name} {exists} for CUDA {show(cuda)}"
    return rule.meaning


def _python_words(release: TorchRelease | None, python: Version | None, case: Case) -> list[str]:
    if release is None:
        return [
            "Use a 64-bit Python that this release of PyTorch has wheels for; old releases have none for a new Python."
        ]
    oldest, newest = release.python
    if python is not None and release.suits(python):
        return []
    words = f"Use a 64-bit Python {show(oldest)} to {show(newest)}: PyTorch {show(release.torch)} has wheels for no other."
    others = case.knowledge.releases_for(python) if python is not None else []
    if python is not None and others:
        words += f" For Python {show(python[:2])}, there are PyTorch {show(others[0])} to {show(others[-1])}."
    return [words]


def _index_words(release: TorchRelease | None, cuda: Version | None, program: str) -> list[str]:
    if release is None or not release.builds:
        return []
    builds = sorted(build.cuda for build in release.builds)
    names = [f"{cuda_label(build)} for CUDA {show(build)}" for build in builds]
    right = cuda_label(cuda) if cuda and release.build(cuda) else ""
    url = "" if program else f" (--index-url https://download.pytorch.org/whl/{right or 'cu…'})"
    return [f"Name the index of a build that exists{url}: {', '.join(names)}."]


def _project_words(program: str, cuda: Version | None) -> list[str]:
    """Return how a project of Poetry or uv names an index: neither has the option --index-url for it."""
    name = cuda_label(cuda) if cuda else "cu…"
    url = f"https://download.pytorch.org/whl/{name}"
    if program == "poetry":
        return [
            f"Poetry takes no --index-url: poetry source add --priority=explicit pytorch-{name} {url}, "
            f"then poetry add --source pytorch-{name} torch."
        ]
    if program == "uv":
        return [
            f'In a project of uv, the index stands in pyproject.toml: [[tool.uv.index]] with name = "pytorch-{name}", '
            f'url = "{url}" and explicit = true, and torch = {{ index = "pytorch-{name}" }} under [tool.uv.sources].'
        ]
    return []
