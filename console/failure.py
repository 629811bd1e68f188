"""A command that cannot do what it was asked: one readable message, exit 1, never a traceback."""

from typing import Any

import typer.core


class Failure(Exception):
    """What happened, to what, and what to do next, for the person at the terminal."""


class Root(typer.core.TyperGroup):
    """The root command: where every failure ends."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a Failure becomes its message on stderr and exit 1."""
        try:
            return super().invoke(ctx)
        except Failure as failure:
            typer.echo(f"herald: {failure}", err=True)
            raise typer.Exit(1) from None
        except BrokenPipeError:
            # Whoever read the output has seen enough.
            raise typer.Exit(0) from None
