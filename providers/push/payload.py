"""How much one push message may carry. What is larger is refused here: no vendor is asked in vain."""

from typing import Final

from domain.outcome import Outcome, SendResult

BYTES_MAX: Final = 4096
"""The limit of FCM and APNs, each by its own count, and of a Web Push body (RFC 8030, 7.2) with all that
encryption adds to its text."""


def too_large(size_bytes: int, bytes_max: int = BYTES_MAX) -> SendResult | None:
    """The refusal of a payload of this size; None when it fits.

    It is about this message, and says nothing of the provider's health. Another vendor counts differently,
    so the next one may be asked.
    """
    if size_bytes <= bytes_max:
        return None
    return SendResult(Outcome.REJECTED, code="payload_too_large", about_provider=False, asked=False)
