"""The fields of a mail, made safe once for every mail provider."""

import hashlib
import re
from email.utils import getaddresses
from typing import Final

from providers.base import Message

REFERENCE: Final = "herald_ref"
"""The name under which a vendor returns our attempt reference."""

SUBJECT_CHARS_MAX: Final = 200
ADDRESS_CHARS_MAX: Final = 254
"""RFC 5321, 4.5.3.1.3, without the angle brackets."""

_BREAKS = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]+")
_REFERENCE_FORM = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_KEY_FORM = re.compile(r"[\x21-\x7e]{1,200}")
_NOT_ONE_ADDRESS = re.compile(r'[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff,;:<>()\[\]"\\]')


def subject_of(message: Message) -> str:
    """The subject of a mail: the content's title on one line, else the notification type in words.

    Line breaks and other control characters become spaces, so that a title cannot add header fields.
    """
    title = _BREAKS.sub(" ", message.content.title or "").strip()
    if not title:
        title = re.sub(r"[\W_]+", " ", message.type).strip().capitalize() or "Notification"
    return title[:SUBJECT_CHARS_MAX].rstrip()


def unsubscribing(message: Message) -> dict[str, str]:
    """The header fields for unsubscribing with one click (RFC 2369, RFC 8058).

    Empty where the recipient cannot unsubscribe. Mailboxes honour them only under a DKIM signature.
    """
    if message.unsubscribe_url is None:
        return {}
    return {
        "List-Unsubscribe": f"<{message.unsubscribe_url}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def is_one_address(address: str) -> bool:
    """Whether the text can be given to a vendor as exactly one recipient.

    Vendors accept lists and display names in their recipient fields, and header lines in the worst case.
    Everything else about the address was checked when it was accepted.
    """
    local, _, domain = address.rpartition("@")
    return (
        bool(local and domain) and len(address) <= ADDRESS_CHARS_MAX and not _NOT_ONE_ADDRESS.search(address)
    )


def one_sender(from_email: str) -> str:
    """The configured sender, with or without a name. Raises ValueError unless it is one address."""
    found = getaddresses([from_email])
    if len(found) != 1 or not is_one_address(found[0][1]) or not from_email.isprintable():
        raise ValueError("from_email must be one address, optionally with a name: Name <address>")
    return from_email


def reference_in(variables: object) -> str | None:
    """Our attempt reference among the variables that a vendor returned, if it is there."""
    value = variables.get(REFERENCE) if isinstance(variables, dict) else None
    return value if isinstance(value, str) and _REFERENCE_FORM.fullmatch(value) else None


def event_key_of(*parts: object) -> str:
    """A key for a report, unique within its provider: the vendor's id of it, or parts that identify it.

    One that cannot be stored unchanged (control characters, lone surrogates, too long) is replaced by its
    hash.
    """
    key = ":".join(str(part) for part in parts)
    if _KEY_FORM.fullmatch(key):
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
