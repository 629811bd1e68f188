"""What the embedded stack can refuse to do."""


class DevStackError(Exception):
    """The stack cannot run as asked. The message says what happened, to what, and what to do next."""
