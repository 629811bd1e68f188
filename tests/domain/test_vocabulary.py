"""The algebra of the records: statuses, receipts, ids and fingerprints."""

import inspect
import itertools
import re
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import domain.reasons
from domain.fingerprint import Fingerprint, fingerprint, matches
from domain.ids import (
    attempt_ref,
    match_key,
    namespace,
    notification_id,
    parse_attempt_ref,
    workflow_id,
)
from domain.outcome import FINAL_RECEIPTS, ReceiptStatus, advance
from domain.reasons import Reason
from domain.status import ACTIVE, FINAL, ORDER, PARKED, SENDABLE, Status, derive

statuses = st.lists(st.sampled_from(Status), min_size=1, max_size=6)
reports = st.lists(st.sampled_from(ReceiptStatus), max_size=8)
parts = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
bodies = st.dictionaries(st.text(max_size=8), json_values, max_size=5)


class TestStatus:
    @given(statuses)
    def test_the_order_of_deliveries_does_not_matter(self, statuses: list[Status]) -> None:
        assert (
            derive(statuses) == derive(reversed(statuses)) == derive(sorted(statuses)) == derive(statuses * 2)
        )

    @given(statuses, statuses)
    def test_parts_may_be_derived_first(self, some: list[Status], others: list[Status]) -> None:
        assert derive([derive(some), derive(others)]) == derive(some + others)

    @given(statuses)
    def test_it_is_the_status_of_a_delivery(self, statuses: list[Status]) -> None:
        assert derive(statuses) in statuses

    @given(statuses)
    def test_final_only_when_no_delivery_can_change(self, statuses: list[Status]) -> None:
        active = [status for status in statuses if status in ACTIVE]
        parked = [status for status in statuses if status in PARKED]
        if active:
            assert derive(statuses) in ACTIVE
        elif parked:
            assert derive(statuses) in PARKED
        elif set(statuses) != {Status.WAITING}:
            assert derive(statuses) in FINAL

    @given(statuses)
    def test_reached_over_one_channel_is_reached(self, statuses: list[Status]) -> None:
        final = [status for status in statuses if status in FINAL]
        if Status.DELIVERED in final:
            assert derive(final) is Status.DELIVERED

    def test_every_status_is_of_one_kind(self) -> None:
        kinds = [ACTIVE, PARKED, FINAL, frozenset({Status.WAITING})]
        assert frozenset().union(*kinds) == frozenset(Status) == frozenset(ORDER)
        assert not any(a & b for a, b in itertools.combinations(kinds, 2))
        assert SENDABLE < ACTIVE


def _after(reported: list[ReceiptStatus]) -> ReceiptStatus | None:
    known: ReceiptStatus | None = None
    for status in reported:
        known = advance(known, status)
    return known


class TestReceipts:
    @given(reports, st.randoms())
    def test_neither_order_nor_repetition_matters(self, reported: list[ReceiptStatus], random: Any) -> None:
        shuffled = reported * 2
        random.shuffle(shuffled)
        assert _after(shuffled) == _after(reported)

    @given(st.none() | st.sampled_from(ReceiptStatus), st.sampled_from(ReceiptStatus))
    def test_a_report_never_moves_it_down(self, known: ReceiptStatus | None, new: ReceiptStatus) -> None:
        assert advance(advance(known, new), new) == advance(known, new)
        assert known is None or advance(advance(known, new), known) == advance(known, new)

    @given(reports)
    def test_delivered_wins(self, reported: list[ReceiptStatus]) -> None:
        assert _after([*reported, ReceiptStatus.DELIVERED]) is ReceiptStatus.DELIVERED
        assert _after([ReceiptStatus.DELIVERED, *reported]) is ReceiptStatus.DELIVERED

    @given(reports)
    def test_a_final_report_is_not_undone_by_a_passing_one(self, reported: list[ReceiptStatus]) -> None:
        assert (_after(reported) in FINAL_RECEIPTS) == bool(FINAL_RECEIPTS & set(reported))


