"""The task queues: where each kind of work is taken from."""


def task_queue(lane: str) -> str:
    """The task queue of a lane's workflows. `critical` has its own, and its own worker processes."""
    return "herald-critical" if lane == "critical" else "herald"


def page_queue() -> str:
    """The task queue of the batches' activities: their slots are apart from those of first passes."""
    return "herald-pages"


def channel_queue(lane: str, channel: str) -> str:
    """The task queue of a channel's retries."""
    return f"{task_queue(lane)}-{channel}"
