"""The keys of the simulated push vendors, made once per state directory.

FCM: a service account file, as Google's console exports it. APNs: a signing key (.p8), an authority, and a
server certificate for the loopback addresses. Web Push: the key that browsers subscribe with. They are
valid for the simulators only.
"""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

FCM_PROJECT_ID = "herald-dev"
APNS_KEY_ID = "HERALDKEY1"
APNS_TEAM_ID = "HERALDTEAM"
APNS_TOPIC = "dev.herald.app"
_VALID = timedelta(days=3650)

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Credentials:
    """The files, and the identifiers that go with them."""

    fcm_service_account_file: Path
    apns_key_file: Path
    apns_ca_file: Path
    apns_server_file: Path
    """The server's certificate and key: only the simulator needs it."""
    webpush_key_file: Path
    fcm_project_id: str = FCM_PROJECT_ID
    apns_key_id: str = APNS_KEY_ID
    apns_team_id: str = APNS_TEAM_ID
    apns_topic: str = APNS_TOPIC


def write(state_dir: Path) -> Credentials:
    """Make the missing files in `state_dir`; existing ones are kept."""
    state_dir.mkdir(parents=True, exist_ok=True)
    credentials = Credentials(
        state_dir / "fcm-service-account.json",
        state_dir / "apns-key.p8",
        state_dir / "ca.pem",
        state_dir / "apns-server.pem",
        state_dir / "webpush-key.pem",
    )
    _unless_there(credentials.fcm_service_account_file, _service_account)
    for file in (credentials.apns_key_file, credentials.webpush_key_file):
        _unless_there(file, lambda: _pem(ec.generate_private_key(ec.SECP256R1())))
    if not (credentials.apns_ca_file.exists() and credentials.apns_server_file.exists()):
        authority, server = _certificates()
        _put(credentials.apns_ca_file, authority)
        _put(credentials.apns_server_file, server)
    return credentials


def _unless_there(file: Path, make: Callable[[], bytes]) -> None:
    if not file.exists():
        _put(file, make())


def _put(file: Path, content: bytes) -> None:
    """Write a file atomically, readable by its owner only."""
    handle, temporary = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    Path(temporary).replace(file)


def _pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _service_account() -> bytes:
    email = f"herald@{FCM_PROJECT_ID}.iam.gserviceaccount.com"
    account = {
        "type": "service_account",
        "project_id": FCM_PROJECT_ID,
        "private_key_id": uuid4().hex,
        "private_key": _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)).decode(),
        "client_email": email,
        "client_id": "100000000000000000000",
    }
    return json.dumps(account, indent=2).encode()


def _certificates() -> tuple[bytes, bytes]:
    """An authority, and a server certificate signed by it, with its key."""
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name, server_name = named("Herald simulators"), named("localhost")
    authority = (
        _certificate(authority_name, authority_name, authority_key, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = [
        x509.DNSName("localhost"),
        # The service's name in docker-compose.yml.
        x509.DNSName("simulators"),
        x509.IPAddress(ip_address("127.0.0.1")),
        x509.IPAddress(ip_address("::1")),
    ]
    server = (
        _certificate(server_name, authority_name, server_key, authority_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return authority.public_bytes(Encoding.PEM), server.public_bytes(Encoding.PEM) + _pem(server_key)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # The certificate must be valid for clocks that are a little slow.
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer_id, critical=False)
    )


def named(common_name: str) -> x509.Name:
    """The subject with this common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """What the key of an authority, or of a server or client, may be used for."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
