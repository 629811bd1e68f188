"""What a mail vendor's event can mean for a mail: the values of the translation tables."""

from dataclasses import dataclass
from typing import Final

from domain.outcome import AddressVerdict, ReceiptStatus


@dataclass(frozen=True, slots=True)
class EventMeaning:
    """What an event says about a mail. `permanent`: no provider could reach the recipient."""

    status: ReceiptStatus
    permanent: bool = False
    address: AddressVerdict = AddressVerdict.KEEP


QUEUED: Final = EventMeaning(ReceiptStatus.QUEUED)
DELIVERED: Final = EventMeaning(ReceiptStatus.DELIVERED)
OBJECTED: Final = EventMeaning(ReceiptStatus.DELIVERED, address=AddressVerdict.SUPPRESS)
"""It arrived, and the recipient wants no more mail from us."""
FAILED_HERE: Final = EventMeaning(ReceiptStatus.UNDELIVERED)
"""This vendor could not deliver it; another one might."""
BAD_ADDRESS: Final = EventMeaning(ReceiptStatus.UNDELIVERED, permanent=True, address=AddressVerdict.SUPPRESS)
