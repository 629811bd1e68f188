"""SMTP (email): any server that takes mail for others, by RFC 5321 with enhanced status codes (RFC 3463).

- A reply is a verdict: 4yz not now, 5yz not so, whenever it comes, the one to the final dot too. Silence
  or a lost connection is ambiguous once the content was written, and nothing was sent before that
  (RFC 5321, 4.5.3.2 and 6.1).
- No look-up and no receipts: what is ambiguous stays so, and a bounce goes to the sender's mailbox.
  The Message-ID is ours, made of the attempt's reference, so that a server's log can be searched for it.
- An extended code says whether a refusal is about the recipient, this mail, or us. Without one a
  refusal never is about the recipient: 550 stands for policy as often as for an unknown mailbox.
- Connections are kept for a while, and asked with RSET before they are used again: one that the server
  has closed must not cost a message.
"""

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from enum import IntEnum
from pathlib import Path
from typing import Final
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
from domain.outcome import Outcome, Receipt, SendResult
from providers.base import (
    CallbackRefused,
    CallbackRequest,
    Capabilities,
    Found,
    Message,
    Resolves,
    Verdict,
)
from providers.email.fields import is_one_address, one_sender, subject_of, unsubscribing
from providers.verdicts import (
    BAD_RECIPIENT,
    GONE,
    NOT_THIS_MESSAGE,
    NOT_THIS_ONE_NOW,
    REJECTED,
    THROTTLED,
    UNAVAILABLE,
)

CONNECT_S: Final = 5.0
CHECK_S: Final = 2.0
CONNECTIONS_MAX: Final = 20
MESSAGES_MAX: Final = 100
"""So many mails go over one connection: many servers count them and close it."""
IDLE_S: Final = 15.0

PERMANENT: Final[Mapping[str, Verdict]] = {
    "1.1": GONE,  # no such mailbox
    "1.2": GONE,  # no such domain
    "1.3": BAD_RECIPIENT,  # the address's syntax
    "1.6": GONE,  # moved, and left no address
    "1.10": GONE,  # the domain takes no mail (RFC 7505)
    "2.1": GONE,  # the mailbox is disabled
    "2.2": BAD_RECIPIENT,  # full
    "2.3": NOT_THIS_MESSAGE,  # longer than the mailbox takes
    "3.4": NOT_THIS_MESSAGE,  # longer than the server takes
    "6.0": NOT_THIS_MESSAGE,
    "6.1": NOT_THIS_MESSAGE,
    "6.3": NOT_THIS_MESSAGE,
}
"""Subject and detail of a 5.y.z to a recipient or a content. Whatever is missing is policy (5.7.z) or
about the server or our settings: refused as configured."""

TRANSIENT: Final[Mapping[str, Verdict]] = {
    "2.1": NOT_THIS_ONE_NOW,  # the mailbox is disabled for now
    "2.2": NOT_THIS_ONE_NOW,  # full
    "7.1": NOT_THIS_ONE_NOW,  # greylisted, mostly
    "4.5": THROTTLED,  # congested
    "7.28": THROTTLED,  # too many mails (IANA's registry of enhanced status codes)
}
"""Subject and detail of a 4.y.z. Whatever is missing is about the server: unavailable."""

_ENHANCED = re.compile(r"([245])\.(\d{1,3}\.\d{1,3})\b")
_LINE_END = re.compile(rb"\r\n|\r|\n")
_LEADING_DOT = re.compile(rb"(?m)^\.")


