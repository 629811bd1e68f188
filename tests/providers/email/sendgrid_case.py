"""SendGrid in the contract suite."""

import itertools
import json
from pathlib import Path

from contract import Case, Refusal, over_http

from domain.outcome import Outcome
from providers.email import sendgrid, sendgrid_events

_numbers = itertools.count(1)

CASE = Case(
    name="sendgrid",
    recipient=lambda: f"contract.{next(_numbers)}@customers.example",
    read_answer=over_http(sendgrid.parse_result),
    read_report={
        "callback": sendgrid_events.parse_receipt,
        "logs": sendgrid_events.parse_logged_receipt,
        "activity": lambda detail: sendgrid_events.parse_activity_receipt(detail, "m"),
    },
    refusals=(
        Refusal(
            "invalid+contract@customers.example",
            Outcome.REJECTED_RECIPIENT,
            "http_400:personalizations.0.to.0.email",
        ),
        Refusal(
            "two@customers.example,three@customers.example", Outcome.REJECTED_RECIPIENT, "address_malformed"
        ),
    ),
    certain=True,
    carries_ref=True,
    signature_headers=(
        "x-twilio-email-event-webhook-signature",
        "x-twilio-email-event-webhook-timestamp",
    ),
    key_setting="WEBHOOK_PUBLIC_KEY",
    other_key=json.loads((Path(__file__).parent / "cases" / "sendgrid.json").read_text())["signature"][
        "another_public_key"
    ],
    signature_age_s=300,
    cut=Outcome.ACCEPTED,  # its acceptance has no body: the id is a header
)
