"""The page of a review shows what was counted, in Spanish, and lets nothing in that could run."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from contracts.tables import LABELS
from labeling.agreement import measure
from labeling.queue import Reason
from labeling.workload import Load, Pace, last_days
from pipelines.review_effect import Effect, Promised
from pipelines.review_page import page, told
from pipelines.review_report import (
    BOGOTA,
    Automation,
    ReviewReport,
    TaskReview,
    Together,
    together,
)

NOW = datetime(2026, 3, 12, 20, 5, tzinfo=UTC)
LOAD = Load(
    Reason.DOUBT,
    pending=1_234,
    draft=0,
    partly=7,
    discarded=2,
    done=90,
    oldest=timedelta(days=12),
    median=timedelta(hours=30),
    ages=(1_000, 200, 31, 10, 0),
)
ANSWERS = pl.DataFrame(
    {
        "ticket_id": ["t1", "t1", "t2", "t2", "t3", "t3"],
        "reviewer": ["ana-norte", "luis-norte"] * 3,
        "label": ["queja", "queja", "reclamo", "reclamo", "queja", "reclamo"],
    }
)
BETTER = Effect(
    Promised(NOW - timedelta(days=30), "b1", 0.05, 0.1, (), 300, 0.61),
    Promised(NOW, "b1", 0.05, 0.1, (), 420, 0.68),
)
TASK = TaskReview(
    "tipo",
    cases={},
    labels=90,
    loads=(LOAD,),
    paces=(Pace("<b>ana</b>-norte", (0, 0, 0, 0, 0, 3, 5), 8, 6),),
    together=Together(20, 18, measure(ANSWERS)),
    automation=(Automation("norte.tipo/2", date(2026, 3, 1), date(2026, 3, 9), 1_000, 681),),
    effect=BETTER,
)
BARE = TaskReview("prioridad", {}, 0, (), (), Together(0, 0, measure(ANSWERS.clear())), ())


@pytest.fixture
def written() -> str:
    return page(ReviewReport("norte", NOW, last_days(NOW, BOGOTA), (TASK, BARE)))


def test_the_page_tells_what_waits_since_when_and_who_answered(written: str) -> None:
    text = " ".join(re.sub(r"<style>.*</style>|<[^>]+>", " ", written, flags=re.DOTALL).split())
    assert "2026-03-12 a las 15:05" in text
    assert "1.241 casos esperan a una persona" in text
    assert "12 días espera el más antiguo" in text
    assert "duda 1.241 7 2 90 1 día 12 días" in text
    assert "tipo/2 68,1 % de 1.000" in text
    assert "En 18 de 20 radicados que vieron dos o más personas" in text
    assert "α de Krippendorff: 0,44" in text
    assert "ana y luis 3 66,7 % 0,40" in text


def test_what_labels_bought_is_said_with_the_promise_it_holds_under(written: str) -> None:
    said = "120 etiquetas más subieron la automatización de 61,0 % a 68,0 %, con la misma garantía"
    assert said in " ".join(written.split())
    assert "También cambió" not in written


def test_a_rise_with_another_bundle_says_so_and_a_fall_is_no_rise() -> None:
    retrained = replace(BETTER, after=replace(BETTER.after, bundle_id="b2"))
    assert told(retrained, str).endswith("También cambió el paquete que responde.")
    worse = replace(BETTER, after=replace(BETTER.after, coverage=0.5))
    assert told(worse, str).startswith("La automatización pasó de 0.61 a 0.5, con 300 y luego 420")


def test_what_is_not_known_is_said_to_be_so(written: str) -> None:
    assert "Nada: la cola está vacía" in written
    assert "ningún radicado tiene respuestas de dos personas" in written
    assert "Gold no cuenta ninguna respuesta" in written


def test_a_name_from_outside_is_text_and_nothing_is_fetched(written: str) -> None:
    assert "&lt;b&gt;ana&lt;/b&gt;" in written
    assert "<script" not in written
    assert not re.findall(r"(?:src|href)=", written)


def facts(*said: tuple[str, str, str]) -> pl.DataFrame:
    shape = pl.DataFrame(pl.from_arrow(LABELS.empty()))
    rows = [
        {
            "label_id": f"l{place}",
            "ticket_id": ticket,
            "task": "tipo",
            "reviewer": reviewer,
            "label": label,
            "responded_at": NOW,
        }
        for place, (ticket, reviewer, label) in enumerate(said)
    ]
    return pl.concat([shape, pl.DataFrame(rows)], how="diagonal_relaxed")


def test_people_agree_where_all_who_answered_said_the_same() -> None:
    found = together(
        facts(
            ("t1", "ana", "queja"),
            ("t1", "luis", "queja"),
            ("t2", "ana", "queja"),
            ("t2", "luis", "reclamo"),
            ("t3", "ana", "queja"),
        )
    )
    assert (found.tickets, found.unanimous, found.agreement.shared) == (2, 1, 2)
