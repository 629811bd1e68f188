"""Browser subscriptions: what is accepted, so that no other URL is ever requested."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.contacts import suppression_key
from domain.masking import mask
from domain.notification import Channel
from domain.web_push import (
    PUSH_SERVICES,
    InvalidSubscription,
    Subscription,
    check_endpoint,
    check_host,
    check_public_key,
    check_secret,
    is_push_service,
    read,
    stored,
)

# RFC 8291, appendix A.
P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
MOZILLA = "https://updates.push.services.mozilla.com/wpush/v2/gAAAAABk"
SUBSCRIPTION = Subscription(MOZILLA, P256DH, AUTH)


@pytest.mark.parametrize(
    "endpoint",
    [
        MOZILLA,
        "https://fcm.googleapis.com/fcm/send/dHIoDxE7Hdg:APA91bEl_2-q",
        "https://web.push.apple.com/QGuQyavXutnMH9o_-ZM",
        "https://wns2-db5p.notify.windows.com/w/?token=BQYAAAD%2bXx%2f8%3d",
    ],
)
def test_a_browsers_endpoint_is_unchanged(endpoint: str) -> None:
    subscription = Subscription(endpoint, P256DH, AUTH)
    assert read(subscription.text) == stored(subscription.text) == subscription
    assert f"https://{subscription.host}{subscription.path}" == endpoint
    assert is_push_service(endpoint, PUSH_SERVICES)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://fcm.googleapis.com/fcm/send/a",
        "https://fcm.googleapis.com:8443/fcm/send/a",
        "https://user@fcm.googleapis.com/a",
        "https://127.0.0.1\\@fcm.googleapis.com/a",
        "https://127.0.0.1#@fcm.googleapis.com/a",
        "https://fcm.googleapis.com",
        "https://FCM.googleapis.com/a",
        "https://fcm.googleapis.com./a",
        "https://[::1]/a",
        "https://fcm.googleapis.com/../a",
        "https://fcm.googleapis.com/%2E%2e/a",
        "https://fcm.googleapis.com/a b",
        "https://fcm.googleapis.com/a\r\nHost: x",
        "https://fcm.googleapis.com/a\n",
        "https://fcm.googleapis.com/é",
        f"https://fcm.googleapis.com/{'a' * 2048}",
        "file:///etc/passwd",
        "",
    ],
)
def test_an_endpoint_no_browser_writes_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidSubscription):
        check_endpoint(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://127.0.0.1/a",
        "https://localhost/a",
        "https://169.254.169.254/latest/meta-data",
        "https://evil.example/fcm.googleapis.com",
        "https://fcm.googleapis.com.evil.example/a",
        "https://evilfcm.googleapis.com/a",
        "https://notify.windows.com/a",
        "https://evilnotify.windows.com/a",
    ],
)
def test_an_unknown_host_is_not_a_push_service(endpoint: str) -> None:
    assert not is_push_service(check_endpoint(endpoint), PUSH_SERVICES)


def test_a_configured_push_service_is_accepted() -> None:
    assert is_push_service("https://127.0.0.1/a", ["127.0.0.1"])
    assert is_push_service("https://a.b.push.example/a", ["*.push.example"])


@pytest.mark.parametrize(
    "pattern", ["*", "*.com", "push.example:443", "https://push.example", "a.*", "", "*."]
)
def test_a_pattern_that_is_too_wide_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidSubscription):
        check_host(pattern)


def test_keys_are_kept_without_padding() -> None:
    assert check_public_key(f"{P256DH}=") == P256DH
    assert check_secret(f"{AUTH}==") == AUTH


@pytest.mark.parametrize(
    "key", ["", AUTH, "B" * 87, P256DH[:-4] + "AAAA", P256DH.replace("_", "/"), "é" * 87]
)
def test_a_key_off_the_curve_is_refused(key: str) -> None:
    with pytest.raises(InvalidSubscription):
        check_public_key(key)


@given(st.text(max_size=40))
def test_a_secret_is_sixteen_bytes_or_refused(text: str) -> None:
    try:
        taken = check_secret(text)
    except InvalidSubscription:
        return
    assert len(taken) == 22


def test_masking_and_suppression_of_a_subscription() -> None:
    assert mask(Channel.PUSH, SUBSCRIPTION.text) == "https://updates.push.services.mozilla.com/…"
    assert suppression_key(Channel.PUSH, SUBSCRIPTION.text) == MOZILLA
