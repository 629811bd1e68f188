"""The usual meanings of vendors' codes: the values of the adapters' translation tables."""

from typing import Final

from domain.outcome import AddressVerdict, Outcome
from providers.base import CodeMeaning

ACCEPTED: Final = CodeMeaning(Outcome.ACCEPTED)
REJECTED: Final = CodeMeaning(Outcome.REJECTED)
"""Refused because of our configuration: credentials, sender, account. The next message will be too."""
NOT_THIS_MESSAGE: Final = CodeMeaning(Outcome.REJECTED, about_provider=False)
"""Refused because of this message or its destination; others pass. Another provider may accept it."""
BAD_RECIPIENT: Final = CodeMeaning(Outcome.REJECTED_RECIPIENT, about_provider=False)
"""No provider can send to this recipient. The address stays: it may be a typo, or temporary."""
OBJECTED: Final = CodeMeaning(Outcome.REJECTED_RECIPIENT, AddressVerdict.SUPPRESS, about_provider=False)
"""The recipient wants no more messages from us."""
STOPPED: Final = CodeMeaning(Outcome.REJECTED_RECIPIENT, AddressVerdict.STOPPED, about_provider=False)
"""The recipient replied STOP, and may reply START."""
GONE: Final = OBJECTED
"""The address no longer exists: it is suppressed too."""
DEAD_TOKEN: Final = CodeMeaning(
    Outcome.REJECTED_RECIPIENT, AddressVerdict.DEACTIVATE_TOKEN, about_provider=False
)
THROTTLED: Final = CodeMeaning(Outcome.THROTTLED)
UNAVAILABLE: Final = CodeMeaning(Outcome.UNAVAILABLE)
NOT_THIS_ONE_NOW: Final = CodeMeaning(Outcome.UNAVAILABLE, about_provider=False)
"""Temporarily unavailable because of this recipient."""
AMBIGUOUS: Final = CodeMeaning(Outcome.AMBIGUOUS)
