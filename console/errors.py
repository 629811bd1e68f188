"""Errors of a command: one readable message and exit 1, never a traceback."""

import os
import sys
from typing import Any, NoReturn

import typer.core


class CommandError(Exception):
    """The command failed. The message says what happened, to what, and what to do next."""


class RootGroup(typer.core.TyperGroup):
    """The root command, which prints every CommandError."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run as a program. Exit by os._exit once Temporal's client was used: its Core threads can abort the
        interpreter during shutdown, after all work and output is done.
        """
        try:
            return super().main(*args, **kwargs)
        except SystemExit as leaving:
            if "temporalio.client" in sys.modules and isinstance(leaving.code, int):
                _leave(leaving.code)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command; print an error's message on stderr and exit 1."""
        try:
            return super().invoke(ctx)
        except _readable() as error:
            typer.echo(f"herald: {error}", err=True)
            raise typer.Exit(1) from None
        except BrokenPipeError:
            # The reader closed the pipe, as `head` does.
            raise typer.Exit(0) from None


def _readable() -> tuple[type[Exception], ...]:
    """Errors with a message for the user. Without the settings imported, there can be no SettingsError."""
    loaded = sys.modules.get("settings")
    return (CommandError,) if loaded is None else (CommandError, loaded.SettingsError)


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
