"""An email's fields: one line, one recipient, for any content."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from contract import INSTALLATION
from pydantic import SecretStr

from domain.notification import Content, Target
from providers.base import Message
from providers.email import mailgun, mailgun_events, resend, sendgrid, smtp
from providers.email.fields import is_one_address, one_sender, subject_of
from providers.settings import SendgridSettings
from simulators import sendgrid as simulated_sendgrid


def mail(title: str | None = None, to: str = "ada@example.com", type: str = "debit_alert") -> Message:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    return Message("ref.1", Target(to), Content("₦5,000 left your account", title), type, now, now)


@pytest.mark.parametrize(
    ("title", "subject"),
    [
        ("Your statement", "Your statement"),
        ("  Your\tstatement ", "Your statement"),
        ("Hi\r\nBcc: victim@example.com", "Hi Bcc: victim@example.com"),
        ("Hi\n\nbody", "Hi body"),
        ("a\x00b\x85c\u2028d\u2029e\x0bf\x0cg\x7fh", "a b c d e f g h"),
        ("Ünïcödé ₦ 🎉", "Ünïcödé ₦ 🎉"),
        (None, "Debit alert"),
        ("", "Debit alert"),
        ("\r\n", "Debit alert"),
        ("x" * 500, "x" * 200),
    ],
)
def test_a_subject_is_one_line(title: str | None, subject: str) -> None:
    assert subject_of(mail(title)) == subject
    assert sendgrid.build_payload(mail(title), {})["subject"] == subject
    assert mailgun.build_payload(mail(title), "x@example.com")["subject"] == subject


def test_a_type_without_words_has_a_subject() -> None:
    assert subject_of(mail(type="__")) == "Notification"


@pytest.mark.parametrize("address", ["ada@example.com", "o'brien+news@sub.example.com", "用户@例子.广告"])
def test_one_address_is_accepted(address: str) -> None:
    assert is_one_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@example.com,eve@example.com",
        "ada@example.com;eve@example.com",
        "Ada <ada@example.com>",
        "ada@example.com\r\nBcc: eve@example.com",
        "ada @example.com",
        'ada"@example.com',
        "ada\u2028@example.com",
        "ada\ud800@example.com",
        "a" * 250 + "@example.com",
    ],
)
def test_anything_else_is_refused(address: str) -> None:
    assert not is_one_address(address)


@pytest.mark.parametrize(
    "sender",
    ["", "Herald", "a@b.example, c@d.example", "Herald <n@b.example>\r\nBcc: e@b.example", "n@b.example\0"],
)
def test_an_invalid_sender_is_a_settings_error(sender: str) -> None:
    with pytest.raises(ValueError, match="from_email"):
        one_sender(sender)
    with pytest.raises(ValueError, match="from_email"):
        sendgrid.SendGrid(
            SendgridSettings(
                api_key=SecretStr("k"), from_email=sender, webhook_public_key=simulated_sendgrid.PUBLIC_KEY
            ),
            INSTALLATION,
        )


def test_a_sender_may_have_a_name() -> None:
    assert sendgrid.sender_of("Herald <n@example.com>") == {"email": "n@example.com", "name": "Herald"}
    assert sendgrid.sender_of("n@example.com") == {"email": "n@example.com"}


def test_the_reference_is_in_each_vendors_field() -> None:
    [personalization] = sendgrid.build_payload(mail(), {})["personalizations"]
    assert personalization["custom_args"] == {"herald_ref": "ref.1"}
    form = mailgun.build_payload(mail(), "n@example.com")
    assert (form["o:tag"], form["v:herald_ref"]) == ("ref.1", "ref.1")


def test_logs_are_searched_around_the_intent_in_both_spellings() -> None:
    window = (
        'sg_message_id_created_at >= TIMESTAMP "2026-01-01T11:55:00Z"'
        ' AND sg_message_id_created_at <= TIMESTAMP "2026-01-01T12:15:00Z"'
    )
    assert sendgrid.log_queries(mail(to="Ada@example.com")) == [
        f'to_email = "Ada@example.com" AND {window}',
        f'to_email = "ada@example.com" AND {window}',
    ]
    assert len(sendgrid.log_queries(mail())) == 1


@pytest.mark.parametrize(
    ("event", "ours"),
    [
        ({"tags": ["news", "ref.1"]}, True),
        ({"user-variables": {"herald_ref": "ref.1"}}, True),
        ({"tags": ["ref.2"], "user-variables": {"herald_ref": "ref.2"}}, False),
        ({"tags": "ref.1", "user-variables": "ref.1"}, False),
        ({}, False),
    ],
)
def test_an_event_of_mailgun_is_ours_by_its_tag_or_variable(event: dict[str, object], ours: bool) -> None:
    assert mailgun_events.carries(event, "ref.1") is ours


LINK = "https://notifications.an-installation-with-a-long-name.example.com/herald/v1/unsubscribe/" + "a" * 43
FIELDS = {"List-Unsubscribe": f"<{LINK}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def test_an_optional_mail_has_unsubscribe_headers_at_every_vendor() -> None:
    endable = replace(mail(), unsubscribe_url=LINK)
    assert sendgrid.build_payload(endable, {})["headers"] == FIELDS
    assert resend.build_payload(endable, "n@example.com")["headers"] == FIELDS
    form = mailgun.build_payload(endable, "n@example.com")
    assert {name[2:]: value for name, value in form.items() if name.startswith("h:")} == FIELDS
    letter = smtp.build_payload(endable, "n@example.com", "id@example.com").decode("ascii")
    # Unfolded and not in encoded words: mailboxes do not recognise such an address.
    assert f"List-Unsubscribe: <{LINK}>\r\n" in letter
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in letter


def test_a_required_mail_has_no_unsubscribe_headers() -> None:
    assert "headers" not in sendgrid.build_payload(mail(), {})
    assert "headers" not in resend.build_payload(mail(), "n@example.com")
    assert not any(name.startswith("h:") for name in mailgun.build_payload(mail(), "n@example.com"))
    assert b"List-Unsubscribe" not in smtp.build_payload(mail(), "n@example.com", "id@example.com")
