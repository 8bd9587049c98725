"""`plata ingest`, `plata run` and its single layers, `plata search`: data in, through and found."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.cli.output import emit, grid

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose data.")]


class Only(StrEnum):
    """The layers that can be run alone."""

    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"


def register(app: typer.Typer) -> None:
    """Add the commands at the top of the program."""
    app.command()(ingest)
    app.command()(run)
    app.command()(bronze)
    app.command()(silver)
    app.command()(gold)
    app.command()(search)


def ingest(
    files: Annotated[
        list[Path],
        typer.Argument(help="JSON lines, CSV or Parquet, .gz and .zst too; folders; - for stdin."),
    ],
    tenant: OfTenant,
    source: Annotated[str, typer.Option("--source", "-s", help="Where it comes from.")],
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", help="FIELD=COLUMN, once a field; text is needed."),
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="YAML file of 'field: column' lines, instead of --map.")
    ] = None,
    email: Annotated[bool, typer.Option("--email", help="The records are e-mails.")] = False,
    timezone: Annotated[
        str, typer.Option(help="Time zone of dates that name none, with --map or --mapping.")
    ] = "UTC",
    as_json: AsJson = False,
) -> None:
    """Land files in Raw: events of the Raw contract as they are, plain texts through a mapping.

    The fields are text, subject, external_id, created_at, channel, type, priority, region,
    municipio and dane_city_code. The same file with the same mapping lands once.

    Example: plata ingest solicitudes.csv --tenant alcaldia-norte --source portal
    --map text=texto --map external_id=id --map created_at=fecha
    """
    from pipelines.bootstrap import open_platform
    from pipelines.ingest import RawStore, check_source
    from pipelines.ingest import ingest as land
    from pipelines.source_files import SourceFile

    chosen = _mapping(map_ or [], mapping, email=email, timezone=timezone)
    check_source(source)
    with _spooled(files) as paths:
        found = SourceFile.find_all(paths)
        platform = open_platform()
        context = platform.tenant(tenant)
        raw = RawStore(platform.files, platform.landings)
        done = []
        for file in found:
            with _bytes_read(file.path) as progress:
                done.append(
                    land(
                        file,
                        context,
                        source=source,
                        mapping=chosen,
                        raw=raw,
                        at=datetime.now(UTC),
                        progress=progress,
                    )
                )
    rows: list[dict[str, Any]] = [
        {
            "file": landed.landing.file_name,
            "new": landed.is_new,
            "events": landed.events,
            "landing": landed.landing.run_id,
            "path": landed.landing.path,
            "left_out": landed.left_out,
        }
        for landed in done
    ]
    emit(
        rows,
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: landed in Raw",
            ["file", "", "events", "landing", "values not understood"],
            [
                [
                    r["file"],
                    "landed" if r["new"] else "had landed before: nothing to do",
                    r["events"],
                    r["landing"],
                    ", ".join(f"{name}: {n}" for name, n in r["left_out"].items()),
                ]
                for r in rows
            ],
        ),
    )


def run(
    tenant: OfTenant,
    only: Annotated[Only | None, typer.Option(help="Run one layer alone.")] = None,
    bundle: Annotated[
        str | None, typer.Option(help="Another bundle than the champion, for this run alone.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a tenant from Raw to Gold. A run that was killed goes on where it was.

    A new run is planned against the tenant's champion bundle, and keeps it to its end.

    Example: plata run --tenant alcaldia-norte --bundle bundle-528af0c91323
    """
    if only is not None and bundle is not None:
        from lakehouse.errors import InputError

        msg = "--bundle is for a whole run; leave out --only"
        raise InputError(msg)
    if only is Only.BRONZE:
        bronze(tenant, as_json)
    elif only is Only.SILVER:
        silver(tenant, as_json)
    elif only is Only.GOLD:
        gold(tenant, as_json)
    else:
        _run_all(tenant, bundle, as_json)


def _run_all(tenant: str, bundle: str | None, as_json: bool) -> None:
    from pipelines.bootstrap import open_platform

    platform = open_platform()
    context = platform.tenant(tenant)
    with steps_shown() as tell:
        manifest = platform.run(context, bundle=bundle, tell=tell)
    _show_manifest(tenant, None if manifest is None else manifest.as_dict(), as_json)


def bronze(tenant: OfTenant, as_json: AsJson = False) -> None:
    """Take what waits in Raw to Bronze, and leave the run open for Silver.

    Example: plata bronze --tenant alcaldia-norte
    """
    from pipelines.bootstrap import code_version, open_platform
    from pipelines.run import run_bronze

    platform = open_platform()
    context = platform.tenant(tenant)
    with steps_shown() as tell:
        planned = run_bronze(
            context,
            platform.tasks(context),
            platform.run_ports,
            at=datetime.now(UTC),
            code_version=code_version(),
            tell=tell,
        )
    run_id = None if planned is None else planned.run.run_id
    _show_layer(tenant, "bronze", run_id, as_json)


def silver(tenant: OfTenant, as_json: AsJson = False) -> None:
    """Take the open run from Bronze to Silver: tables, vectors, answers, index.

    Example: plata silver --tenant alcaldia-norte
    """
    from pipelines.bootstrap import open_platform
    from pipelines.run import run_silver

    platform = open_platform()
    with steps_shown() as tell:
        planned = run_silver(platform.tenant(tenant), platform.run_ports, tell=tell)
    _show_layer(tenant, "silver", planned.run.run_id, as_json)


