"""A command that cannot do what it was asked: one readable message, exit 1, never a traceback."""

import os
import sys
from typing import Any, NoReturn

import typer.core


class Failure(Exception):
    """What happened, to what, and what to do next, for the person at the terminal."""


class Root(typer.core.TyperGroup):
    """The root command: where every failure ends."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run as a program. After a client of Temporal was used it leaves by os._exit: Core's threads can
        abort the interpreter on its way out, after everything was done and said.
        """
        try:
            return super().main(*args, **kwargs)
        except SystemExit as leaving:
            if "temporalio.client" in sys.modules and isinstance(leaving.code, int):
                _leave(leaving.code)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a failure becomes its message on stderr and exit 1."""
        try:
            return super().invoke(ctx)
        except _readable() as failure:
            typer.echo(f"herald: {failure}", err=True)
            raise typer.Exit(1) from None
        except BrokenPipeError:
            # Whoever read the output has seen enough.
            raise typer.Exit(0) from None


def _readable() -> tuple[type[Exception], ...]:
    """What is already written for a reader. Who has not imported the settings cannot fail by them."""
    loaded = sys.modules.get("settings")
    return (Failure,) if loaded is None else (Failure, loaded.SettingsError)


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
