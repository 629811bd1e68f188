"""The names of the task queues."""


def task_queue(lane: str) -> str:
    """The task queue of a lane's workflows. `critical` has a separate one, and separate worker processes."""
    return "herald-critical" if lane == "critical" else "herald"


def batch_queue() -> str:
    """The task queue of batches: separate from first passes, so that they do not share slots."""
    return "herald-batches"


def channel_queue(lane: str, channel: str) -> str:
    """The task queue of a channel's retries."""
    return f"{task_queue(lane)}-{channel}"