class Stage(IntEnum):
    """How far a transaction has come."""

    CONNECTING = 0
    SENDER = 1
    RECIPIENT = 2
    CONTENT = 3
    WRITTEN = 4
    """The content and its final dot may have arrived."""


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
    """Mail through one SMTP server. `from_email` may carry a name.

    `base_url`: `smtps://host:465` (TLS at once) or `smtp://host:587`, where `starttls` says whether TLS is
    demanded; without it nothing secret is sent, so a password needs it. `ca_file`: the authorities to
    trust instead of the system's. Raises ValueError for settings that cannot be meant.
    """

    name = "smtp"
    capabilities = Capabilities(
        channel=Channel.EMAIL,
        resolves=Resolves.NONE,
        settling_s=0,
        receipts=False,
        polls=False,
        sandbox="any server that keeps what it takes",
    )

    def __init__(
        self,
        *,
        base_url: str,
        from_email: str,
        username: str | None,
        password: str | None,
        starttls: bool,
        ca_file: Path | None,
    ) -> None:
        url = urlsplit(base_url)
        if url.scheme not in ("smtp", "smtps") or not url.hostname:
            raise ValueError("the base_url is not smtp://host:port or smtps://host:port")
        self._tls = url.scheme == "smtps"
        self._starttls = starttls and not self._tls
        if username and not (self._tls or self._starttls):
            raise ValueError("a user name and password are sent over TLS only: use smtps:// or starttls")
        self._host, self._port = url.hostname, url.port or (465 if self._tls else 587)
        self._from, self._sender = one_sender(from_email), parseaddr(from_email)[1]
        self._domain = self._sender.rpartition("@")[2].encode("idna").decode()
        self._username, self._password = username, password
        self._context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        self._places = asyncio.Semaphore(CONNECTIONS_MAX)
        self._idle: list[_Connection] = []

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Hand one mail over to the server."""
        to = message.target.address
        if not is_one_address(to):
            return SendResult(Outcome.REJECTED_RECIPIENT, code="address_malformed", asked=False)
        if timeout_s <= 0:
            return SendResult(Outcome.NOT_SENT, code="no_time_left")
        id = f"{message.attempt_ref}@{self._domain}"
        try:
            content = stuffed(letter_of(message, self._from, id))
        except ValueError:
            return SendResult(Outcome.REJECTED, code="content_malformed", about_provider=False, asked=False)
        progress = _Progress()
        try:
            async with asyncio.timeout(timeout_s):
                await self._transact(to, content, progress)
        except SMTPResponseException as error:
            return refused(error.code, error.message, progress.stage)
        except SMTPNotSupported:
            return SendResult(Outcome.REJECTED, code="extension_missing", about_provider=False)
        except Exception as error:
            # Whatever the library lets escape must not look like "nothing was sent".
            return unfinished(error, progress.stage)
        return SendResult(Outcome.ACCEPTED, provider_message_id=id)

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Found]:
        """Nothing: a server cannot be asked what it took."""
        return ()

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """None: there is no status query."""
        return None

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Refuse whatever comes: a mail server sends no callbacks."""
        raise CallbackRefused("callbacks_not_supported", "a mail server sends no callbacks")

    def address_of(self, device: Device) -> str | None:
        """Mail reaches no devices."""
        return None

    async def aclose(self) -> None:
        """Close connections."""
        while self._idle:
            self._idle.pop().client.close()
        # Closing TLS takes a turn of the loop.
        await asyncio.sleep(0)

    async def _transact(self, to: str, content: bytes, progress: _Progress) -> None:
        async with self._places:
            connection = await self._connect()
            try:
                await _converse(connection.client, self._sender, to, content, progress)
            except SMTPResponseException as error:
                if error.code in range(400, 600):
                    # A refusal ends the transaction and not the connection.
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
            # The clock of the whole call bounds every step.
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
    # Not by `client.data`: it does not tell a connection lost here from one lost after the dot.
    progress.stage = Stage.WRITTEN
    client.protocol.write(content)
    reply = await client.protocol.read_response()
    if reply.code != SMTPStatus.completed:
        raise SMTPDataError(reply.code, reply.message)


def letter_of(message: Message, sender: str, id: str) -> bytes:
    """The mail itself, in ASCII unless its address is not. Raises ValueError when it cannot be written.

    The date is the intent's: the same attempt is the same mail. `Auto-Submitted` keeps away answering
    machines (RFC 3834).
    """
    ascii_only = message.target.address.isascii() and parseaddr(sender)[1].isascii()
    rules = policy.SMTP if ascii_only else policy.SMTPUTF8
    letter = EmailMessage(policy=rules.clone(cte_type="7bit"))
    letter["From"] = sender
    letter["To"] = message.target.address
    letter["Subject"] = subject_of(message)
    letter["Date"] = format_datetime(message.intended_at)
    letter["Message-ID"] = f"<{id}>"
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(message.content.body)
    # As they are: folded to the usual line, a long address would become encoded words, which mailboxes do
    # not read as one (RFC 2369 allows none).
    links = "".join(f"{name}: {value}\r\n" for name, value in unsubscribing(message).items())
    return links.encode("ascii") + bytes(letter)


def stuffed(letter: bytes) -> bytes:
    """A mail as it follows `DATA`, with its final dot (RFC 5321, 4.5.2). Every line ends with CRLF: a bare
    CR or LF could end the mail early for another server (SMTP smuggling)."""
    lines = _LINE_END.sub(b"\r\n", letter).removesuffix(b"\r\n") + b"\r\n"
    return _LEADING_DOT.sub(b"..", lines) + b".\r\n"


def refused(code: int, text: str, stage: Stage) -> SendResult:
    """What a reply means that is no acceptance. Of its text only the extended code is kept."""
    if not 400 <= code < 600:
        outcome = Outcome.AMBIGUOUS if stage is Stage.WRITTEN else Outcome.NOT_SENT
        return SendResult(outcome, code="answer_malformed")
    found = _ENHANCED.match(text.strip())
    detail = found[2] if found and int(found[1]) == code // 100 else ""
    if code < 500:
        verdict = TRANSIENT.get(detail, UNAVAILABLE)
    else:
        # Before the recipient was named, a refusal is about us.
        about_mail = PERMANENT if stage >= Stage.RECIPIENT else {}
        verdict = about_mail.get(detail, REJECTED)
    return SendResult(
        verdict.outcome,
        code=f"smtp_{code}" + (f":{code // 100}.{detail}" if detail else ""),
        retry_after_s=verdict.retry_after_s,
        address_verdict=verdict.address,
        about_provider=verdict.about_provider,
    )


_FAILURES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (ssl.SSLCertVerificationError, "certificate"),
    (ssl.SSLError, "tls"),
    (socket.gaierror, "dns"),
    (ConnectionRefusedError, "connection_refused"),
    (TimeoutError, "timeout"),
    (OSError, "connection_lost"),
)


def unfinished(error: Exception, stage: Stage) -> SendResult:
    """What it means when no reply came: ambiguous once the content was written, nothing sent before."""
    outcome = Outcome.AMBIGUOUS if stage is Stage.WRITTEN else Outcome.NOT_SENT
    causes = (error.__cause__, error)
    codes = (code for kind, code in _FAILURES for cause in causes if isinstance(cause, kind))
    return SendResult(outcome, code=next(codes, "smtp_error"))
