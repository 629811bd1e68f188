"""Links to unsubscribe: they name one delivery, and need the secret."""

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from domain.unsubscribe import delivery_named_by, token_of

DELIVERY = UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff")
TOKEN = token_of("secret", DELIVERY)


@given(st.uuids(), st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_a_token_names_its_delivery(delivery: UUID, secret: str) -> None:
    token = token_of(secret, delivery)
    assert delivery_named_by(token, [secret]) == delivery
    assert token == token_of(secret, delivery)
    assert (len(token), token.isascii()) == (43, True)


def test_a_token_never_changes() -> None:
    """Mails stay in mailboxes: a new token format must still accept this one."""
    assert TOKEN == "b5YZ_4uG0BG0LQDAT8lk_8Mb8inK5aPMVHs97QbXLXo"


def test_every_known_secret_is_accepted() -> None:
    assert delivery_named_by(TOKEN, ["new", "secret"]) == DELIVERY
    assert delivery_named_by(TOKEN, ["new"]) is None
    assert delivery_named_by(TOKEN, []) is None


@given(st.integers(0, 42), st.sampled_from("Aa0-_"))
def test_a_changed_token_names_nothing(place: int, letter: str) -> None:
    changed = TOKEN[:place] + letter + TOKEN[place + 1 :]
    assert delivery_named_by(changed, ["secret"]) == (DELIVERY if changed == TOKEN else None)


@given(st.text(max_size=80))
def test_other_texts_name_nothing(text: str) -> None:
    assert delivery_named_by(text, ["secret"]) is None


def test_deliveries_do_not_share_tokens() -> None:
    assert token_of("secret", uuid4()) != token_of("secret", uuid4())
