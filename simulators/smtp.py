"""A small SMTP server (RFC 5321) with STARTTLS and AUTH PLAIN, on its own port.

It delivers no mail, but shows it: a mail's id is its Message-ID, and its reference is the part of that
before the `@`. It reports nothing later. Magic recipients, by the part before `@` (anything after a `+` is
ignored):

    unknown@…     550 5.1.1 at RCPT        disabled@…  550 5.2.1 at RCPT
    full@…        552 5.2.2 at RCPT        relay@…     554 5.7.1 at RCPT
    plain@…       550 at RCPT, without an enhanced code
    greylisted@…  451 4.7.1 at RCPT        spam@…      554 5.7.1 after the final dot
    large@…       552 5.3.4 after the dot  busy@…      451 4.3.0 after the dot

Faults apply once the recipient is known. The `status` of a fault is the reply code, and its `code` the
enhanced one; 429, which SMTP does not have, becomes 451 4.7.28. `stage` says where (simulators/faults.py).
`black_hole` and `reset` at the dot leave the content unprocessed; `malformed` is not a valid reply, `cut` is
half of one.
"""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy
from typing import Any

from aiohttp import web

from simulators import credentials
from simulators.base import BLACK_HOLE_S_MAX, HTML, Received, SimulatorContext, reset_when_closed
from simulators.faults import Fault, Kind, Strike
from simulators.mail import MailSimulator, is_address, magic_part

USERNAME = "herald"
PASSWORD = "simulated-smtp-password"
FROM_EMAIL = "Herald <notices@smtp.herald.example>"
MAIL_BYTES_MAX = 10 * 1024 * 1024

AT_RCPT: Mapping[str, str] = {
    "unknown": "550 5.1.1 No such mailbox",
    "disabled": "550 5.2.1 The mailbox is disabled",
    "full": "552 5.2.2 The mailbox is full",
    "relay": "554 5.7.1 Relaying denied",
    "plain": "550 Mailbox unavailable",
    "greylisted": "451 4.7.1 Try again later",
}
AT_DOT: Mapping[str, str] = {
    "spam": "554 5.7.1 The content is not wanted",
    "large": "552 5.3.4 The mail is too large",
    "busy": "451 4.3.0 Try again later",
}


class Smtp(MailSimulator):
    """The server. It listens only when the process has a port for it."""

    name = "smtp"

    def __init__(self, context: SimulatorContext) -> None:
        super().__init__(context)
        keys = credentials.write(context.state_dir)
        self._ca_file = keys.apns_ca_file
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(keys.apns_server_file)
        self._server: asyncio.Server | None = None
        self.port: int | None = None
        self.connections = 0
        """The number of connections opened so far."""
        self._open: set[asyncio.StreamWriter] = set()

    def routes(self) -> Sequence[web.RouteDef]:
        return []

    def settings(self, base_url: str) -> dict[str, str]:
        if self.port is None:
            return {}
        prefix = "HERALD_PROVIDERS__SMTP__"
        return {
            f"{prefix}BASE_URL": f"smtp://{self.context.host}:{self.port}",
            f"{prefix}FROM_EMAIL": FROM_EMAIL,
            f"{prefix}USERNAME": USERNAME,
            f"{prefix}PASSWORD": PASSWORD,
            f"{prefix}CA_FILE": str(self._ca_file),
        }

    def refusal(self, fault: Fault) -> web.Response:
        """Never called: this vendor has no HTTP API."""
        return web.Response(status=fault.status or 500)

    async def start(self) -> None:
        if self.context.smtp_port is not None:
            host, port = self.context.host, self.context.smtp_port
            self._server = await asyncio.start_server(self._serve, host, port, limit=MAIL_BYTES_MAX)
            self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        self.hang_up_on_all()

    def hang_up_on_all(self) -> None:
        """Close every connection, whatever its state."""
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await Conversation(self, reader, writer).run()
        finally:
            self._open.discard(writer)
            writer.close()


