"""Certificates made for one test session, and a TLS end in front of a server that has none."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from settings import StoreSettings
from simulators.credentials import key_usage, named

Load = Callable[..., StoreSettings]
"""Loads the stores' settings from variables."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """An authority that signs certificates into files."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = directory / f"{name}.pem"
        own = _builder(self._name, self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        own = own.add_extension(key_usage(signs_certificates=True), critical=True)
        _write(self.file, own.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def certificate(self, name: str, *hosts: str) -> Certificate:
        """A certificate for a common name and these hosts."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(named(name), self._name, key).add_extension(
            key_usage(signs_certificates=False), critical=True
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        signed = builder.add_extension(issuer, critical=False).sign(self._key, hashes.SHA256())
        made = Certificate(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        _write(made.cert, signed.public_bytes(Encoding.PEM))
        _write(made.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the tests need: one authority that is trusted, and one that is not."""

    ca_file: Path
    other_ca_file: Path
    server: Certificate
    elsewhere: Certificate
    """Of a server with another name: `elsewhere.example`."""
    client: Certificate
    """Its common name is the role that the tests use in Postgres."""
    stranger: Certificate
    """Of a client, by the authority that is not trusted."""

    @classmethod
    def make(cls, directory: Path) -> "Certificates":
        directory.mkdir()
        trusted, other = Authority(directory, "trusted"), Authority(directory, "other")
        return cls(
            trusted.file,
            other.file,
            trusted.certificate("server", "localhost", "127.0.0.1"),
            trusted.certificate("elsewhere", "elsewhere.example"),
            trusted.certificate("herald"),
            other.certificate("stranger"),
        )


SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)
"""With which a client of Postgres asks for TLS, before the handshake."""


@asynccontextmanager
async def tls_end(
    port: int,
    certificate: Certificate,
    client_ca: Path | None = None,
    *,
    alpn: str | None = None,
    postgres: bool = False,
) -> AsyncGenerator[int]:
    """A port that speaks TLS only, and forwards to `port` in plain. `client_ca`: only clients with a
    certificate of this authority may connect. `postgres`: TLS begins when the client asks for it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    if alpn:
        context.set_alpn_protocols([alpn])

    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    async def serve(client: socket.socket) -> None:
        with suppress(OSError):
            if postgres and not await _asks_for_tls(client):
                client.close()
                return
            reader = asyncio.StreamReader()
            transport, protocol = await loop.connect_accepted_socket(
                lambda: asyncio.StreamReaderProtocol(reader), client, ssl=context
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            await _forward(reader, writer, port)

    async def accept() -> None:
        while True:
            client, _ = await loop.sock_accept(listening)
            client.setblocking(False)
            tasks.add(asyncio.create_task(serve(client)))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        tasks.add(asyncio.create_task(accept()))
        try:
            yield listening.getsockname()[1]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _asks_for_tls(client: socket.socket) -> bool:
    loop = asyncio.get_running_loop()
    asked = await loop.sock_recv(client, len(SSL_REQUEST))
    await loop.sock_sendall(client, b"S")
    return asked == SSL_REQUEST


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
    ways = [
        asyncio.create_task(_pump(from_server, writer)),
        asyncio.create_task(_pump(reader, to_server)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        for end in (to_server, writer):
            end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(file: Path, content: bytes) -> None:
    file.touch(mode=0o600)
    file.write_bytes(content)


def identity(store: str, certificate: Certificate) -> Mapping[str, Path]:
    """The variables of a client certificate."""
    return {f"{store}__CERT_FILE": certificate.cert, f"{store}__KEY_FILE": certificate.key}