def gold(tenant: OfTenant, as_json: AsJson = False) -> None:
    """Count Gold from Silver: ends an open run, or counts again after labels came in.

    Example: plata gold --tenant alcaldia-norte
    """
    from pipelines.bootstrap import code_version, open_platform
    from pipelines.run import run_gold

    platform = open_platform()
    with steps_shown() as tell:
        manifest = run_gold(
            platform.tenant(tenant),
            platform.run_ports,
            at=datetime.now(UTC),
            code_version=code_version(),
            tell=tell,
        )
    _show_manifest(tenant, manifest.as_dict(), as_json)


def search(
    text: Annotated[str, typer.Argument(help="What to look for, in plain words.")],
    tenant: OfTenant,
    k: Annotated[int, typer.Option("-k", min=1, max=500, help="How many.")] = 10,
    words: Annotated[
        bool, typer.Option("--words", help="Also how each begins, personal data masked.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find the tickets that mean what a text means. Shows no text of a ticket unless asked to.

    Example: plata search "cobro doble en la factura" --tenant alcaldia-norte -k 5 --words
    """
    from pipelines.bootstrap import open_platform
    from pipelines.search import labels_now, newest_bundle, openings, search_tickets

    platform = open_platform()
    ports = platform.run_ports
    context = platform.tenant(tenant)
    found = search_tickets(
        text,
        context,
        log=platform.runs,
        registry=platform.registry,
        models=ports.models,
        index=platform.index,
        k=k,
    )
    begins = openings(found, context, platform.store) if words else {}
    first = newest_bundle(context, platform.runs).tasks[0].task
    now = labels_now(found, first, context, platform.store)
    rows = [
        {
            "similarity": round(n.similarity, 4),
            "label": now.get(n.ticket_id, (n.label, ""))[0],
            "source": now.get(n.ticket_id, ("", None))[1],
            "day": n.day.isoformat(),
            "ticket_id": n.ticket_id,
            "run_id": n.run_id,
            **({"text": begins.get(n.ticket_id)} if words else {}),
        }
        for n in found
    ]
    columns = {
        "similarity": "similitud",
        "label": "etiqueta",
        "source": "según",
        "day": "fecha",
        "ticket_id": "radicado",
        **({"text": "comienza"} if words else {}),
    }
    emit(
        rows,
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: solicitudes parecidas",
            [*columns.values()],
            [[_WHO.get(str(row[name]), row[name]) for name in columns] for row in rows],
        ),
    )


_WHO: dict[str, Any] = {"human": "personas", "machine": "modelo"}


def _mapping(pairs: list[str], file: Path | None, *, email: bool, timezone: str) -> Any:
    from lakehouse.errors import InputError
    from pipelines.mapping import EMAIL, ColumnMapping

    if sum([bool(pairs), file is not None, email]) > 1:
        msg = "give one of --map, --mapping and --email, not several"
        raise InputError(msg)
    if file is not None:
        return ColumnMapping.read(file, timezone=timezone)
    if pairs:
        return ColumnMapping.parse(pairs, timezone=timezone)
    return EMAIL if email else None


@contextmanager
def _spooled(files: list[Path]) -> Iterator[list[Path]]:
    """Replace `-` by a file with what comes on standard input."""
    with tempfile.TemporaryDirectory(prefix="plata-stdin-") as folder:
        spool = Path(folder) / "stdin.jsonl"
        if Path("-") in files:
            with spool.open("wb") as sink:
                shutil.copyfileobj(sys.stdin.buffer, sink)
        yield [spool if path == Path("-") else path for path in files]


@contextmanager
def _bytes_read(path: Path) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(path.name, total=None)
        yield lambda size: progress.advance(task, size)


@contextmanager
def steps_shown() -> Iterator[Callable[[Any, int, int], None]]:
    """Draw one bar a step on standard error; print a line a step where nobody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    bars: dict[str, Any] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def tell(step: Any, done: int, total: int) -> None:
            name = str(step)
            if name not in bars:
                bars[name] = progress.add_task(name, total=total)
                if not console.is_terminal:
                    console.print(f"{name}: {total:,} rows")
            progress.update(bars[name], completed=done, total=total)

        yield tell


def _show_layer(tenant: str, layer: str, run_id: str | None, as_json: bool) -> None:
    if run_id is None:
        _show_manifest(tenant, None, as_json)
        return
    emit(
        {"tenant": tenant, "layer": layer, "run_id": run_id, "open": True},
        as_json=as_json,
        table=lambda: (
            f"{tenant}: {layer} of {run_id} is done; the run stays open, "
            f"`plata run --tenant {tenant}` takes it to Gold"
        ),
    )


def _show_manifest(tenant: str, manifest: dict[str, Any] | None, as_json: bool) -> None:
    if manifest is None:
        emit(
            {"tenant": tenant, "run_id": None, "message": "nothing waits in Raw"},
            as_json=as_json,
            table=lambda: f"{tenant}: nothing waits in Raw, so there is nothing to do",
        )
        return
    unproven = [
        f"{name.removesuffix('.guarantee')}: {said}"
        for name, said in manifest.get("pins", {}).items()
        if name.endswith(".guarantee") and said.startswith("none")
    ]
    warned = f"; NOTHING IS ACCEPTED without a guarantee: {', '.join(unproven)}" if unproven else ""
    emit(
        manifest,
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: {manifest['run_id']} has ended{warned}",
            ["table", "rows of this run"],
            [[table, rows] for table, rows in manifest["counts"].items()],
        ),
    )
