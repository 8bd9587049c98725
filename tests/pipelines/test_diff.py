from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from contracts.tables import CLASSIFICATIONS_SIDE, TICKETS
from labeling.accounts import ReviewerAccounts
from labeling.memory import MemoryReviewQueue
from lakehouse.data.duckdb_query import DuckDbEngine
from lakehouse.errors import InputError
from pipelines.answer_diff import Cell, Flip, ScoreShift, Slice, TaskDiff
from pipelines.budget import Budget
from pipelines.diff import Named, diff_bundles
from pipelines.diff_page import page
from pipelines.diff_report import DiffReport, PinChange, Side
from pipelines.diff_review import send_flips
from pipelines.gold_diff import DayMove, Move, TableMove
from pipelines.reenrich_plan import Request, unfinished

ENGINE = DuckDbEngine()
HOSTILE = "<script>alert('1')</script> & \"cobro\""


def compared(here: Any, one: str, other: str, **more: Any) -> DiffReport:
    old, new = (Named(version, here.champion(version)) for version in (one, other))
    request = Request("now", old.bundle, **more.pop("request", {}))
    at = here.kit.SECOND + timedelta(hours=more.pop("hours", 1))
    return diff_bundles(old, new, request, here.kit.NORTE, here.ports, ENGINE, at=at, **more)


def test_two_bundles_are_compared_and_only_what_nobody_knew_was_asked(
    place: Callable[[], Any],
) -> None:
    here = place()
    report = compared(here, "2", "7")
    tickets = here.rows(CLASSIFICATIONS_SIDE)["ticket_id"].unique()
    assert report.tickets == len(tickets)
    assert set(here.rows(CLASSIFICATIONS_SIDE)["model_version"].to_pylist()) == {"7"}
    assert {task.task for task in report.tasks} == {"tipo", "prioridad"}
    assert report.flips > 0
    assert {pin.part for pin in report.pins} == {"tipo.champion", "prioridad.champion"}
    assert "gold.kpi_volume_daily" in {move.table for move in report.gold}
    asked = len(here.asked)
    again = compared(here, "2", "7", hours=2)
    assert (len(here.asked), again.tasks, again.gold) == (asked, report.tasks, report.gold)


def test_two_bundles_nobody_asked_before_are_both_asked(place: Callable[[], Any]) -> None:
    here = place()
    report = compared(here, "7", "8", request={"tasks": ("tipo",)})
    rows = here.rows(CLASSIFICATIONS_SIDE)
    assert sorted(rows["model_version"].unique().to_pylist()) == ["7", "8"]
    assert len(rows["run_id"].unique()) == 2
    assert [task.task for task in report.tasks] == ["tipo"]


def test_a_bundle_beside_itself_changes_nothing(place: Callable[[], Any]) -> None:
    report = compared(place(), "2", "2")
    assert (report.flips, report.pins, report.gold) == (0, (), ())


def test_a_condition_holds_for_both_sides_and_for_gold(place: Callable[[], Any]) -> None:
    here = place()
    report = compared(here, "2", "7", request={"where": "day = '2026-01-05'"})
    days = here.rows(TICKETS).filter(
        pc.equal(here.rows(TICKETS)["day"].cast("string"), "2026-01-05")
    )
    assert 0 < report.tickets <= len(days)
    moved = {m.key["day"] for move in report.gold if "volume" in move.table for m in move.moves}
    assert moved <= {"2026-01-05"}


