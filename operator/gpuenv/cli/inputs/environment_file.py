"""Reads a GPUEnvironment from a file (the option ``-f``)."""

from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.cli.inputs.files import parsed, read_text
from gpuenv.cli.shared.errors import BadInput


def read_environment(path: str) -> tuple[EnvironmentSpec, int | None]:
    """Return the specification in a file, and the deadline of a stage in seconds that the file sets.

    The deadline is the field ``spec.probe.timeouts.runSeconds``. It is None if the file does not contain this field.
    The path ``-`` stands for standard input. Raises BadInput if the file is no valid GPUEnvironment.
    """
    from gpuenv.api.spec.environment_parser import SpecError, parse  # noqa: PLC0415 - only -f needs it
    from gpuenv.files import yaml_data  # noqa: PLC0415 - takes 50 ms, and only -f needs it

    document = parsed(yaml_data.parse, read_text(path, "-f"), path, "-f")
    if not isinstance(document, dict) or document.get("kind") != "GPUEnvironment":
        raise BadInput(f"-f: {path}: is no GPUEnvironment (kind: GPUEnvironment)")
    if not isinstance(document.get("metadata", {}), dict):
        raise BadInput(f"-f: {path}: metadata: is no mapping; write metadata: {{name: my-environment}}")
    try:
        spec = parse(document.get("spec"))
    except SpecError as error:
        raise BadInput(f"-f: {path}: {error}") from None
    timeouts = (document["spec"].get("probe") or {}).get("timeouts") or {}
    return spec, spec.probe.timeouts.run if timeouts.get("runSeconds") is not None else None
