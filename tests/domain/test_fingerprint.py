"""By which repeated requests and uploads are recognised."""

import hashlib

from domain.fingerprint import Fingerprint, fingerprint, is_upload, matches, upload_digest

KEYS = {"new": "n" * 32, "old": "o" * 32}
CONTENT, OTHER = (hashlib.sha256(text).digest() for text in (b"user_id\nada\n", b"user_id\nbola\n"))


def test_a_repeated_body_is_recognised_under_the_key_of_its_time() -> None:
    body = {"user_id": "ada", "data": {"a": 1, "b": None}}
    for key_id in KEYS:
        stored = fingerprint(KEYS, key_id, body)
        assert matches(KEYS, stored, dict(reversed(body.items())))
        assert not matches(KEYS, stored, {**body, "user_id": "bola"})
    assert matches(KEYS, Fingerprint(b"of a key that is gone", "gone"), body)


def test_a_repeated_upload_is_recognised_whichever_key_it_was_stored_under() -> None:
    for keys in (KEYS, {"old": KEYS["old"]}):
        stored = upload_digest(keys, CONTENT)
        assert stored != CONTENT
        assert is_upload(KEYS, stored, CONTENT)
        assert not is_upload(KEYS, stored, OTHER)
    assert not is_upload({"other": "x" * 32}, upload_digest(KEYS, CONTENT), CONTENT)


def test_an_upload_of_the_first_release_is_recognised() -> None:
    assert is_upload(KEYS, CONTENT, CONTENT)
    assert not is_upload(KEYS, OTHER, CONTENT)
