"""Finds the credentials for a registry where Docker keeps them: ``~/.docker/config.json`` and its credential helpers."""

import warnings

from gpuenv.assess.sources.images.reference import DOCKER_HUB
from gpuenv.cli.inspect.limits import ImageError


def find(registry: str) -> tuple[str, str] | None:
    """Return the user and the password for a registry, or None if Docker knows none.

    Raises ImageError if they cannot be read, or if Docker's library is not installed.
    """
    try:
        from docker import auth, errors  # noqa: PLC0415 - an optional dependency
    except ImportError:
        raise ImageError(
            f"{registry} asks who reads it, which needs Docker's library: pip install 'gpuenv[inspect]'"
        ) from None
    try:
        with warnings.catch_warnings(action="ignore"):  # they would stand beside our one line
            found = auth.load_config().resolve_authconfig(None if registry == DOCKER_HUB else registry)
    except (errors.DockerException, OSError, ValueError) as error:
        raise ImageError(
            f"Docker's credentials cannot be read ({type(error).__name__}); run docker login {registry}"
        ) from None
    if not found:
        return None
    user = found.get("Username") or found.get("username")
    password = found.get("Password") or found.get("password")
    if not user or not password:
        raise ImageError(
            f"Docker has an identity token for {registry}, which is not supported; log in with a user and a password or token"
        )
    return user, password
