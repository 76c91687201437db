"""Gives Kopf the credentials of gpuenv's own Kubernetes client.

So only one place handles token rotation and exec plug-ins.
"""

import kopf

from gpuenv.controller.kube.client import Kube


async def connection(kube: Kube) -> kopf.ConnectionInfo:
    """Return fresh credentials for Kopf, which asks for them again after a response 401. Raises KubeconfigError."""
    credentials = await kube.credentials()
    return kopf.ConnectionInfo(
        server=credentials.server,
        scheme=credentials.scheme,
        token=credentials.token,
        ca_path=credentials.ca_path,
        certificate_path=credentials.certificate_path,
        private_key_path=credentials.private_key_path,
        insecure=credentials.insecure,
        proxy_url=credentials.proxy,
        trust_env=credentials.proxy is None,
    )
