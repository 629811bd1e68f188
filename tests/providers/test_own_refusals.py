"""Messages that adapters refuse themselves: the vendor gets no request and its health does not change."""

import pytest
from contract import CASES, Vendors, message

from domain.outcome import Outcome

BUDGET_S = 5.0
TWO = "two@customers.example,three@customers.example"


@pytest.mark.parametrize(
    ("name", "to", "text"),
    [
        ("sendgrid", TWO, None),
        ("mailgun", TWO, None),
        ("resend", TWO, None),
        ("smtp", TWO, None),
        ("fcm", None, "x" * 5000),
        ("apns", None, "x" * 5000),
        ("webpush", None, "x" * 5000),
        ("whatsapp_cloud", None, "x" * 5000),
    ],
)
async def test_no_request_is_sent(vendors: Vendors, name: str, to: str | None, text: str | None) -> None:
    sent = message(CASES[name], vendors.listener.url, to, text)
    result = await vendors.providers[name].send(sent, timeout_s=BUDGET_S)
    assert result.outcome in (Outcome.REJECTED, Outcome.REJECTED_RECIPIENT)
    assert not result.asked
    assert not await vendors.simulators.requests(name, sent.target.address)
    assert not await vendors.simulators.messages(name, sent.target.address)


async def test_a_refusal_by_the_vendor_has_a_request(vendors: Vendors) -> None:
    for case in CASES.values():
        for refusal in case.refusals:
            result = await vendors.providers[case.name].send(
                message(case, vendors.listener.url, refusal.to), timeout_s=BUDGET_S
            )
            assert result.asked == (refusal.code != "address_malformed"), (case.name, refusal)
