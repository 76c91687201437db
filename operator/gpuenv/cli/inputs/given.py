"""The values of the options of ``gpuenv explain``."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The options that describe images and nodes, as typed on the command line.

    An option that was not given is None, or () if it can be given several times.
    """

    torches: tuple[str, ...]
    images: tuple[str, ...]
    inspect: bool
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
    what_if: str | None
