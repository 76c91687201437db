"""Writes kubeconfig files as JSON, which is valid YAML.

Their format is documented in https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/.
"""

import json
from pathlib import Path
from typing import Any

from gpuenv_sandbox.control_plane.certificates import KeyPair


def write_kubeconfig(
    path: Path, *, server: str, authority: Path, user: str, credential: KeyPair | str, namespace: str
) -> Path:
    """Write a kubeconfig for one user to ``path``, with mode 0600, and return ``path``.

    ``server`` is the URL of the API server, and ``authority`` the certificate of the authority that signed the API
    server's certificate. ``credential`` is the user's certificate and key, or a bearer token. ``namespace`` is the
    default namespace. Certificates and keys are referenced by path, not copied into the kubeconfig.
    """
    authentication: dict[str, Any] = (
        {"token": credential}
        if isinstance(credential, str)
        else {"client-certificate": str(credential.certificate), "client-key": str(credential.key)}
    )
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "sandbox", "cluster": {"server": server, "certificate-authority": str(authority)}}
        ],
        "users": [{"name": user, "user": authentication}],
        "contexts": [
            {"name": "sandbox", "context": {"cluster": "sandbox", "user": user, "namespace": namespace}}
        ],
        "current-context": "sandbox",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(body, indent=1), encoding="utf-8")
    return path
