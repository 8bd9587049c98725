"""`plata lineage`: from a number to Raw, from a line of Raw to the numbers, and of one run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from lakehouse.errors import InputError
from serving.cli.output import emit
from serving.cli.tables import AsOfPoint

SHOWN = 5
"""Tickets of a number, and rows of a list, that are shown without --all."""

OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose data.")]


def register(app: typer.Typer) -> None:
    """Add the command at the top of the program."""
    app.command()(lineage)


def lineage(
    what: Annotated[str, typer.Argument(help="A table of Gold, or 'raw', or 'run'.")],
    tenant: OfTenant,
    which: Annotated[
        str | None,
        typer.Argument(help="After 'raw' FILE:LINE, an event or a ticket id; after 'run' its id."),
    ] = None,
    day: Annotated[str | None, typer.Option(help="The number's day, YYYY-MM-DD.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="pqrs_type, such as queja.")] = None,
    channel: Annotated[str | None, typer.Option(help="source_channel, such as email.")] = None,
    region: Annotated[str | None, typer.Option(help="geo_region.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", help="KEY=VALUE, for other keys: task=tipo, label=queja, …"),
    ] = None,
    measure: Annotated[
        str | None, typer.Option(help="Another count of the row, such as review or agreed.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="The run that counted it; the one served now if not given.")
    ] = None,
    as_of: AsOfPoint = None,
    history: Annotated[
        bool, typer.Option("--history", help="After 'raw': the numbers of earlier runs too.")
    ] = False,
    all_: Annotated[bool, typer.Option("--all", help="Leave nothing out of the tree.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value, whole.")] = False,
) -> None:
    """Say where a number comes from, line by line, and what a line has touched.

    Examples:
    plata lineage gold.kpi_volume_daily --day 2026-01-05 --type queja --tenant alcaldia-norte;
    plata lineage raw raw/pqrs/source=…/events.jsonl:12 --tenant alcaldia-norte;
    plata lineage run run-20260105T120000-1a2b3c4d --tenant alcaldia-norte
    """
    view = _View(tenant, whole=all_, as_json=as_json)
    if what == "raw":
        view.line(_needed(which, "raw FILE:LINE, or the id of an event or a ticket"), history)
    elif what == "run":
        view.run(_needed(which, "run RUN_ID; see `plata runs list`"))
    else:
        given = {"pqrs_type": type_, "source_channel": channel, "geo_region": region}
        narrowed = {name: value for name, value in given.items() if value is not None}
        counted_by = run if as_of is None else view.run_at(what, as_of, run)
        view.number(what, day, {**narrowed, **_pairs(where or [])}, measure, counted_by)


class _View:
    """Answers one question about one tenant, for people or for programs."""

    def __init__(self, tenant: str, *, whole: bool, as_json: bool) -> None:
        from pipelines.bootstrap import open_platform

        platform = open_platform()
        self._store = platform.store
        self._tenant = platform.tenant(tenant)
        self._ports = platform.lineage
        self._as_json = as_json
        self._limit = None if whole else SHOWN

    def run_at(self, table: str, as_of: str, run: str | None) -> str:
        """Return the run whose figures were the newest at a point in time."""
        from lakehouse.data.as_of import AsOf
        from pipelines.catalogue import run_at
        from pipelines.lineage import gold_table

        if run is not None:
            msg = "give one of --run and --as-of, not both"
            raise InputError(msg)
        ref, log = gold_table(table).table, self._ports.log
        return run_at(AsOf.parse(as_of), ref, self._tenant, store=self._store, log=log)

    def number(
        self,
        table: str,
        day: str | None,
        where: dict[str, str],
        measure: str | None,
        run: str | None,
    ) -> None:
        from pipelines.lineage import Question, explain, gold_table
        from serving.cli.lineage_view import number_tree

        contract = gold_table(table)
        question = Question(str(contract.table), _day(day), where, run, measure)
        limit = None if self._as_json else self._limit
        found = explain(question, self._tenant, self._ports, limit=limit)
        self._show(found, lambda: number_tree(found, limit=self._limit))

    def line(self, wanted: str, history: bool) -> None:
        from pipelines.lineage_forward import follow
        from serving.cli.lineage_view import footprint_tree

        found = follow(wanted, self._tenant, self._ports, history=history)
        self._show(found, lambda: footprint_tree(found, limit=self._limit))

    def run(self, run_id: str) -> None:
        from pipelines.lineage import gold_run
        from pipelines.lineage_runs import run_lineage
        from serving.cli.lineage_view import run_tree

        found = run_lineage(gold_run(run_id, self._tenant, self._ports))
        self._show(found, lambda: run_tree(found))

    def _show(self, found: Any, draw: Callable[[], tuple[RenderableType, str]]) -> None:
        """Print JSON, or a tree and below it whole paths: a terminal's width breaks none."""
        tree, legend = ("", "") if self._as_json else draw()
        emit(asdict(found), as_json=self._as_json, table=lambda: tree)
        if legend:
            sys.stdout.write(legend)


def _needed(value: str | None, usage: str) -> str:
    if value is None:
        msg = f"say what to follow: plata lineage {usage}"
        raise InputError(msg)
    return value


def _day(text: str | None) -> date:
    if text is None:
        msg = "say the number's day: --day YYYY-MM-DD"
        raise InputError(msg)
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        msg = f"--day is '{text}', expected a day such as 2026-01-31"
        raise InputError(msg) from error


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in given]
    wrong = [name for name, equals, _ in pairs if not equals or not name]
    if wrong:
        msg = f"--where '{wrong[0]}' is no pair, expected KEY=VALUE such as label=queja"
        raise InputError(msg)
    return {name: value for name, _, value in pairs}
