"""The size limit of push messages, to the byte."""

from datetime import UTC, datetime

import pytest

from domain.notification import Content, Target
from domain.outcome import Outcome
from providers.base import Message
from providers.push import apns, fcm
from providers.push.payload import BYTES_MAX, too_large

COUNTS = {
    "apns": lambda message: len(apns.build_payload(message)),
    "fcm": lambda message: fcm.payload_bytes(fcm.build_payload(message)),
}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def message(body: str) -> Message:
    return Message("ref.1", Target("token", "device"), Content(body), "otp", NOW, NOW)


def test_a_payload_above_the_limit_is_refused_by_the_adapter() -> None:
    assert too_large(BYTES_MAX) is None
    refused = too_large(BYTES_MAX + 1)
    assert refused is not None
    assert (refused.outcome, refused.code) == (Outcome.REJECTED, "payload_too_large")
    # It affects neither the provider's health nor the address.
    assert (refused.about_provider, refused.address_verdict, refused.http_status) == (False, "keep", None)
    assert too_large(4000, bytes_max=3993) is not None


@pytest.mark.parametrize("vendor", COUNTS)
def test_bytes_are_counted_as_they_are_sent(vendor: str) -> None:
    count = COUNTS[vendor]
    empty = count(message(""))
    assert count(message("x" * 100)) == empty + 100
    assert count(message("é" * 100)) == empty + 200
    assert count(message("👋" * 100)) == empty + 400
    assert count(message('"' * 100)) == empty + 200, "escaped"
