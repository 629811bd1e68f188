"""What a mail server's replies mean (RFC 5321), by their enhanced status codes (RFC 3463).

- A reply decides: 4yz is "not now", 5yz is "no", at every stage, including the reply to the final dot.
  Without a reply, a send is ambiguous once the content was written, and nothing was sent before that
  (RFC 5321, 4.5.3.2 and 6.1).
- An enhanced code says whether a refusal is about the recipient, this mail, or us. Without one it is never
  taken to be about the recipient: 550 means policy as often as an unknown mailbox.
"""

import re
import socket
import ssl
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from domain.outcome import Outcome, SendResult
from providers.base import CodeMeaning
from providers.code_meanings import (
    BAD_RECIPIENT,
    GONE,
    NOT_THIS_MESSAGE,
    NOT_THIS_ONE_NOW,
    REJECTED,
    THROTTLED,
    UNAVAILABLE,
)


class Stage(IntEnum):
    """How far a transaction has got."""

    CONNECTING = 0
    SENDER = 1
    RECIPIENT = 2
    CONTENT = 3
    WRITTEN = 4
    """The content and its final dot may have arrived."""


PERMANENT: Final[Mapping[str, CodeMeaning]] = {
    "1.1": GONE,  # no such mailbox
    "1.2": GONE,  # no such domain
    "1.3": BAD_RECIPIENT,  # bad address syntax
    "1.6": GONE,  # moved, with no forwarding address
    "1.10": GONE,  # the domain accepts no mail (RFC 7505)
    "2.1": GONE,  # the mailbox is disabled
    "2.2": BAD_RECIPIENT,  # full
    "2.3": NOT_THIS_MESSAGE,  # too large for the mailbox
    "3.4": NOT_THIS_MESSAGE,  # too large for the server
    "6.0": NOT_THIS_MESSAGE,
    "6.1": NOT_THIS_MESSAGE,
    "6.3": NOT_THIS_MESSAGE,
}
"""Subject and detail of a 5.y.z for a recipient or a content. Any other is policy (5.7.z), or about the
server or our settings: rejected."""

TRANSIENT: Final[Mapping[str, CodeMeaning]] = {
    "2.1": NOT_THIS_ONE_NOW,  # the mailbox is disabled for now
    "2.2": NOT_THIS_ONE_NOW,  # full
    "7.1": NOT_THIS_ONE_NOW,  # greylisted, mostly
    "4.5": THROTTLED,  # congested
    "7.28": THROTTLED,  # too many mails (IANA's registry of enhanced status codes)
}
"""Subject and detail of a 4.y.z. Any other is about the server: unavailable."""

_ENHANCED = re.compile(r"([245])\.(\d{1,3}\.\d{1,3})\b")


def parse_result(code: int, text: str, stage: Stage) -> SendResult:
    """The result of a send that the server did not accept. Only the enhanced code is kept of the text."""
    if not 400 <= code < 600:
        outcome = Outcome.AMBIGUOUS if stage is Stage.WRITTEN else Outcome.NOT_SENT
        return SendResult(outcome, code="answer_malformed")
    found = _ENHANCED.match(text.strip())
    detail = found[2] if found and int(found[1]) == code // 100 else ""
    if code < 500:
        meaning = TRANSIENT.get(detail, UNAVAILABLE)
    else:
        # Before RCPT TO, a refusal is about us.
        about_mail = PERMANENT if stage >= Stage.RECIPIENT else {}
        meaning = about_mail.get(detail, REJECTED)
    return SendResult(
        meaning.outcome,
        code=f"smtp_{code}" + (f":{code // 100}.{detail}" if detail else ""),
        retry_after_s=meaning.retry_after_s,
        address_verdict=meaning.address,
        about_provider=meaning.about_provider,
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
    """The result of a send without a reply: ambiguous once the content was written, not sent before that."""
    outcome = Outcome.AMBIGUOUS if stage is Stage.WRITTEN else Outcome.NOT_SENT
    causes = (error.__cause__, error)
    codes = (code for kind, code in _FAILURES for cause in causes if isinstance(cause, kind))
    return SendResult(outcome, code=next(codes, "smtp_error"))