class TestIds:
    SPACE = namespace("a secret")

    def test_the_ids_of_an_installation_never_change(self) -> None:
        """Pinned: every later version must derive the same ids."""
        id = notification_id(self.SPACE, "acme", "user-1", "otp", "key-1")
        assert UUID("c32be471-3ddb-591e-9ece-add44c80c567") == self.SPACE
        assert id == UUID("e2c72c05-dec3-5f24-bc92-7a351a7e0379")
        assert workflow_id(id) == f"ntf-{id}"
        assert match_key("a secret", "sms", "+2348031236789", "hi") == "3b025f4c7fbc320d9b801aced50b153a"

    @given(st.tuples(parts, parts, parts, parts), st.tuples(parts, parts, parts, parts))
    def test_other_parts_give_another_id(
        self, some: tuple[str, str, str, str], others: tuple[str, str, str, str]
    ) -> None:
        same = notification_id(self.SPACE, *some) == notification_id(self.SPACE, *others)
        assert same == (some == others)

    @given(parts, parts, st.data())
    def test_parts_do_not_run_into_each_other(self, head: str, tail: str, data: st.DataObject) -> None:
        whole = head + tail
        cut = data.draw(st.integers(0, len(whole)))
        assume(cut != len(head))
        ids = {
            notification_id(self.SPACE, *split)
            for split in (
                (head, tail, "otp", "k"),
                (whole[:cut], whole[cut:], "otp", "k"),
            )
        }
        assert len(ids) == 2

    @given(st.text(min_size=1), st.text(min_size=1))
    def test_another_secret_is_another_namespace(self, secret: str, other: str) -> None:
        assert (namespace(secret) == namespace(other)) == (secret == other)

    @given(st.uuids(), st.integers(1, 10_000))
    def test_a_reference_names_its_attempt(self, delivery: UUID, number: int) -> None:
        assert parse_attempt_ref(attempt_ref(delivery, number)) == (delivery, number)

    @pytest.mark.parametrize("ref", ["", ".", "x.1", f"{UUID(int=1)}", f"{UUID(int=1)}.", f"{UUID(int=1)}.x"])
    def test_a_foreign_reference_is_none(self, ref: str) -> None:
        assert parse_attempt_ref(ref) is None


def _shuffled(value: Any, random: Any) -> Any:
    if isinstance(value, dict):
        items = list(value.items())
        random.shuffle(items)
        return {name: _shuffled(inner, random) for name, inner in items}
    return [_shuffled(inner, random) for inner in value] if isinstance(value, list) else value


class TestFingerprint:
    KEYS: dict[str, str] = {"k2": "new", "k1": "old"}  # noqa: RUF012 (never changed by a test)

    @given(bodies, st.randoms())
    def test_the_order_of_fields_does_not_matter(self, body: dict[str, Any], random: Any) -> None:
        assert matches(self.KEYS, fingerprint(self.KEYS, "k2", body), _shuffled(body, random))

    @given(bodies, bodies)
    def test_another_body_differs(self, body: dict[str, Any], other: dict[str, Any]) -> None:
        assume(repr(_sorted(body)) != repr(_sorted(other)))
        assert not matches(self.KEYS, fingerprint(self.KEYS, "k2", body), other)

    def test_a_field_that_was_not_supplied_is_not_its_default(self) -> None:
        """Callers fingerprint the request before defaults: a new default changes nothing."""
        supplied = {"type": "otp"}
        stored = fingerprint(self.KEYS, "k2", supplied)
        assert matches(self.KEYS, stored, dict(supplied))
        assert not matches(self.KEYS, stored, {**supplied, "lane": None})

    @given(bodies)
    def test_a_rotated_key_still_recognises_what_it_signed(self, body: dict[str, Any]) -> None:
        before = fingerprint({"k1": "old"}, "k1", body)
        assert matches(self.KEYS, before, body)
        assert not matches(self.KEYS, before, {**body, "another field": 1})

    @given(bodies, bodies)
    def test_a_retry_is_never_refused_for_a_forgotten_key_or_form(
        self, body: dict[str, Any], other: dict[str, Any]
    ) -> None:
        stored = fingerprint({"k0": "gone"}, "k0", body)
        assert matches(self.KEYS, stored, other)
        assert matches(self.KEYS, Fingerprint(b"", "k1", version=0), other)

    def test_the_digest_of_version_1_never_changes(self) -> None:
        body = {"user_id": "u1", "content": {"body": "héllo"}, "channels": ["sms"]}
        assert fingerprint(self.KEYS, "k1", body).digest.hex() == (
            "32d2941d4123cb203cd94b089a40a11bff708e1d5daf644278403a6c693460a2"
        )

    def test_signing_with_a_key_that_is_gone_is_an_error(self) -> None:
        with pytest.raises(KeyError):
            fingerprint(self.KEYS, "k0", {})


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((name, _sorted(inner)) for name, inner in value.items())
    return [_sorted(inner) for inner in value] if isinstance(value, list) else value


def test_every_reason_is_explained() -> None:
    source = inspect.getsource(domain.reasons)
    explained = re.findall(r'^    [A-Z_]+ = "([a-z_]+)"\n    """', source, re.MULTILINE)
    assert explained == [reason.value for reason in Reason]
