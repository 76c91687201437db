"""Kopf logs in with the credentials our own client uses: one source, exec plug-ins and token rotation
included.
"""

import kopf

from gpuenv.controller.kube.client import Kube


async def connection(kube: Kube) -> kopf.ConnectionInfo:
    """Fresh credentials;

    Kopf asks again after a 401. Raises :class:`gpuenv.controller.kube.client.KubeconfigError`.
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
