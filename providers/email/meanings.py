"""What a mail vendor's word for an event can mean for a mail, for the vendors' translation tables."""

from dataclasses import dataclass
from typing import Final

from domain.outcome import AddressVerdict, ReceiptStatus


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a receipt says. `permanent`: no provider would reach the recipient."""

    status: ReceiptStatus
    permanent: bool = False
    address: AddressVerdict = AddressVerdict.KEEP


QUEUED: Final = Meaning(ReceiptStatus.QUEUED)
DELIVERED: Final = Meaning(ReceiptStatus.DELIVERED)
OBJECTED: Final = Meaning(ReceiptStatus.DELIVERED, address=AddressVerdict.SUPPRESS)
"""It arrived, and the recipient wants no more of them."""
FAILED_HERE: Final = Meaning(ReceiptStatus.UNDELIVERED)
"""This vendor could not deliver it; another one may."""
BAD_ADDRESS: Final = Meaning(ReceiptStatus.UNDELIVERED, permanent=True, address=AddressVerdict.SUPPRESS)
