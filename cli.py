"""The `herald` command."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

import settings as configuration
from domain.notification import Lane

ALL_LANES = ",".join(Lane)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _settings() -> configuration.Settings:
    """The settings, or one readable message and exit 1."""
    try:
        settings = configuration.load()
        _ = settings.catalog
    except configuration.SettingsError as error:
        typer.echo(f"herald: {error}", err=True)
        raise typer.Exit(1) from error
    return settings


@app.command()
def migrate() -> None:
    """Bring the database up to date."""
    from storage.migrate import migrate as run

    for name in asyncio.run(run(_settings().database_url.get_secret_value())):
        typer.echo(f"ran {name}")


@app.command()
def api() -> None:
    """Serve the REST API."""
    from api.serve import run

    run(_settings())


@app.command()
def worker(
    lanes: Annotated[
        str, typer.Option(help="The lanes to serve, separated by commas.")
    ] = "critical,high,normal,bulk",
) -> None:
    """Run a worker: dispatcher, workflows and activities of its lanes."""
    import worker as process

    process.main(_settings(), [Lane(lane.strip()) for lane in lanes.split(",")])


@app.command()
def dev(
    port_offset: Annotated[int, typer.Option(help="Added to every port.")] = 0,
    data_dir: Annotated[Path, typer.Option(help="Where the stack keeps its data.")] = Path(".herald"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin with empty stores.")] = False,
    no_simulators: Annotated[bool, typer.Option("--no-simulators", help="Send to real vendors.")] = False,
) -> None:
    """Keep the whole stack running on this machine."""
    from devstack.dev import run

    raise typer.Exit(run(data_dir, port_offset, fresh=fresh, simulators=not no_simulators))


if __name__ == "__main__":
    app()
