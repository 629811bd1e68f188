"""Shared by the tests with official SDKs: a base URL, and the unchanged callbacks of one message."""

from collections.abc import Sequence

from contract import CASES, Vendors, message

from domain.outcome import Outcome, ReceiptStatus
from providers.base import CallbackRequest, Message

BUDGET_S = 5.0


def base_url(vendors: Vendors, name: str) -> str:
    """The URL of the vendor's simulator."""
    return vendors.variables[f"HERALD_PROVIDERS__{name.upper()}__BASE_URL"]


async def callbacks_of(vendors: Vendors, name: str) -> tuple[Message, Sequence[CallbackRequest]]:
    """A message that the adapter sent, and the simulator's callbacks about it."""
    provider, sent = vendors.providers[name], message(CASES[name], vendors.listener.url)
    assert (await provider.send(sent, timeout_s=BUDGET_S)).outcome is Outcome.ACCEPTED
    receipts = await vendors.listener.receipts(
        provider,
        lambda receipts: any(
            (r.attempt_ref, r.status) == (sent.attempt_ref, ReceiptStatus.DELIVERED) for r in receipts
        ),
    )
    return sent, [request for request, receipt in receipts if receipt.attempt_ref == sent.attempt_ref]
