"""What makes a second copy of a push harmless where a vendor has no idempotency key and no look-up."""

from domain.ids import parse_attempt_ref

BYTES_MAX = 64
"""The maximum length of `apns-collapse-id`."""


def replacement_id(attempt_ref: str) -> str:
    """What all attempts of one delivery share, with every push vendor: the delivery's id.

    A device shows one notification for it, no matter how many copies reach it, and from which vendor.
    """
    parsed = parse_attempt_ref(attempt_ref)
    return str(parsed[0]) if parsed else attempt_ref.encode()[:BYTES_MAX].decode(errors="ignore")
