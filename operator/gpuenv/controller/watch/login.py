"""Gives Kopf the credentials of gpuenv's own Kubernetes client.

That client alone handles the rotation of tokens and the exec plug-ins of a kubeconfig file.
"""

import kopf

from gpuenv.controller.kube.client import Kube


async def connection(kube: Kube) -> kopf.ConnectionInfo:
    """Return fresh credentials for Kopf, which asks for them again after a response 401.

    Raises KubeconfigError if there are no usable credentials.
    """
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
