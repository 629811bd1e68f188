"""What people answer to a number of Twilio: received messages, as "Twilio's request to your webhook" and "SMS
STOP filtering" describe them.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from domain.notification import Channel
from domain.replies import Reply, Word, number_of, word_of

OPT_OUT_TYPES: Final[Mapping[str, Word | None]] = {"STOP": Word.STOP, "START": Word.START, "HELP": None}
"""What Twilio itself took a message for; only services with Advanced Opt-Out are told."""

WORDS: Final[Mapping[str, Word]] = {
    **dict.fromkeys(("arret", "arrêt", "arrete", "arrett"), Word.STOP),
    # It lifts a STOP at Twilio, whatever the question was.
    "yes": Word.START,
}
"""Words that Twilio acts upon beside those of everybody."""

_SID: Final = re.compile(r"(SM|MM)[0-9a-fA-F]{32}")


def reply_of(fields: Mapping[str, Any]) -> Reply | None:
    """A callback's fields as a reply; None when they are a status, or a message that is neither word."""
    if "MessageStatus" in fields or "Body" not in fields:
        return None
    told = fields.get("OptOutType")
    word = OPT_OUT_TYPES[told] if told in OPT_OUT_TYPES else word_of(fields["Body"], WORDS)
    sid, said_by = str(fields.get("MessageSid") or fields.get("SmsSid")), number_of(fields.get("From"))
    if word is None or said_by is None or not _SID.fullmatch(sid):
        return None
    return Reply(Channel.SMS, said_by, word, event_key=sid)
