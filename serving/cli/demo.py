"""`plata demo`: from nothing to enriched, searched, watched and reviewed requests."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType

from serving.cli.output import console, emit, grid
from serving.cli.stages import StageView

PICTURE_WIDTH = 118


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    real: Annotated[
        Path | None,
        typer.Option(help="Folder of the real data sets: their tenants are added."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Also save the final screen, as SVG.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON value at the end.")
    ] = False,
) -> None:
    """Start the services and take the bundled corpus, as two tenants, from Raw to Gold.

    Trains and promotes a model for each task, watches for drift, and sends doubtful requests to
    Argilla. A second time it is quick and duplicates nothing. The services stay up: `plata down`.

    Examples: plata demo, plata demo --real ../shared/data
    """
    from pipelines.real_data import real as real_scenarios
    from pipelines.scenario import bundled

    if picture is not None:
        _check_writable(picture)
    scenarios = (*bundled(), *(() if real is None else real_scenarios(real)))
    screen = Console(stderr=True, highlight=False) if as_json else console()
    view = StageView(screen)
    _start(screen, view)
    from pipelines.bootstrap import open_platform
    from pipelines.demo import stages
    from pipelines.overview import survey

    platform = open_platform()
    for stage in stages(scenarios, platform):
        with view.at_work(stage.title) as work:
            work.result = stage.act(work.say)
    summary = {
        **asdict(survey([s.tenant_id for s in scenarios], platform)),
        "stages": [asdict(stage) for stage in view.done],
        "seconds": sum(stage.seconds for stage in view.done),
    }
    if picture is not None:
        _save(summary, picture)
    emit(summary, as_json=as_json, table=lambda: _screen(summary))


def _start(screen: Console, view: StageView) -> None:
    from infra.embedded.control import start
    from pipelines.bootstrap import read_settings
    from serving.cli.progress import Progress

    with view.timed("services") as work, Progress(screen) as progress:
        start(read_settings(), None, progress.show)
        work.result = progress.summary()


_LAYERS = {
    "Raw events": "raw_events",
    "Bronze events": "bronze_pqrs_events",
    "Bronze quarantine": "bronze_quarantine",
    "Silver tickets": "silver_tickets",
    "Silver messages": "silver_messages",
    "Silver status events": "silver_status_events",
    "Silver quarantine": "silver_quarantine",
    "Silver attachments": "silver_attachments",
    "Silver classifications": "silver_classifications",
    "Silver embeddings": "silver_embeddings",
    "Silver entities": "silver_entities",
    "vectors in pgvector": "vectors",
    "Silver labels": "silver_labels",
    "Gold volume": "gold_kpi_volume_daily",
    "Gold backlog": "gold_kpi_backlog_daily",
    "Gold SLA": "gold_kpi_sla_daily",
    "Gold tickets": "gold_tickets_snapshot",
    "Gold status flow": "gold_status_flow",
    "Gold MLOps": "gold_kpi_mlops_daily",
}


def _screen(summary: Mapping[str, Any]) -> RenderableType:
    tenants = summary["tenants"]
    names = [tenant["tenant_id"] for tenant in tenants]
    layers = grid(
        "Rows per layer",
        ["", *names],
        [[title, *(t["rows"][key] for t in tenants)] for title, key in _LAYERS.items()],
    )
    pins = grid(
        "What answered the newest run",
        ["pin", *names],
        [
            [pin, *(t["pins"].get(pin, "") for t in tenants)]
            for pin in sorted({pin for t in tenants for pin in t["pins"]})
        ],
    )
    outcome = grid(
        "Answers, review and drift",
        ["tenant", "task", "model", "answers", "automated", "waiting for a person", "drift"],
        [row for tenant in tenants for row in _outcomes(tenant)],
    )
    took = grid(
        f"Timings: {summary['seconds']:.0f} s in all; "
        f"services hold {summary['memory_bytes'] / 2**20:,.0f} MB",
        ["stage", "seconds"],
        [[stage["title"], f"{stage['seconds']:.1f}"] for stage in summary["stages"]],
    )
    logins = [["Argilla", summary["argilla_owner"], "owner"]] + [
        ["Argilla", tenant["reviewer"], f"reviewer of {tenant['tenant_id']}"] for tenant in tenants
    ]
    pages = grid(
        "Open in a browser (loopback only; `plata down` stops everything)",
        ["page", "address", "log-in"],
        [
            *([name, url, ""] for name, url in summary["urls"].items()),
            *(
                [name, who, f"{login['username']} / {login['password']}"]
                for name, login, who in logins
                if login["username"]
            ),
        ],
    )
    return Group(layers, pins, outcome, took, pages)


def _outcomes(tenant: Mapping[str, Any]) -> list[list[Any]]:
    return [
        [
            tenant["tenant_id"],
            a["task"],
            a["model"],
            a["classified"],
            f"{a['accepted'] / max(a['classified'], 1):.0%}",
            ", ".join(f"{n} {why}" for why, n in tenant["pending"].get(a["task"], {}).items() if n),
            tenant["drift"].get(a["task"], "not measured"),
        ]
        for a in tenant["automation"]
    ]


def _save(summary: Mapping[str, Any], picture: Path) -> None:
    """Draw the screen once more, as a picture, with the passwords left out."""
    hidden = {"username": "", "password": ""}
    safe = {
        **summary,
        "argilla_owner": hidden,
        "tenants": [{**tenant, "reviewer": hidden} for tenant in summary["tenants"]],
    }
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        canvas = Console(record=True, width=PICTURE_WIDTH, file=nowhere, highlight=False)
        canvas.print(_screen(safe))
    drawn = canvas.export_svg(title="plata demo")
    picture.write_text(_WEB_FONT.sub("", drawn), encoding="utf-8")


_WEB_FONT = re.compile(r"@font-face {.*?}", re.DOTALL)
"""Rich's pictures ask the network for their font; the reader's own monospace serves as well."""


def _check_writable(picture: Path) -> None:
    from lakehouse.errors import InputError

    if picture.is_dir() or not os.access(picture.absolute().parent, os.W_OK | os.X_OK):
        msg = (
            f"the picture cannot be written to '{picture}'; "
            "name a file in a folder that exists and is yours to write"
        )
        raise InputError(msg)
