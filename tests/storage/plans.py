"""The plans of the statements that a ledger runs, and a ledger with enough rows for plans to matter."""

import asyncio
import json
import re
from collections.abc import Iterator
from hashlib import md5
from typing import Any
from uuid import UUID

from storage.ledger import Ledger
from storage.statements import FUNCTIONS, statements

ROWS = 50_000
TEXTS = {name: one.text for name, one in statements().items()}
TEXTS |= {
    path.stem: text for path in FUNCTIONS.glob("*.sql") if "CREATE FUNCTION" in (text := path.read_text())
}
TABLES = (
    "notifications",
    "notification_contents",
    "expiring_contents",
    "deliveries",
    "notification_attempts",
    "receipts",
    "receipt_inbox",
    "timeline",
    "due",
    "provider_messages",
    "users",
    "devices",
    "user_notification_settings",
    "suppressions",
    "replies",
    "providers",
    "api_keys",
    "broadcasts",
    "broadcast_recipients",
    "broadcast_refusals",
    "broadcast_chunks",
    "broadcast_tallies",
    "audit_log",
)

_FILL = """
INSERT INTO notifications (id, tenant, user_id, type, idempotency_key, fingerprint, fingerprint_key_id,
                           fingerprint_version, lane, strategy, scrub, status, accepted_at, expires_at,
                           final_at)
SELECT md5('n' || n)::uuid, 'acme', 'user-' || n, 'debit_alert', 'key-' || n, '\\x00', 'k', 1, n % 4,
       'first', n % 10 = 0, CASE WHEN n % 5 = 0 THEN 'accepted' ELSE 'sent' END::status, $accepted,
       now() + interval '1 day', CASE WHEN n % 5 > 0 THEN now() END
FROM generate_series($first, $last) n;
INSERT INTO deliveries (id, notification_id, tenant, user_id, type, channel, position, status, attempts_made,
                        next_pass_at, expires_at, due_at, accepted_at)
SELECT $delivery, md5('n' || n)::uuid, 'acme', 'user-' || n, 'debit_alert', 'sms', 0,
       CASE WHEN n % 5 = 0 THEN 'accepted' ELSE 'sent' END::status, 1, now(), now() + interval '1 day',
       CASE WHEN n % 5 = 0 THEN now() END, $accepted
FROM generate_series($first, $last) n;
INSERT INTO notification_contents (notification_id, accepted_at, body, to_sms)
SELECT md5('n' || n)::uuid, $accepted, 'You were debited', '+2348031230000'
FROM generate_series($first, $last) n;
INSERT INTO expiring_contents (expires_at, notification_id, accepted_at)
SELECT now() + (CASE WHEN n % 100 = 0 THEN -1 ELSE 1 END) * interval '1 day', md5('n' || n)::uuid, $accepted
FROM generate_series($first, $last) n WHERE n % 10 = 0;
INSERT INTO notification_attempts (delivery_id, number, accepted_at, notification_id, channel, provider,
                                   pass_number, target_masked, selection, match_key, intended_at,
                                   send_deadline, outcome)
SELECT $delivery, 1, $accepted, md5('n' || n)::uuid, 'sms', 'twilio', 0, '+234', '{}',
       'match-' || n, now(), now(), 'accepted'
FROM generate_series($first, $last) n;
INSERT INTO provider_messages
SELECT 'twilio', 'SM-' || n, $delivery, 1, $accepted FROM generate_series($first, $last) n;
INSERT INTO provider_messages
SELECT 'twilio', 'old-' || n, gen_random_uuid(), 1, now() - interval '1 year'
FROM generate_series($first, $last) n WHERE n <= 1000;
INSERT INTO due (id, lane, due_at)
SELECT md5('n' || n)::uuid, n % 4, now() FROM generate_series($first, $last) n WHERE n % 5 = 0;
INSERT INTO users (tenant, user_id, phone) SELECT 'acme', 'user-' || n, '+1'
FROM generate_series($first, $last) n;
INSERT INTO user_notification_settings (tenant, user_id, type, channel, enabled)
SELECT 'acme', 'user-' || n, 'debit_alert', 'sms', true FROM generate_series($first, $last) n;
INSERT INTO suppressions (tenant, channel, address, reason, source)
SELECT 'acme', channel, channel || '-' || n, 'bounce', 'test'
FROM generate_series($first, $last) n, unnest(ARRAY['sms', 'email', 'push']) channel;
INSERT INTO devices (tenant, user_id, device_id, fcm_token, apns_token)
SELECT 'acme', 'user-' || n, device, 'fcm-' || device || n, 'apns-' || device || n
FROM generate_series($first, $last) n, unnest(ARRAY['one', 'two']) device;
INSERT INTO receipts (delivery_id, attempt_number, provider, event_key, accepted_at, status, permanent,
                      received_at, source)
SELECT $delivery, 1, 'twilio', 'SM-' || n || '/sent', $accepted, 'sent', false, now(), 'callback'
FROM generate_series($first, $last) n;
INSERT INTO timeline (notification_id, accepted_at, kind)
SELECT md5('n' || n)::uuid, $accepted, 'planned' FROM generate_series($first, $last) n;
INSERT INTO receipt_inbox (provider, event_key, provider_message_id, status, permanent, address_verdict,
                           due_at, orphaned_at)
SELECT 'twilio', 'event-' || n, 'SM-' || n, 'delivered', false, 'keep', now() - interval '1 hour',
       CASE WHEN n % 500 = 0 THEN now() - interval '1 day' END
FROM generate_series($first, $last) n;
INSERT INTO replies (provider, event_key, channel, address, word, said_at)
SELECT 'twilio', 'event-' || n, 'sms', 'sms-' || n, 'stop', now() FROM generate_series($first, $last) n;
INSERT INTO api_keys (prefix, tenant, name, digest)
SELECT 'key' || n, 'acme', 'backend', '\\x00' FROM generate_series(($first + 9) / 10, $last / 10) n;
INSERT INTO broadcasts (id, tenant, idempotency_key, fingerprint, fingerprint_key_id, fingerprint_version,
                        status, type, channels, strategy, body, data, metadata, audience, query, created_at,
                        due_at)
SELECT md5('b' || n)::uuid, 'acme', 'key-' || n, '\\x00', 'k', 1,
       CASE WHEN n % 10 = 0 THEN 'running' ELSE 'completed' END, 'marketing', '{sms}', 'all', 'Hello', '{}',
       '{}', 'query', '{}', $accepted, CASE WHEN n % 10 = 0 THEN now() END
FROM generate_series(($first + 9) / 10, $last / 10) n;
INSERT INTO broadcast_recipients (broadcast_id, upload, number, user_id)
SELECT md5('b' || n % 50)::uuid, 0, n, 'user-' || n FROM generate_series($first, $last) n;
INSERT INTO broadcast_refusals (broadcast_id, upload, number, code, pointer, message)
SELECT md5('b' || n % 50)::uuid, 0, n, 'charset', '', '' FROM generate_series($first, $last) n;
INSERT INTO broadcast_chunks (broadcast_id, last_number, notification_ids)
SELECT md5('b' || n % 50)::uuid, n, '{}' FROM generate_series(($first + 9) / 10, $last / 10) n;
INSERT INTO broadcast_tallies (broadcast_id, status, change)
SELECT md5('b' || n % 500)::uuid, 'sent', 1 FROM generate_series(($first + 9) / 10, $last / 10) n;
INSERT INTO audit_log (sequence, at, actor, actor_name, tenant, action, subject, previous, hash)
SELECT n, now() + n / 1000 * interval '1 s', 'key:' || n % 1000, 'backend', 'tenant-' || n % 500,
       CASE WHEN n % 1000 = 0 THEN 'provider.drain' ELSE 'contacts.read' END, 'user-' || n, '\\x00', '\\x00'
FROM generate_series($first, $last) n;
UPDATE notifications SET status = 'dead_lettered' WHERE id IN (
    SELECT md5('n' || n)::uuid FROM generate_series($first, $last) n WHERE n % 1000 = 5);
""".replace("$accepted", "now() - n / 1000 * interval '1 s'").replace(
    # As in production, a delivery's id begins with the time.
    "$delivery",
    "(lpad(to_hex(n), 12, '0') || substr(md5('d' || n), 13))::uuid",
)


