"""What vendors' codes have in common, for the adapters' translation tables."""

from typing import Final

from domain.outcome import AddressVerdict, Outcome
from providers.base import Verdict

ACCEPTED: Final = Verdict(Outcome.ACCEPTED)
REJECTED: Final = Verdict(Outcome.REJECTED)
"""Refused as we are configured there: credentials, sender, account. The next message fares no better."""
NOT_THIS_MESSAGE: Final = Verdict(Outcome.REJECTED, about_provider=False)
"""Refused for what this message is, or for where it goes; others pass. Another provider may take it."""
BAD_RECIPIENT: Final = Verdict(Outcome.REJECTED_RECIPIENT, about_provider=False)
"""Nobody can send to this recipient. The address stays: it may be a slip, or a thing of today."""
OBJECTED: Final = Verdict(Outcome.REJECTED_RECIPIENT, AddressVerdict.SUPPRESS, about_provider=False)
"""The recipient wants nothing more from us."""
STOPPED: Final = Verdict(Outcome.REJECTED_RECIPIENT, AddressVerdict.STOPPED, about_provider=False)
"""The recipient told the sender to stop, and may tell it to start again."""
GONE: Final = OBJECTED
"""The address is no more: it is suppressed as well."""
DEAD_TOKEN: Final = Verdict(Outcome.REJECTED_RECIPIENT, AddressVerdict.DEACTIVATE_TOKEN, about_provider=False)
THROTTLED: Final = Verdict(Outcome.THROTTLED)
UNAVAILABLE: Final = Verdict(Outcome.UNAVAILABLE)
NOT_THIS_ONE_NOW: Final = Verdict(Outcome.UNAVAILABLE, about_provider=False)
"""Not now, for a reason that lies with this recipient."""
AMBIGUOUS: Final = Verdict(Outcome.AMBIGUOUS)
