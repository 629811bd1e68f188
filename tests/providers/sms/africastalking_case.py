"""Africa's Talking in the contract suite."""

import itertools

from contract import Case, Refusal, over_http

from domain.outcome import AddressVerdict, Outcome
from providers.sms import africastalking

_numbers = itertools.count(254712000000)

CASE = Case(
    name="africastalking",
    recipient=lambda: f"+{next(_numbers)}",
    read_answer=over_http(africastalking.parse_result),
    read_report={"callback": africastalking.parse_receipt},
    refusals=(
        Refusal("+254700000000", Outcome.REJECTED, "sent_to_none"),
        Refusal("+254700000401", Outcome.REJECTED, "risk_hold"),
        Refusal("+254700000403", Outcome.REJECTED_RECIPIENT, "invalid_phone_number"),
        Refusal("+254700000404", Outcome.REJECTED_RECIPIENT, "unsupported_number_type"),
        Refusal("+254700000405", Outcome.REJECTED, "insufficient_balance"),
        Refusal("+254700000406", Outcome.REJECTED_RECIPIENT, "user_in_blacklist", AddressVerdict.SUPPRESS),
        Refusal("+254700000407", Outcome.REJECTED, "could_not_route"),
        Refusal("+254700000409", Outcome.REJECTED, "do_not_disturb"),
        Refusal("+254700000500", Outcome.AMBIGUOUS, "internal_server_error"),
        Refusal("+254700000501", Outcome.AMBIGUOUS, "gateway_error"),
        Refusal("+254700000502", Outcome.REJECTED, "rejected_by_gateway"),
    ),
    by_status={
        400: Outcome.REJECTED,
        401: Outcome.REJECTED,
        500: Outcome.AMBIGUOUS,
        502: Outcome.AMBIGUOUS,
        # Its errors are plain text: its own 503 cannot be distinguished from an intermediary's.
        503: Outcome.AMBIGUOUS,
        504: Outcome.AMBIGUOUS,
    },
    lookup=False,
    polls=False,
    signature_query=("secret",),
    key_setting="CALLBACK_SECRET",
    other_key="another secret in the address",
    # Callbacks are not signed: the secret in the address allows any body except an empty one.
    forge=lambda body: (b"", b"\xff\xfe", body.replace(b"id=", b"no=")),
    never=(Outcome.UNAVAILABLE,),
    replies=True,
)
