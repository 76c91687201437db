"""What a person gave to ``gpuenv explain``, option by option."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The options that say what to judge, as typed on the command line. None or empty: not given."""

    torches: tuple[str, ...]
    cuda: str | None
    cudnn: str | None
    python: str | None
    arch_list: str | None
    drivers: tuple[str, ...]
    gpus: tuple[str, ...]
    compute_capability: str | None
    platform: str | None
    collect_env: str | None
    error: str | None
    report: str | None
    nodes: str | None
    environment: str | None
