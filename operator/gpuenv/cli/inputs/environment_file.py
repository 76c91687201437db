"""Reads a GPUEnvironment from a file (the option ``-f``)."""

from gpuenv.api.environment import EnvironmentSpec
from gpuenv.cli.inputs.files import read_text
from gpuenv.cli.shared.errors import BadInput


def read_environment(path: str) -> tuple[EnvironmentSpec, int | None]:
    """Return the specification in a file, and the deadline of a stage in seconds that the file sets.

    The deadline is the field ``spec.probe.timeouts.runSeconds``. It is None if the file does not contain this field.
    The path ``-`` stands for standard input. Raises BadInput if the file is no valid GPUEnvironment.
    """
    import yaml  # noqa: PLC0415 - takes 50 ms, and only -f needs it

    from gpuenv.api.environment_parser import SpecError, parse  # noqa: PLC0415 - only -f needs it

    try:
        document = yaml.safe_load(read_text(path, "-f"))
        if not isinstance(document, dict) or document.get("kind") != "GPUEnvironment":
            raise BadInput(f"-f: {path}: is no GPUEnvironment (kind: GPUEnvironment)")
        spec = parse(document.get("spec"))
    except (yaml.YAMLError, SpecError) as error:
        raise BadInput(f"-f: {path}: {' '.join(str(error).split())}") from None
    timeouts = (document["spec"].get("probe") or {}).get("timeouts") or {}
    return spec, spec.probe.timeouts.run if timeouts.get("runSeconds") is not None else None