def test_answers_a_budget_did_not_reach_are_kept_and_the_way_on_is_said(
    place: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.answer_batches.BATCH_TEXTS", 8)
    here = place()
    clock = iter(range(10_000))
    budget = Budget(seconds=2, clock=lambda: float(next(clock)))
    with pytest.raises(InputError, match="plata reenrich --resume --tenant norte"):
        compared(here, "2", "7", budget=budget)
    assert unfinished(here.kit.NORTE, here.ports) is not None


def test_the_flips_most_worth_a_look_wait_for_a_person_once(
    place: Callable[[], Any], tmp_path: Path
) -> None:
    here = place()
    report = compared(here, "2", "7")
    queue, ports = MemoryReviewQueue(), here.ports
    accounts = ReviewerAccounts(tmp_path / "reviewers.json")
    for added in (3, 0):
        sent = send_flips(
            report.tasks,
            here.champion("7"),
            here.kit.NORTE,
            here.kit.tasks(),
            3,
            store=ports.store,
            queue=queue,
            log=ports.log,
            accounts=accounts,
        )
        assert [pushed.added for pushed in sent] == [added, added]
    (types,) = (task for task in report.tasks if task.task == "tipo")
    cases = {case.id.ticket_id: case for case in queue.cases("tipo", here.kit.NORTE)}
    wanted = {flip.ticket_id: flip.new for flip in types.worth_a_look[:3]}
    assert {ticket: case.origin.suggestion for ticket, case in cases.items()} == wanted


def a_report(text: str = HOSTILE) -> DiffReport:
    flip = Flip(
        ticket_id="6f1d",
        task="tipo",
        source="portal",
        day=datetime(2026, 1, 5, tzinfo=UTC).date(),
        channel="email",
        region=text,
        old="queja",
        new="reclamo",
        old_score=0.61,
        new_score=0.83,
        margin=0.2,
        worth=0.8,
        because="duda",
        text=text,
    )
    task = TaskDiff(
        task="tipo",
        tickets=1234,
        flips=12,
        only_old=1,
        only_new=0,
        confusion=(Cell("queja", "queja", 1222), Cell("queja", "reclamo", 12)),
        decisions=(Cell("review", "accept", 7),),
        scores=ScoreShift(0.71, 0.74, tuple(range(20)), tuple(range(20, 0, -1))),
        slices=(Slice("region", text, 100, 12, 0.07, 0.19), Slice("month", "2026-01", 9, 1, 0, 1)),
        examples=(flip,),
        worth_a_look=(flip,),
    )
    day = DayMove(flip.day, 3.0, 1.0)
    move = Move({"day": "2026-01-05", "pqrs_type": "queja"}, "tickets", 10.0, 7.0)
    gold = TableMove("gold.kpi_volume_daily", 9, 2, {"tickets": 2}, "tickets", (day,), (move,))
    return DiffReport(
        tenant="norte",
        as_of="2026-01-31",
        versions="silver_messages@3 silver_tickets@2",
        where="day >= '2026-01-01'",
        old=Side("bundle:/norte@champion", "bundle-1"),
        new=Side(text, "bundle-2"),
        pins=(PinChange("tipo.champion", "models:/norte.tipo/1", None),),
        tickets=1234,
        tasks=(task,),
        gold=(gold,),
        made_at="2026-02-01T10:00+00:00",
    )


class Seen(HTMLParser):
    """Notes elements that are open or could load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.unwelcome: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        if tag in {"script", "link", "img", "iframe", "object"} or names & {"src", "href"}:
            self.unwelcome.append(tag)
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_and_runs_nothing() -> None:
    written = page(a_report(), {"tipo": {"queja": "Queja", "reclamo": "Reclamo"}})
    seen = Seen()
    seen.feed(written.replace("<!doctype html>", ""))
    assert (seen.open, seen.unwelcome) == ([], [])
    assert "default-src 'none'" in written
    assert "http" not in written.replace("http-equiv", "")


def test_what_came_from_outside_is_text_on_the_page_and_nothing_else() -> None:
    written = page(a_report(), {"tipo": {"queja": HOSTILE}})
    assert "<script" not in written
    assert "&lt;script&gt;" in written


def test_the_page_speaks_spanish_and_writes_numbers_as_they_are_read_there() -> None:
    written = page(a_report("cobro"), {"tipo": {"queja": "Queja"}})
    assert '<html lang="es">' in written
    for words in ("Cambian <b>12</b> de 1.234 respuestas", "Por región", "va a una persona", "−3"):
        assert words in written
    assert "prefers-color-scheme: dark" in written


def test_a_page_where_nothing_changed_says_so() -> None:
    report = a_report()
    task = report.tasks[0]
    calm = TaskDiff("tipo", 5, 0, 0, 0, (Cell("queja", "queja", 5),), (), task.scores, (), (), ())
    still = replace(report, tasks=(calm,), gold=())
    written = page(still, {})
    assert "Ninguno: no cambió nada." in written
    assert "<p>Ninguna.</p>" in written
