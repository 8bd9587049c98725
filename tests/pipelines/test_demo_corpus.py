"""The demo's deliveries: the same bytes each time, and nothing learned from what is judged."""

from __future__ import annotations

import csv
import io
import json

import polars as pl
import pytest

from pipelines.demo_corpus import (
    ALCALDIA,
    SERVICIOS,
    TENANTS,
    TEXT_COLUMNS,
    DemoTenant,
    Part,
    as_events,
    as_texts,
    corpus,
    labelled_history,
    requests_of,
)
from pipelines.sequences import CHANGE, in_sequence


def test_every_request_goes_to_one_tenant_and_one_part() -> None:
    dealt = [r["id"] for tenant in TENANTS for part in Part for r in requests_of(tenant, part)]
    assert sorted(dealt) == sorted(r["id"] for r in corpus())


@pytest.mark.parametrize("tenant", TENANTS, ids=lambda tenant: tenant.tenant_id)
def test_no_text_of_the_new_week_is_in_the_labelled_history(tenant: DemoTenant) -> None:
    learned = {json.loads(line)["texto"] for line in labelled_history().splitlines()}
    assert learned.isdisjoint(r["texto"] for r in requests_of(tenant, Part.WEEK))


def test_two_deliveries_are_the_same_bytes() -> None:
    assert as_events(ALCALDIA, Part.WEEK) == as_events(ALCALDIA, Part.WEEK)
    assert as_texts(SERVICIOS, Part.WEEK) == as_texts(SERVICIOS, Part.WEEK)


def test_each_request_arrives_as_a_ticket_and_its_text() -> None:
    events = [json.loads(line) for line in as_events(ALCALDIA, Part.WEEK).splitlines()[:-4]]
    kinds = [event["event_type"] for event in events]
    size = len(requests_of(ALCALDIA, Part.WEEK))
    assert (kinds.count("TICKET_CREATED"), kinds.count("MESSAGE_ADDED")) == (size, size)
    assert len({event["event_id"] for event in events}) == len(events)


def test_the_plain_texts_have_the_columns_they_are_mapped_by() -> None:
    rows = list(csv.DictReader(io.StringIO(as_texts(SERVICIOS, Part.HISTORY))))
    assert len(rows) == len(requests_of(SERVICIOS, Part.HISTORY))
    assert set(TEXT_COLUMNS.values()) == set(rows[0])


def test_every_change_of_state_keeps_the_machine() -> None:
    lines = as_events(ALCALDIA, Part.WEEK).splitlines()[:-4]
    events = [json.loads(line) for line in lines]
    moved = [event for event in events if event["event_type"] == "STATUS_CHANGED"]
    changes = pl.DataFrame([{**event, **event["data"]} for event in moved])
    known = changes.with_columns(pl.col("ts").str.to_datetime(time_zone="UTC"))
    assert len(in_sequence(known.select(CHANGE))) == len(moved)