@dataclass(slots=True)
class Envelope:
    """A mail being received."""

    sender: str
    to: str | None = None
    strike: Strike = Strike()  # noqa: RUF009 (immutable)

    def fault_at(self, stage: str, *kinds: Kind) -> Fault | None:
        """The fault that applies here, if it is of one of these kinds."""
        fault = self.strike.fault
        if fault is None or fault.kind not in kinds:
            return None
        refusal = fault.kind in (Kind.STATUS, Kind.ERROR_RATE)
        return fault if (fault.stage or ("rcpt" if refusal else "dot")) == stage else None


class Conversation:
    """One connection, command by command."""

    def __init__(self, vendor: Smtp, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._vendor, self._reader, self._writer = vendor, reader, writer
        self._encrypted = self._known = self._ended = False
        self._mail: Envelope | None = None
        self._verbs: Mapping[str, Callable[[str], Coroutine[Any, Any, None]]] = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._from,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "QUIT": self._quit,
        }

    async def run(self) -> None:
        """Answer until either side closes the connection."""
        await self._reply("220 simulated.herald.example ESMTP")
        while not self._ended:
            line = await self._line()
            verb, _, rest = line.partition(" ")
            await self._verbs.get(verb.upper(), self._unknown)(rest)

    async def _line(self) -> str:
        return (await self._reader.readuntil(b"\r\n")).decode("utf-8", "replace").removesuffix("\r\n")

    async def _reply(self, *lines: str) -> None:
        for line in lines[:-1]:
            self._writer.write(f"{line[:3]}-{line[4:]}\r\n".encode())
        self._writer.write(f"{lines[-1]}\r\n".encode())
        await self._writer.drain()

    async def _ehlo(self, _: str) -> None:
        offered = ["250 AUTH PLAIN"] if self._encrypted else ["250 STARTTLS"]
        size = f"250 SIZE {MAIL_BYTES_MAX}"
        extensions = ("250 8BITMIME", "250 SMTPUTF8", "250 ENHANCEDSTATUSCODES")
        await self._reply("250 simulated.herald.example", size, *offered, *extensions)

    async def _helo(self, _: str) -> None:
        await self._reply("250 simulated.herald.example")

    async def _starttls(self, _: str) -> None:
        if self._encrypted:
            await self._reply("503 5.5.1 TLS is on")
            return
        await self._reply("220 2.0.0 Go ahead")
        await self._writer.start_tls(self._vendor.tls)
        self._encrypted, self._mail = True, None

    async def _auth(self, rest: str) -> None:
        mechanism, _, given = rest.partition(" ")
        if not self._encrypted:
            await self._reply("538 5.7.11 Encryption required")
            return
        if mechanism.upper() != "PLAIN":
            await self._reply("504 5.5.4 Only PLAIN")
            return
        if not given:
            await self._reply("334 ")
            given = await self._line()
        expected = base64.b64encode(f"\0{USERNAME}\0{PASSWORD}".encode()).decode()
        self._known = given == expected
        await self._reply("235 2.7.0 Welcome" if self._known else "535 5.7.8 Wrong credentials")

    async def _from(self, rest: str) -> None:
        if not self._known:
            await self._reply("530 5.7.0 Authentication required")
            return
        self._mail = Envelope(_path_in(rest, "FROM:"))
        await self._reply("250 2.1.0 OK")

    async def _rcpt(self, rest: str) -> None:
        if self._mail is None or self._mail.to is not None:
            # Herald sends each mail to one recipient.
            await self._reply("503 5.5.1 MAIL first, then one RCPT")
            return
        to = _path_in(rest, "TO:")
        strike = self._vendor.faults.strike(to)
        self._mail = Envelope(self._mail.sender, to, strike)
        if await self._struck("rcpt"):
            return
        refused = "501 5.1.3 Not an address" if not is_address(to) else AT_RCPT.get(magic_part(to))
        if refused:
            await self._refuse(refused)
            return
        await self._reply("250 2.1.5 OK")

    async def _data(self, _: str) -> None:
        if self._mail is None or self._mail.to is None:
            await self._reply("503 5.5.1 RCPT first")
            return
        if await self._struck("data"):
            return
        await self._reply("354 Go on")
        content = await self._content()
        await self._vendor.delay(self._mail.strike.latency_s)
        if await self._struck("dot"):
            return
        if refused := AT_DOT.get(magic_part(self._mail.to)):
            await self._refuse(refused)
            return
        await self._vendor.accept(_received(self._mail.to, content))
        await self._answer(self._mail)
        self._mail = None

    async def _content(self) -> bytes:
        lines: list[bytes] = []
        while (line := await self._reader.readuntil(b"\r\n")) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        return b"".join(lines)

    async def _answer(self, mail: Envelope) -> None:
        """The reply to a processed mail, unless a fault suppresses it."""
        kinds = (Kind.ACCEPT_THEN_CLOSE, Kind.ACCEPT_THEN_STALL, Kind.MALFORMED, Kind.CUT)
        fault = mail.fault_at("dot", *kinds)
        if fault and fault.kind is Kind.ACCEPT_THEN_CLOSE:
            self._hang_up()
            return
        if fault and fault.kind is Kind.CUT:
            self._writer.write(b"250 2.0")
            await self._writer.drain()
            self._ended = True
            self._writer.close()
            return
        if fault and fault.kind is Kind.ACCEPT_THEN_STALL:
            await self._vendor.delay(fault.latency_s)
        await self._reply(HTML if fault and fault.kind is Kind.MALFORMED else "250 2.0.0 Queued")

    async def _struck(self, stage: str) -> bool:
        """Apply the mail's fault if this is its stage. Returns whether it applied."""
        assert self._mail
        fault = self._mail.fault_at(stage, Kind.STATUS, Kind.ERROR_RATE, Kind.BLACK_HOLE, Kind.RESET)
        if fault is None:
            return False
        if fault.kind in (Kind.STATUS, Kind.ERROR_RATE):
            status = 451 if fault.status == 429 else fault.status or 451
            code = fault.code or ("4.7.28" if fault.status == 429 else None)
            await self._refuse(f"{status} {code} Simulated" if code else f"{status} Simulated")
            return True
        self._vendor.refuse(self._mail.to or "", 0, fault.kind)
        if fault.kind is Kind.RESET:
            reset_when_closed(self._writer.transport)
        else:
            with contextlib.suppress(TimeoutError, OSError):
                await asyncio.wait_for(self._reader.read(1), BLACK_HOLE_S_MAX)
        self._hang_up()
        return True

    async def _refuse(self, reply: str) -> None:
        assert self._mail
        words = reply.split(" ")
        code = words[1] if words[1][:2] in ("4.", "5.") else None
        self._vendor.refuse(self._mail.to or "", int(words[0]), code)
        self._mail = None
        await self._reply(reply)

    def _hang_up(self) -> None:
        self._ended = True
        self._writer.transport.abort()

    async def _rset(self, _: str) -> None:
        self._mail = None
        await self._reply("250 2.0.0 OK")

    async def _noop(self, _: str) -> None:
        await self._reply("250 2.0.0 OK")

    async def _quit(self, _: str) -> None:
        self._ended = True
        await self._reply("221 2.0.0 Bye")

    async def _unknown(self, _: str) -> None:
        await self._reply("500 5.5.1 Unknown command")


def _path_in(rest: str, keyword: str) -> str:
    """The address in `FROM:<…>` or `TO:<…>`, without parameters."""
    path = rest[len(keyword) :].strip() if rest[: len(keyword)].upper() == keyword else ""
    return path.partition(">")[0].removeprefix("<")


def _received(to: str, content: bytes) -> Received:
    mail = message_from_bytes(content, policy=policy.default)
    body = mail.get_body(("plain",))
    id = str(mail["Message-ID"]).strip("<> ")
    return Received(
        id=id,
        to=to,
        text=(body.get_content() if body else "").replace("\r\n", "\n").removesuffix("\n"),
        title=str(mail["Subject"]),
        ref=id.partition("@")[0],
        status="accepted",
        headers=dict(mail.items()),
        vendor={"raw": content},
    )
