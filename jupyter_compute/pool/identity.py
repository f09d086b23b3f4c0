"""Who belongs to this pool: whoever holds its key.

Scheduler and machines speak mutual TLS even on one host, as every local user can
connect to a loopback port, and whoever may speak Dask's protocol may run code. The key
is made anew for every service, lives in memory, and reaches a machine through a pipe.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed.security import Security

__all__ = ["Identity"]

_VALID = dt.timedelta(days=30)
_CLOCKS_DIFFER = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate that vouches for itself, and its key, both as PEM text.

    Parameters
    ----------
    certificate, key : str
    """

    certificate: str
    key: str

    @classmethod
    def make(cls) -> Identity:
        """Make a new one. It is valid for 30 days, longer than any service lives."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jupyter-compute pool")])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCKS_DIFFER)
            .not_valid_after(now + _VALID)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public = certificate.public_bytes(serialization.Encoding.PEM)
        return cls(public.decode(), private.decode())

    def security(self) -> Security:
        """Return the settings with which Dask speaks only to holders of the key."""
        roles = ("scheduler", "worker", "client")
        named: dict[str, Any] = {f"tls_{role}_cert": self.certificate for role in roles}
        named |= {f"tls_{role}_key": self.key for role in roles}
        return Security(require_encryption=True, tls_ca_file=self.certificate, **named)

    def invitation(self, scheduler: str) -> str:
        """Return the line that lets a machine join the scheduler at this address."""
        return json.dumps(
            {"scheduler": scheduler, "certificate": self.certificate, "key": self.key}
        )
