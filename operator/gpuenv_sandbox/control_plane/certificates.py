"""Creates the certificates of a control plane that exists only for minutes.

The certificates that each component needs are listed in https://kubernetes.io/docs/setup/best-practices/certificates/.
The keys are elliptic-curve keys, because creating RSA keys would take most of the start-up time.
"""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALIDITY: Final = datetime.timedelta(days=30)
CLOCK_SKEW: Final = datetime.timedelta(minutes=5)


@dataclass(frozen=True)
class KeyPair:
    """The paths of a PEM certificate and its private key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority that creates keys and certificates as files in ``directory``, which has mode 0700."""

    def __init__(self, directory: Path) -> None:
        self.directory: Final = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gpuenv-sandbox")])
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        certificate = (
            _builder(name, name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self._name = name
        self.files: Final = self._write("ca", certificate, self._key)

    def issue(
        self, file: str, common_name: str, *, groups: list[str] | None = None, hosts: list[str] | None = None
    ) -> KeyPair:
        """Create a private key and a certificate signed by this authority, and return the paths of their files.

        The files are called ``file`` with the suffixes ``.crt`` and ``.key``. To Kubernetes, a client with this
        certificate is the user ``common_name``, who belongs to ``groups``. ``hosts`` are the IP addresses and host
        names of the server that uses the certificate, or None for a client. Every certificate is valid for both
        client and server authentication, because etcd needs both for connections to its peers.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups or []]
        name = x509.Name([*subject, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = _builder(name, self._name, key).add_extension(
            x509.ExtendedKeyUsage(purposes), critical=False
        )
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return self._write(file, builder.sign(self._key, hashes.SHA256()), key)

    def signing_key(self, file: str) -> KeyPair:
        """Create a key pair for signing service-account tokens, and return the paths of its files.

        The file ``certificate`` contains only the public key, not a certificate.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return self._store(file, public, key)

    def _write(self, file: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
        return self._store(file, certificate.public_bytes(serialization.Encoding.PEM), key)

    def _store(self, file: str, public: bytes, key: ec.EllipticCurvePrivateKey) -> KeyPair:
        pair = KeyPair(self.directory / f"{file}.crt", self.directory / f"{file}.key")
        pair.certificate.write_bytes(public)
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + VALIDITY)
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
