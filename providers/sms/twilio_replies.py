"""Replies to a Twilio number: received messages, as "Twilio's request to your webhook" and "SMS STOP
filtering" describe them.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from domain.notification import Channel
from domain.replies import Reply, Word, number_of, word_of

OPT_OUT_TYPES: Final[Mapping[str, Word | None]] = {"STOP": Word.STOP, "START": Word.START, "HELP": None}
"""How Twilio itself read a message; only services with Advanced Opt-Out get it."""

WORDS: Final[Mapping[str, Word]] = {
    **dict.fromkeys(("arret", "arrêt", "arrete", "arrett"), Word.STOP),
    # Twilio lifts a STOP for it, in any context.
    "yes": Word.START,
}
"""Words that Twilio acts on besides the common ones."""

_SID: Final = re.compile(r"(SM|MM)[0-9a-fA-F]{32}")


def parse_reply(fields: Mapping[str, Any]) -> Reply | None:
    """A callback's fields as a reply; None for a status, or a message that says neither STOP nor START."""
    if "MessageStatus" in fields or "Body" not in fields:
        return None
    opt_out_type = fields.get("OptOutType")
    word = OPT_OUT_TYPES[opt_out_type] if opt_out_type in OPT_OUT_TYPES else word_of(fields["Body"], WORDS)
    sid, said_by = str(fields.get("MessageSid") or fields.get("SmsSid")), number_of(fields.get("From"))
    if word is None or said_by is None or not _SID.fullmatch(sid):
        return None
    return Reply(Channel.SMS, said_by, word, event_key=sid)
