"""The WhatsApp Cloud API in the contract suite."""

import itertools

from contract import Case, Refusal, over_http

from domain.outcome import Outcome
from providers.whatsapp import whatsapp_cloud

_numbers = itertools.count(2348090000000)

CASE = Case(
    name="whatsapp_cloud",
    recipient=lambda: f"+{next(_numbers)}",
    read_answer=over_http(whatsapp_cloud.parse_result),
    read_report={"callback": whatsapp_cloud.parse_receipt},
    refusals=(
        Refusal("+2348030009926", Outcome.REJECTED_RECIPIENT, "131026"),
        Refusal("+2348030009947", Outcome.REJECTED_RECIPIENT, "131047"),
        Refusal("+2348030009956", Outcome.THROTTLED, "131056"),
        Refusal("+2348030009930", Outcome.REJECTED, "131030"),
    ),
    # Meta's own header says when a limit ends (see the recorded answers).
    throttle_wait=False,
    lookup=False,
    polls=False,
    carries_ref=True,
    signature_headers=("x-hub-signature-256",),
    key_setting="APP_SECRET",
    replies=True,
)
