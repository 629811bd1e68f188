"""Replies of users to our senders: only words that stop or restart sending count."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from domain.notification import Channel


class Word(StrEnum):
    """What a reply asks for."""

    STOP = "stop"
    START = "start"


_STOPS: Final = (
    *("stop", "stopall", "stop all", "unsubscribe", "cancel", "end", "quit"),
    *("revoke", "optout", "opt out"),
)
_STARTS: Final = ("start", "unstop", "subscribe")

WORDS: Final[Mapping[str, Word]] = {
    **dict.fromkeys(_STOPS, Word.STOP),
    **dict.fromkeys(_STARTS, Word.START),
}
"""Replies that count, in lower case: those that carriers and Twilio act upon in English (SMS STOP filtering),
except `yes`, which answers many questions."""

_NUMBER: Final = re.compile(r"\+?([1-9][0-9]{6,14})")
_AROUND: Final = " \t\r\n.,;:!'\"()"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply that counts, reduced to what may be kept: sender, channel and word.

    `event_key` is the vendor's id, by which a repeated reply is recognised; None if it has no id.
    `said_at`: when it was sent, by the vendor's clock; None if the vendor does not report it.
    """

    channel: Channel
    address: str
    word: Word
    event_key: str | None = None
    said_at: datetime | None = None


def word_of(text: object, more: Mapping[str, Word] | None = None) -> Word | None:
    """The word that a reply consists of, ignoring case and punctuation; None for any other text.

    "STOP please" does not count: carriers ignore it too. `more` are a vendor's additional words.
    """
    words = " ".join(text.strip(_AROUND).lower().split()) if isinstance(text, str) and len(text) < 100 else ""
    return (more or {}).get(words) or WORDS.get(words)


def number_of(value: object) -> str | None:
    """A number in E.164, with or without its plus, as vendors write it; None for anything else."""
    found = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    return f"+{found[1]}" if found else None