async def fill(connection: Any, first: int, last: int) -> None:
    """Add the rows with the numbers from `first` to `last` to every table.

    As when notifications are accepted in groups, a thousand of them share one `accepted_at`.
    """
    # In one transaction, so that now() is constant.
    await connection.execute(_FILL.replace("$first", str(first)).replace("$last", str(last)))


def _flat(text: str) -> str:
    return " ".join(text.split())


def _as_logged(text: str) -> str:
    """A statement, or the statements of a function: PL/pgSQL omits an INTO, and turns PERFORM into SELECT."""
    without_into = re.sub(r"\bINTO \w+(, \w+)* (?=FROM )", "", _flat(text))
    return without_into.replace("PERFORM ", "SELECT ")


_LOGGED = {name: _as_logged(text) for name, text in TEXTS.items()}


def _name(query: str) -> str:
    """The name of a query's statement, by its beginning: conditions follow. Otherwise the query."""
    for name, whole in _LOGGED.items():
        fixed, marked, _ = whole.partition(" /*")
        if query.startswith(fixed) if marked else query[:150] in whole:
            return name
    return query


_FIRST_COLUMNS: dict[str, str] = {}
"""The first column of each index that existed when a connection started."""
_INDEXES = """
SELECT class.relname AS name, attname AS first_column
FROM pg_index JOIN pg_class class ON class.oid = indexrelid
     JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
"""


