"""Errors of the embedded stack."""


class DevStackError(Exception):
    """The stack cannot run. The message says what happened, to what, and what to do next."""
