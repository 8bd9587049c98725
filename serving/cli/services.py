"""`plata up`, `down`, `status`, `logs` and `doctor`: the local services."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from serving.cli.output import console, emit, grid

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
NOT_RUNNING = 3
"""Exit code of `plata status` when nothing runs, as of init scripts."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, down, status, logs, doctor):
        app.command()(command)


def up(
    services: Annotated[
        list[str] | None, typer.Argument(help="Only these and what they need; all by default.")
    ] = None,
) -> None:
    """Start the local services and wait until each answers; what runs already is left alone.

    A service with a URL in the settings (PLATA_POSTGRES_URL, PLATA_MLFLOW_URL, …) is not started.
    With Postgres, Plata's own tables are made, or brought up to date.

    Examples: plata up, plata up postgres mlflow
    """
    from infra.embedded.control import start, stop
    from infra.embedded.layout import Layout
    from infra.embedded.state import SupervisorState, read_state
    from lakehouse.control.migrate import migrate
    from lakehouse.settings import Settings
    from serving.cli.progress import Progress

    settings = Settings()
    before: SupervisorState | None = read_state(Layout.of(settings.home))
    try:
        with Progress(console()) as progress:
            only = frozenset(services) if services else None
            endpoints = start(settings, only, progress.show)
            if only is None or "postgres" in only:
                migrate(endpoints.postgres_url)
    except KeyboardInterrupt:
        if before is None:
            stop(settings.home)
        raise typer.Exit(130) from None
    console().print(progress.summary())


def down() -> None:
    """Stop every local service, in order; the data stay.

    Example: plata down
    """
    from infra.embedded.control import stop
    from lakehouse.settings import Settings

    stopped = stop(Settings().home)
    console().print("The services are stopped." if stopped else "No service was running.")


def status(as_json: AsJson = False) -> None:
    """Show each service: state, address, version, memory, and whether it answers.

    Exit code 0 when all is well, 1 when a service is not, 3 when nothing runs.

    Examples: plata status, plata status --json
    """
    from infra.embedded.status import read_status
    from lakehouse.settings import Settings

    found = read_status(Settings())
    emit(_as_value(found), as_json=as_json, table=lambda: _table(found))
    if not as_json and found.endpoints.argilla_username:
        login = f"{found.endpoints.argilla_username} / {found.endpoints.argilla_password}"
        console().print(f"Argilla log-in: {login}")
    if not found.well:
        raise typer.Exit(1)
    if not found.running and not any(s.state == "external" for s in found.services):
        raise typer.Exit(NOT_RUNNING)


def _as_value(found: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "running": found.running,
        "well": found.well,
        "memory_bytes": found.memory_bytes,
        "services": [asdict(service) for service in found.services],
        "endpoints": {
            name: value
            for name, value in asdict(found.endpoints).items()
            # Secrets stay in their file: output is piped into logs.
            if name not in ("postgres_url", "argilla_api_key", "argilla_password")
        },
    }


def _table(found: Any) -> Any:
    rows = [
        [s.service, str(s.state), s.url, s.version, _mib(s.memory_bytes), s.health or "–"]
        for s in found.services
    ]
    rows.append(["total", "", "", "", _mib(found.memory_bytes), ""])
    return grid("Services", ["service", "state", "address", "version", "memory", "health"], rows)


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB" if count else "–"


def logs(
    service: Annotated[str, typer.Argument(help="postgres, mlflow, …, or supervisor.")],
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many of the last.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Wait for more.")] = False,
) -> None:
    """Print the end of a service's log.

    Examples: plata logs mlflow, plata logs postgres -n 200 -f
    """
    import sys

    from infra.embedded.errors import UnknownServiceError
    from infra.embedded.layout import Layout
    from infra.embedded.plan import SERVICES, unit_names
    from infra.embedded.state import last_lines
    from lakehouse.settings import Settings

    settings = Settings()
    units = [unit for name in SERVICES for unit in unit_names(name, settings.workers)]
    known = (*units, "supervisor")
    layout = Layout.of(settings.home)
    if service not in known and not layout.log(service).is_file():
        raise UnknownServiceError.among(service, known)
    for line in last_lines(layout, service, lines):
        sys.stdout.write(line + "\n")
    if follow:
        try:
            _follow(layout.log(service))
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def _follow(path: Any) -> None:
    import sys
    import time

    position = path.stat().st_size if path.exists() else 0
    while True:
        size = path.stat().st_size if path.exists() else 0
        position = min(position, size)  # a new file after the old one grew too long
        if size > position:
            with path.open("rb") as file:
                file.seek(position)
                sys.stdout.write(file.read(size - position).decode(errors="replace"))
            sys.stdout.flush()
            position = size
        time.sleep(0.2)


def doctor(as_json: AsJson = False) -> None:
    """Look for what would keep the services from running, and say how to mend it.

    Exit code 1 when there is an error; warnings do not count.

    Examples: plata doctor, plata doctor --json
    """
    from dataclasses import asdict

    from infra.embedded.doctor import Verdict, examine
    from lakehouse.settings import Settings

    checks = examine(Settings())
    emit(
        [asdict(check) for check in checks],
        as_json=as_json,
        table=lambda: grid(
            "Doctor",
            ["check", "verdict", "found", "what to do"],
            [[c.name, str(c.verdict), c.found, c.remedy] for c in checks],
        ),
    )
    if any(check.verdict is Verdict.ERROR for check in checks):
        raise typer.Exit(1)
