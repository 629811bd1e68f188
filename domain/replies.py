"""What people answer to our senders: of all their words, only those that begin and end it count."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from domain.notification import Channel


class Word(StrEnum):
    """What an answer asks for."""

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
"""Answers that count, in lower case: those that carriers and Twilio act upon in English (SMS STOP filtering),
but for `yes`, which is an answer to many questions."""

_NUMBER: Final = re.compile(r"\+?([1-9][0-9]{6,14})")
_AROUND: Final = " \t\r\n.,;:!'\"()"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer that counts, reduced to what may be kept: who said it, where, and which word.

    `event_key` is the vendor's id of it, by which a repeated one is known; None where it has none.
    `said_at`: when, by the vendor's clock; None where it does not say.
    """

    channel: Channel
    address: str
    word: Word
    event_key: str | None = None
    said_at: datetime | None = None


def word_of(text: object, more: Mapping[str, Word] | None = None) -> Word | None:
    """The word that an answer consists of, whatever its case and the stops around it; None for all others.

    "STOP please" is none: the carriers do not take it for one either. `more` are a vendor's own words.
    """
    said = " ".join(text.strip(_AROUND).lower().split()) if isinstance(text, str) and len(text) < 100 else ""
    return (more or {}).get(said) or WORDS.get(said)


def number_of(value: object) -> str | None:
    """A number in E.164, as vendors write it with or without its plus; None for anything else."""
    found = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    return f"+{found[1]}" if found else None