class Explained:
    """A ledger over one connection as production opens it, and the plans of the statements that it runs."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.ledger = Ledger(self)  # pyright: ignore[reportArgumentType] (all that a ledger needs of a pool)
        self._logged: list[str] = []
        connection.add_log_listener(self._listen)

    def acquire(self, timeout: float | None = None) -> "Explained":
        return self

    def __await__(self) -> Iterator[Any]:
        yield from asyncio.sleep(0).__await__()
        return self.connection

    async def __aenter__(self) -> Any:
        return self.connection

    async def __aexit__(self, *_: object) -> None:
        pass

    async def release(self, connection: Any) -> None:
        pass

    async def fetch(self, query: str, *arguments: Any) -> Any:
        return await self.connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        return await self.connection.fetchrow(query, *arguments)

    async def moment(self) -> Any:
        """When the first notifications of the data were accepted."""
        return await self.connection.fetchval(
            "SELECT accepted_at FROM notifications WHERE id = $1", row_id("n", 7)
        )

    def _listen(self, _: Any, message: Any) -> None:
        if message.message.startswith("duration:"):
            self._logged.append(message.message)

    async def start(self, plan_cache_mode: str = "force_generic_plan") -> None:
        """Log plans from now on; `plan_cache_mode` is production's by default."""
        for index in await self.connection.fetch(_INDEXES):
            _FIRST_COLUMNS[index["name"]] = index["first_column"]
        await self.connection.execute(
            "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_format = json;"
            "SET auto_explain.log_analyze = on; SET auto_explain.log_nested_statements = on;"
            "SET auto_explain.log_timing = off;"
            f"SET client_min_messages = log; SET plan_cache_mode = {plan_cache_mode}"
        )

    def stop(self) -> None:
        self.connection.remove_log_listener(self._listen)

    def plans(self) -> dict[str, list[dict[str, Any]]]:
        """The plans since the last call, by the name of their statement; without those that read no table."""
        found: dict[str, list[dict[str, Any]]] = {}
        for text in self._logged:
            plan = json.loads(text.split("plan:", 1)[1])
            name = _name(_flat(plan["Query Text"]))
            if name in TEXTS or any(True for _ in _reads({name: [plan["Plan"]]})):
                found.setdefault(name, []).append(plan["Plan"])
        self._logged = []
        return found


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _reads(plans: dict[str, list[dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every plan node in which a statement reads a table, with a description."""
    for name, trees in plans.items():
        for tree in trees:
            for node in _nodes(tree):
                if "Scan" in node["Node Type"] and node.get("Relation Name", "").startswith(TABLES):
                    yield f"{name}: {node['Node Type']} on {node['Relation Name']}", node


def without_index(plans: dict[str, list[dict[str, Any]]], *, skip_scans: bool = False) -> set[str]:
    """The scans that would read a table, or an index of it, from one end to the other.

    Without a condition on its first column an index may be read whole. `skip_scans`: such a scan is allowed,
    because Postgres knows that this column has few values, and skips from one to the next.
    """
    return {
        scan
        for scan, node in _reads(plans)
        if not (_condition(node) if skip_scans else _begins_in_index(node))
    }


def _condition(node: dict[str, Any]) -> str:
    return node.get("TID Cond", "") or node.get("Index Cond", "")


def _begins_in_index(node: dict[str, Any]) -> bool:
    first_column = _FIRST_COLUMNS.get(node.get("Index Name", ""), "")
    return re.search(rf"\b{first_column}\b", _condition(node)) is not None


def partitions_opened(plans: dict[str, list[dict[str, Any]]], name: str) -> set[str]:
    """The partitions that a statement read or opened."""
    return {
        node["Relation Name"]
        for _, node in _reads({name: plans[name]})
        if node["Relation Name"].rpartition("_")[2].isdigit()
    }


def wasteful(plans: dict[str, list[dict[str, Any]]], rows_max: int) -> set[str]:
    """The scans that read more than `rows_max` rows."""
    counts = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    return {
        f"{scan}, {rows:.0f} rows"
        for scan, node in _reads(plans)
        if (rows := sum(node.get(key, 0) for key in counts) * node["Actual Loops"]) > rows_max
    }


def row_id(kind: str, number: int) -> UUID:
    """The id of a notification ("n"), a delivery ("d") or a broadcast ("b") of the data."""
    digest = md5(f"{kind}{number}".encode(), usedforsecurity=False).hexdigest()
    return UUID(f"{number & 0xFFFFFFFFFFFF:012x}{digest[12:]}" if kind == "d" else digest)
