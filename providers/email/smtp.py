"""SMTP (email): any server that relays mail, by RFC 5321. `smtp_replies` says what its replies mean.

- No look-up and no receipts: an ambiguous send stays ambiguous, and bounces go to the sender's mailbox.
  The Message-ID is ours, made from the attempt's reference, so that a server's log can be searched for it.
- Connections are kept for a while, and checked with RSET before they are reused: one that the server has
  closed must not cost a message.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import ClassVar, Final
from urllib.parse import urlsplit

from aiosmtplib import (
    SMTP,
    SMTPDataError,
    SMTPException,
    SMTPNotSupported,
    SMTPResponseException,
    SMTPServerDisconnected,
    SMTPStatus,
)

from domain.notification import Channel, Device
from domain.outcome import Match, Outcome, Receipt, SendResult
from providers.base import AmbiguityResolution, CallbackRefused, CallbackRequest, Capabilities, Message
from providers.email.fields import is_one_address, one_sender, subject_of, unsubscribing
from providers.email.smtp_replies import Stage, parse_result, unfinished
from providers.installation import Installation
from providers.settings import SmtpSettings

CONNECT_S: Final = 5.0
CHECK_S: Final = 2.0
CONNECTIONS_MAX: Final = 20
MESSAGES_MAX: Final = 100
"""Maximum mails per connection: many servers count them and close it."""
IDLE_S: Final = 15.0

_LINE_END = re.compile(rb"\r\n|\r|\n")
_LEADING_DOT = re.compile(rb"(?m)^\.")


@dataclass(slots=True)
class _Progress:
    stage: Stage = Stage.CONNECTING


@dataclass(slots=True)
class _Connection:
    client: SMTP
    used: int = 0
    idle_since: float = 0.0

    @property
    def reusable(self) -> bool:
        fresh = time.monotonic() - self.idle_since < IDLE_S
        return self.client.is_connected and fresh and self.used < MESSAGES_MAX


class Smtp:
    """Mail through one SMTP server.

    Without TLS nothing secret is sent: a password needs it. Raises ValueError for settings that contradict
    each other.
    """

    name: ClassVar[str] = "smtp"
    capabilities: ClassVar[Capabilities] = Capabilities(
        channel=Channel.EMAIL,
        resolves=AmbiguityResolution.NONE,
        visibility_delay_s=0,
        receipts=False,
        polls=False,
        sandbox="any server that keeps what it receives",
    )

    def __init__(self, settings: SmtpSettings, installation: Installation) -> None:
        url = urlsplit(settings.base_url)
        if url.scheme not in ("smtp", "smtps") or not url.hostname:
            raise ValueError("base_url must be smtp://host:port or smtps://host:port")
        self._tls = url.scheme == "smtps"
        self._starttls = settings.starttls and not self._tls
        if settings.username and not (self._tls or self._starttls):
            raise ValueError("a user name and password are only sent over TLS: use smtps:// or starttls")
        self._host, self._port = url.hostname, url.port or (465 if self._tls else 587)
        self._from, self._sender = one_sender(settings.from_email), parseaddr(settings.from_email)[1]
        self._domain = self._sender.rpartition("@")[2].encode("idna").decode()
        self._username = settings.username
        self._password = settings.password.get_secret_value() if settings.password else None
        self._context = ssl.create_default_context(cafile=settings.ca_file)
        self._places = asyncio.Semaphore(CONNECTIONS_MAX)
        self._idle: list[_Connection] = []

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Hand one mail to the server."""
        to = message.target.address
        if not is_one_address(to):
            return SendResult(Outcome.REJECTED_RECIPIENT, code="address_malformed", asked=False)
        if timeout_s <= 0:
            return SendResult(Outcome.NOT_SENT, code="deadline_exceeded")
        message_id = f"{message.attempt_ref}@{self._domain}"
        try:
            content = stuffed(build_payload(message, self._from, message_id))
        except ValueError:
            return SendResult(Outcome.REJECTED, code="content_malformed", about_provider=False, asked=False)
        progress = _Progress()
        try:
            async with asyncio.timeout(timeout_s):
                await self._transact(to, content, progress)
        except SMTPResponseException as error:
            return parse_result(error.code, error.message, progress.stage)
        except SMTPNotSupported:
            return SendResult(Outcome.REJECTED, code="extension_missing", about_provider=False)
        except Exception as error:
            # No unexpected error of the library may look like "nothing was sent".
            return unfinished(error, progress.stage)
        return SendResult(Outcome.ACCEPTED, provider_message_id=message_id)

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Match]:
        """Nothing: a server does not say which mail it accepted."""
        return ()

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """None: there is no status query."""
        return None

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Refuse everything: a mail server sends no callbacks."""
        raise CallbackRefused("callbacks_not_supported", "a mail server sends no callbacks")

    def address_of(self, device: Device) -> str | None:
        """None: mail does not go to devices."""
        return None

    async def aclose(self) -> None:
        """Close connections."""
        while self._idle:
            self._idle.pop().client.close()
        # Closing TLS needs one turn of the event loop.
        await asyncio.sleep(0)

    async def _transact(self, to: str, content: bytes, progress: _Progress) -> None:
        async with self._places:
            connection = await self._connect()
            try:
                await _converse(connection.client, self._sender, to, content, progress)
            except SMTPResponseException as error:
                if error.code in range(400, 600):
                    # A refusal ends the transaction, not the connection.
                    self._keep(connection)
                else:
                    connection.client.close()
                raise
            except BaseException:
                connection.client.close()
                raise
            self._keep(connection)

    async def _connect(self) -> _Connection:
        """A connection that answers, in its initial state."""
        while self._idle:
            connection = self._idle.pop()
            try:
                if connection.reusable:
                    await connection.client.rset(timeout=CHECK_S)
                    return connection
            except (SMTPException, OSError):
                pass
            except BaseException:
                connection.client.close()
                raise
            connection.client.close()
        client = SMTP(
            hostname=self._host,
            port=self._port,
            username=self._username,
            password=self._password,
            local_hostname=self._domain,
            use_tls=self._tls,
            start_tls=self._starttls,
            tls_context=self._context,
            # The budget of the whole call bounds every step.
            timeout=None,
        )
        await client.connect(timeout=CONNECT_S)
        return _Connection(client)

    def _keep(self, connection: _Connection) -> None:
        connection.used += 1
        connection.idle_since = time.monotonic()
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.client.close()


async def _converse(client: SMTP, sender: str, to: str, content: bytes, progress: _Progress) -> None:
    """One transaction. Raises SMTPResponseException for a refusal."""
    international = not (sender.isascii() and to.isascii())
    encoding = "utf-8" if international else "ascii"
    if international and not client.supports_extension("smtputf8"):
        raise SMTPNotSupported("SMTPUTF8")
    progress.stage = Stage.SENDER
    await client.mail(sender, options=["SMTPUTF8"] if international else [], encoding=encoding)
    progress.stage = Stage.RECIPIENT
    await client.rcpt(to, encoding=encoding)
    progress.stage = Stage.CONTENT
    reply = await client.execute_command(b"DATA")
    if reply.code != SMTPStatus.start_input:
        raise SMTPDataError(reply.code, reply.message)
    if client.protocol is None:
        raise SMTPServerDisconnected("the server closed the connection")
    # Not `client.data`: it does not distinguish a connection lost here from one lost after the dot.
    progress.stage = Stage.WRITTEN
    client.protocol.write(content)
    reply = await client.protocol.read_response()
    if reply.code != SMTPStatus.completed:
        raise SMTPDataError(reply.code, reply.message)


def build_payload(message: Message, sender: str, message_id: str) -> bytes:
    """The mail itself, in ASCII unless its address is not. Raises ValueError when it cannot be encoded.

    Its date is that of the intent: the same attempt is the same mail. `Auto-Submitted` suppresses automatic
    replies (RFC 3834).
    """
    ascii_only = message.target.address.isascii() and parseaddr(sender)[1].isascii()
    rules = policy.SMTP if ascii_only else policy.SMTPUTF8
    letter = EmailMessage(policy=rules.clone(cte_type="7bit"))
    letter["From"] = sender
    letter["To"] = message.target.address
    letter["Subject"] = subject_of(message)
    letter["Date"] = format_datetime(message.intended_at)
    letter["Message-ID"] = f"<{message_id}>"
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(message.content.body)
    # Written unfolded: folding turns a long URL into encoded words, which RFC 2369 forbids and mailboxes do
    # not decode.
    links = "".join(f"{name}: {value}\r\n" for name, value in unsubscribing(message).items())
    return links.encode("ascii") + bytes(letter)


def stuffed(letter: bytes) -> bytes:
    """A mail as it follows `DATA`, with its final dot (RFC 5321, 4.5.2). Every line ends with CRLF: a bare
    CR or LF could end the mail early at another server (SMTP smuggling)."""
    lines = _LINE_END.sub(b"\r\n", letter).removesuffix(b"\r\n") + b"\r\n"
    return _LEADING_DOT.sub(b"..", lines) + b".\r\n"
