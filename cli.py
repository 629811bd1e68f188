"""The `herald` command: the root, and what runs Herald's processes. The other commands are in console/."""

from pathlib import Path
from typing import Annotated

import typer

from console import capacity, dead_letters, keys, notifications, providers, replay
from console.failure import Failure, Root

RUN, FOLLOW, OPERATE = "Run", "Submit and follow", "Operate"

app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Delivers notifications once, through whichever provider works, and keeps the evidence.",
    epilog="Commands that follow or operate talk to HERALD_API_URL with HERALD_API_KEY; beside a running "
    "`herald dev` they need neither. Everything that can be set is in docs/configuration.md.",
)


@app.command(rich_help_panel=RUN)
def dev(
    port_offset: Annotated[int, typer.Option(help="Added to every port.")] = 0,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the stack keeps its data. Default: .herald")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin with empty stores.")] = False,
    no_simulators: Annotated[bool, typer.Option("--no-simulators", help="Send to real vendors.")] = False,
) -> None:
    """Keep the whole stack running on this machine."""
    from console import places
    from devstack.dev import run

    where = data_dir or places.data_dir()
    raise typer.Exit(run(where, port_offset, fresh=fresh, simulators=not no_simulators))


@app.command(rich_help_panel=RUN)
def demo(
    data_dir: Annotated[Path, typer.Option(help="Where its stack keeps its data; emptied first.")] = Path(
        ".herald/demo"
    ),
) -> None:
    """Run every scenario on a stack of its own; exit 0 if all came out as expected."""
    from devstack.demo import run

    raise typer.Exit(run(data_dir))


@app.command(rich_help_panel=RUN)
def migrate(
    before: Annotated[
        bool, typer.Option("--before", help="Only what runs before the processes are replaced.")
    ] = False,
    after: Annotated[bool, typer.Option("--after", help="Only what runs once they all are.")] = False,
    show: Annotated[
        bool, typer.Option("--status", "--dry-run", help="Show what would run, and change nothing.")
    ] = False,
) -> None:
    """Bring the database up to date, and Temporal's search attributes if it answers."""
    from console.migration import run

    run(before=before, after=after, only_show=show)


@app.command(rich_help_panel=RUN)
def api() -> None:
    """Serve the REST API."""
    from api.serve import run
    from console import places
    from console.process_priority import lower_process_priority

    settings = places.all_settings()
    lower_process_priority(settings.api_nice)
    run(settings)


@app.command(rich_help_panel=RUN)
def worker(
    lanes: Annotated[
        str, typer.Option(help="The lanes to serve, separated by commas.")
    ] = "critical,high,normal,bulk",
) -> None:
    """Run a worker: dispatcher, workflows and activities of its lanes.

    Give `critical` a process of its own: nothing may delay it.
    """
    import worker as process
    from console import places
    from console.process_priority import lower_process_priority
    from domain.notification import Lane

    try:
        chosen = [Lane(lane.strip()) for lane in lanes.split(",")]
    except ValueError as error:
        raise Failure(f"--lanes {lanes}: {error}; there are {', '.join(Lane)}.") from None
    settings = places.all_settings()
    if Lane.CRITICAL not in chosen:
        lower_process_priority(settings.worker_nice)
    process.main(settings, chosen)


app.command(rich_help_panel=FOLLOW)(notifications.send)
app.command(rich_help_panel=FOLLOW)(notifications.show)
app.command("list", rich_help_panel=FOLLOW)(notifications.list_)
app.command(rich_help_panel=FOLLOW)(notifications.id)

app.command(rich_help_panel=OPERATE)(notifications.stuck)
app.add_typer(dead_letters.app, name="dlq", rich_help_panel=OPERATE)
app.add_typer(providers.app, name="providers", rich_help_panel=OPERATE)
app.command("replay", rich_help_panel=OPERATE)(replay.command)
app.add_typer(keys.app, name="keys", rich_help_panel=OPERATE)
app.command("capacity", rich_help_panel=OPERATE)(capacity.capacity)


if __name__ == "__main__":
    app()
