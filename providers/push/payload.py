"""The size limit of a push message. A larger one is refused here, without asking the vendor."""

from typing import Final

from domain.outcome import Outcome, SendResult

BYTES_MAX: Final = 4096
"""The limit of FCM and APNs, each counted its own way, and of an encrypted Web Push body (RFC 8030, 7.2)."""


def too_large(size_bytes: int, bytes_max: int = BYTES_MAX) -> SendResult | None:
    """The refusal of a payload of this size; None when it fits.

    It says nothing about the provider's health. Other vendors count differently, so the next one may accept
    it.
    """
    if size_bytes <= bytes_max:
        return None
    return SendResult(Outcome.REJECTED, code="payload_too_large", about_provider=False, asked=False)
