"""What makes a second copy of a push harmless where it can be neither refused nor looked up."""

from domain.ids import parse_attempt_ref

BYTES_MAX = 64
"""APNs takes no longer `apns-collapse-id`."""


def replacement_id(attempt_ref: str) -> str:
    """What all attempts of one delivery share, over every push vendor: the delivery's id.

    A device shows one notification for it, however many copies reach it, and by whatever vendor.
    """
    parsed = parse_attempt_ref(attempt_ref)
    return str(parsed[0]) if parsed else attempt_ref.encode()[:BYTES_MAX].decode(errors="ignore")
