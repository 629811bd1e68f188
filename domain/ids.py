"""Identifiers. Those of notifications and broadcasts are derived from what the client sent, workflow ids and
references from them. Postgres makes the ids of deliveries (uuidv7).
"""

import hashlib
import hmac
from uuid import UUID, uuid5

WORKFLOW_ID_PREFIX = "ntf-"


def namespace(secret: str) -> UUID:
    """The UUIDv5 namespace of one installation. It must never change: ids are derived from it."""
    return UUID(bytes=hmac.digest(secret.encode(), b"herald/notification-id/v1", "sha256")[:16], version=5)


def notification_id(namespace: UUID, tenant: str, user_id: str, type: str, idempotency_key: str) -> UUID:
    """The id of a notification: the same four parts always give the same id.

    Each part is prefixed with its length, so that ("a", "bc") and ("ab", "c") differ.
    """
    # Written out: joining a generator's parts takes twice the time, and this runs for every notification.
    first = f"{len(tenant)}:{tenant}{len(user_id)}:{user_id}"
    return uuid5(namespace, f"{first}{len(type)}:{type}{len(idempotency_key)}:{idempotency_key}")


def broadcast_id(namespace: UUID, tenant: str, idempotency_key: str) -> UUID:
    """The id of a broadcast: the same key of a tenant always gives the same id."""
    parts = ("herald/broadcast", tenant, idempotency_key)
    return uuid5(namespace, "".join(f"{len(part)}:{part}" for part in parts))


def broadcast_key(broadcast_id: UUID) -> str:
    """The idempotency key of every notification of a broadcast: each user is sent it once."""
    return f"broadcast:{broadcast_id}"


def broadcast_workflow_id(broadcast_id: UUID) -> str:
    """The Temporal workflow ID of a broadcast."""
    return f"brd-{broadcast_id}"


def batch_workflow_id(batch_id: UUID) -> str:
    """The Temporal workflow ID of a batch."""
    return f"batch-{batch_id}"


def workflow_id(notification_id: UUID) -> str:
    """The Temporal workflow ID of a notification."""
    return f"{WORKFLOW_ID_PREFIX}{notification_id}"


def attempt_ref(delivery_id: UUID, number: int) -> str:
    """Our reference for one attempt, which a provider returns in its receipts. It reveals nothing else."""
    return f"{delivery_id}.{number}"


def parse_attempt_ref(ref: str) -> tuple[UUID, int] | None:
    """The delivery and attempt number of a reference, or None if it is not one of ours."""
    head, _, tail = ref.rpartition(".")
    try:
        return UUID(head), int(tail)
    except ValueError:
        return None


def match_key(secret: str, channel: str, address: str, text: str) -> str:
    """Stands for "this text to this address" where a provider keeps no reference of ours.

    A look-up cannot distinguish two open attempts with the same match key.
    """
    message = f"{channel}\n{address}\n{text}".encode()
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()[:32]
