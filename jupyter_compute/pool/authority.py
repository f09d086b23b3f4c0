"""Who belongs to this pool: whoever holds a certificate of its authority.

Scheduler and machines speak mutual TLS even on one host, as every local user can
connect to a loopback port, and whoever may speak Dask's protocol may run code. The
authority is made anew for every service and its key never leaves the service's memory.
A machine that is started through a pipe gets certificate and key through that; one that
comes from elsewhere makes a key of its own and has it certified (`pool.door`).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from distributed.security import Security

__all__ = ["Authority", "Credentials"]

_VALID = dt.timedelta(days=30)
"""Longer than any service lives."""

_CLOCKS_DIFFER = dt.timedelta(hours=1)
_USAGES = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
"""Both ends of a connection ask for a certificate, and Dask's machines listen, too."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one member of the pool shows to the others, as PEM text.

    Parameters
    ----------
    authority, certificate, key : str
    """

    authority: str
    certificate: str
    key: str

    def security(self) -> Security:
        """Return the settings with which Dask speaks only to members of the pool."""
        roles = ("scheduler", "worker", "client")
        named: dict[str, Any] = {f"tls_{role}_cert": self.certificate for role in roles}
        named |= {f"tls_{role}_key": self.key for role in roles}
        return Security(require_encryption=True, tls_ca_file=self.authority, **named)

    def server(self) -> ssl.SSLContext:
        """Return the settings with which a server shows them to whoever calls."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # The module reads keys from files only.
        with tempfile.TemporaryDirectory(prefix="jupyter-compute-") as directory:
            chain = Path(directory, "chain.pem")
            chain.touch(0o600)
            chain.write_text(self.key + self.certificate)
            context.load_cert_chain(chain)
        return context


class Authority:
    """Certifies the members of one pool."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("jupyter-compute pool")
        self._certificate = (
            _unsigned(self._name, self._name, self._key.public_key(), _VALID)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def certificate(self) -> str:
        """Its own certificate, by which its members are known. It is no secret."""
        return _pem(self._certificate)

    def credentials(self, name: str, addresses: Sequence[str] = ()) -> Credentials:
        """Return a new key with a certificate for a member in this process or at a pipe.

        Parameters
        ----------
        name : str
        addresses : sequence of str
            IP addresses or host names at which it is to be believed.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certify(name, key.public_key(), _VALID, addresses)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return Credentials(self.certificate, certificate, private.decode())

    def sign(self, request: str, name: str, valid_s: float) -> str:
        """Certify the key in a certificate signing request; of the rest of it nothing is taken.

        Raises
        ------
        ValueError
            If it is no such request, or not signed with its own key.
        """
        found = x509.load_pem_x509_csr(request.encode())
        key = found.public_key()
        if not found.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("the request is not signed with an elliptic-curve key of its own")
        return self._certify(name, key, dt.timedelta(seconds=valid_s), ())

    def invitation(self, name: str, scheduler: str) -> str:
        """Return the line that lets a machine at a pipe join the scheduler at this address."""
        own = self.credentials(name)
        return json.dumps(
            {
                "scheduler": scheduler,
                "authority": own.authority,
                "certificate": own.certificate,
                "key": own.key,
            }
        )

    def _certify(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        valid: dt.timedelta,
        addresses: Sequence[str],
    ) -> str:
        unsigned = (
            _unsigned(_name(name), self._name, key, valid)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_USAGES), critical=False)
        )
        if addresses:
            names = x509.SubjectAlternativeName([_address(address) for address in addresses])
            unsigned = unsigned.add_extension(names, critical=False)
        return _pem(unsigned.sign(self._key, hashes.SHA256()))


def _unsigned(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    valid: dt.timedelta,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + valid)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _address(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
