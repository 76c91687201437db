"""Kopf's login: it gets the credentials of our own client, so that token rotation and exec plug-ins work once."""

import kopf

from gpuenv.controller.kube.client import Kube


async def connection(kube: Kube) -> kopf.ConnectionInfo:
    """Return fresh credentials; Kopf asks again after an answer 401. Raises KubeconfigError."""
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
