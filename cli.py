"""The `herald` command: its root, and the commands that run Herald's processes. console/ has the others."""

from pathlib import Path
from typing import Annotated

import typer

from console import audit, capacity, dead_letters, doctor, keys, limits, notifications, providers, replay
from console.errors import CommandError, RootGroup

RUN, FOLLOW, OPERATE = "Run", "Submit and follow", "Operate"

STARTUP_FAILED = 3
"""uvicorn's exit code if the server cannot start."""

app = typer.Typer(
    cls=RootGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Deliver each notification once, through any provider that works, with a full record.",
    epilog="Commands that submit, follow or operate call the API at HERALD_API_URL with HERALD_API_KEY. "
    "Neither is needed while `herald dev` runs in this directory. docs/configuration.md lists all settings.",
)


@app.command(rich_help_panel=RUN)
def dev(
    port_offset: Annotated[int, typer.Option(help="Add this to every port.")] = 0,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Directory for the stack's data. Default: HERALD_DATA_DIR, or .herald."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the stack's data before starting.")] = False,
    no_simulators: Annotated[
        bool, typer.Option("--no-simulators", help="Use real providers: messages are really sent.")
    ] = False,
) -> None:
    """Run the whole stack on this machine until Ctrl-C."""
    from console import endpoints
    from devstack.dev import run

    directory = data_dir or endpoints.data_dir()
    raise typer.Exit(run(directory, port_offset, fresh=fresh, simulators=not no_simulators))


@app.command(rich_help_panel=RUN)
def demo(
    data_dir: Annotated[
        Path, typer.Option(help="Directory for the demo's data; its previous data is deleted.")
    ] = Path(".herald/demo"),
) -> None:
    """Run every scenario on a temporary stack and print a report. Exit 0 if all pass."""
    from devstack.demo import run

    raise typer.Exit(run(data_dir))


@app.command(rich_help_panel=RUN)
def migrate(
    before: Annotated[
        bool, typer.Option("--before", help="Run only the steps for before the processes are replaced.")
    ] = False,
    after: Annotated[
        bool, typer.Option("--after", help="Run only the steps for after all processes are replaced.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--status", "--dry-run", help="Show what would run, and change nothing.")
    ] = False,
) -> None:
    """Migrate the database, and register Temporal's search attributes if Temporal is reachable."""
    from console.migration import run

    run(before=before, after=after, only_show=show)


@app.command(rich_help_panel=RUN)
def api() -> None:
    """Serve the REST API."""
    from api.serve import run
    from console import endpoints
    from console.process_priority import lower_process_priority

    settings = endpoints.all_settings()
    lower_process_priority(settings.api_nice)
    try:
        run(settings)
    except SystemExit as end:
        if end.code == STARTUP_FAILED:
            raise CommandError(
                f"The API did not start on {settings.api_host}:{settings.api_port}; the log above has the "
                "reason. If the port is in use, stop the process that listens there or set HERALD_API_PORT."
            ) from None
        raise


@app.command(rich_help_panel=RUN)
def worker(
    lanes: Annotated[
        str, typer.Option(help="Lanes to serve, separated by commas.")
    ] = "critical,high,normal,bulk",
) -> None:
    """Run a worker: the dispatcher, workflows and activities of its lanes.

    Run `critical` in its own process so that nothing delays it.
    """
    import worker as process
    from console import endpoints
    from console.process_priority import lower_process_priority
    from domain.notification import Lane

    try:
        chosen = [Lane(lane.strip()) for lane in lanes.split(",")]
    except ValueError:
        raise CommandError(
            f"--lanes {lanes!r} names an unknown lane. Use one or more of: {', '.join(Lane)}."
        ) from None
    settings = endpoints.all_settings()
    if Lane.CRITICAL not in chosen:
        lower_process_priority(settings.worker_nice)
    process.main(settings, chosen)


app.command(rich_help_panel=FOLLOW)(notifications.send)
app.command(rich_help_panel=FOLLOW)(notifications.show)
app.command("list", rich_help_panel=FOLLOW)(notifications.list_)
app.command(rich_help_panel=FOLLOW)(notifications.id)

app.command(rich_help_panel=OPERATE)(notifications.stuck)
app.add_typer(dead_letters.app, name="dlq", rich_help_panel=OPERATE)
app.add_typer(limits.app, name="limits", rich_help_panel=OPERATE)
app.add_typer(providers.app, name="providers", rich_help_panel=OPERATE)
app.command("replay", rich_help_panel=OPERATE)(replay.command)
app.add_typer(keys.app, name="keys", rich_help_panel=OPERATE)
app.add_typer(audit.app, name="audit", rich_help_panel=OPERATE)
app.command("doctor", rich_help_panel=OPERATE)(doctor.doctor)
app.command("capacity", rich_help_panel=OPERATE)(capacity.capacity)


if __name__ == "__main__":
    app()
