"""The link to unsubscribe is in every mail of an optional type, through every mail vendor."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from delivery_case import Case, Submitter, Worker, catalog

from domain.notification import Channel
from domain.notification_types import NotificationType
from domain.status import Status
from domain.unsubscribe import delivery_named_by

VENDORS = ("sendgrid", "mailgun", "resend", "smtp")
ENDABLE = {name: NotificationType(routes={Channel.EMAIL: (name,)}) for name in VENDORS}
REQUIRED = NotificationType(required=True, routes={Channel.EMAIL: ("sendgrid",)})


async def sent(submitter: Submitter, worker: Worker, type: str) -> tuple[Case, str]:
    """A mail of this type that a vendor accepted, and its address."""
    to = f"{uuid4().hex}@example.com"
    case = await submitter.accept(type, channels=(Channel.EMAIL,), to_email=to)
    result = await worker.run(case, Channel.EMAIL)
    assert result.status is Status.SENT, result
    return case, to


@pytest.mark.parametrize("vendor", VENDORS)
async def test_mail_has_an_unsubscribe_link_that_names_the_delivery(
    submitter: Submitter, make_worker: Callable[..., Worker], vendor: str
) -> None:
    case, to = await sent(submitter, make_worker(catalog(ENDABLE)), vendor)
    [received] = await submitter.simulators.messages(vendor, to)
    fields = received["headers"]
    assert fields["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    url = fields["List-Unsubscribe"].strip("<>")
    place, _, token = url.rpartition("/")
    assert place == "http://127.0.0.1:9/v1/unsubscribe"
    assert delivery_named_by(token, ["secret"]) == (await case.delivery(Channel.EMAIL)).id
    assert not [part for part in (to, case.user_id, vendor) if part in token]


async def test_a_required_type_has_no_unsubscribe_link(
    submitter: Submitter, make_worker: Callable[..., Worker]
) -> None:
    _, to = await sent(submitter, make_worker(catalog({"must_mail": REQUIRED})), "must_mail")
    [received] = await submitter.simulators.messages("sendgrid", to)
    assert received["headers"] == {}
