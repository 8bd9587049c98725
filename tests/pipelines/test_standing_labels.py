"""What stands of people's labels is read from every table there ever was."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa

from contracts.tables import LABELS
from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.storage import LakeRoot
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from pipelines.standing_labels import COLUMNS, standing_labels

NORTE = TenantContext.parse("norte")
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
T1, T2 = (str(UUID(int=number)) for number in (1, 2))
LATER_COLUMNS = ["fact", "bundle_id", "observed_at", "decided_by", "comment"]


def written(store: DeltaTableStore, minute: int, *rows: dict[str, Any], old: bool = False) -> None:
    run = RunContext.begin(NORTE, kind="review-pull", at=NOON + timedelta(minutes=minute))
    known = {
        "tenant_id": "norte",
        "run_id": run.run_id,
        "source": "correo",
        "day": date(2026, 1, 4),
        "task": "tipo",
        "reviewer": "ana",
        "reason": "doubt",
        "suggested_label": "queja",
        "suggested_score": 0.5,
        "model_name": "norte.tipo",
        "model_version": "2",
        "guideline_version": "tipo.v1",
        "responded_at": run.started_at,
    }
    table = pa.Table.from_pylist([{**known, **row} for row in rows], schema=LABELS.schema)
    store.append(LABELS.table, table.drop_columns(LATER_COLUMNS) if old else table, run)


def test_a_tenant_without_labels_has_none_that_stand(tmp_path: Path) -> None:
    found = standing_labels("tipo", NORTE, DeltaTableStore(LakeRoot(str(tmp_path))))
    assert (found.num_rows, found.column_names) == (0, COLUMNS)


def test_rows_of_before_facts_were_told_apart_are_submitted_answers(tmp_path: Path) -> None:
    store = DeltaTableStore(LakeRoot(str(tmp_path)))
    written(store, 1, {"label_id": "1", "ticket_id": T1, "label": "queja"}, old=True)
    (row,) = standing_labels("tipo", NORTE, store).to_pylist()
    assert (row["label"], row["reviewers"], row["bundle_id"]) == ("queja", 1, None)
    newer = {"label_id": "2", "ticket_id": T2, "label": "reclamo", "bundle_id": "b", "fact": None}
    written(store, 2, newer)
    found = standing_labels("tipo", NORTE, store).select(["ticket_id", "bundle_id"]).to_pylist()
    assert found == [{"ticket_id": T1, "bundle_id": None}, {"ticket_id": T2, "bundle_id": "b"}]


def test_only_labels_of_the_task_and_known_by_the_moment_are_told(tmp_path: Path) -> None:
    store = DeltaTableStore(LakeRoot(str(tmp_path)))
    seen = {"observed_at": NOON + timedelta(minutes=9)}
    written(store, 1, {"label_id": "1", "ticket_id": T1, "label": "queja"})
    written(store, 2, {"label_id": "2", "ticket_id": T1, "label": "alta", "task": "prioridad"})
    written(store, 3, {"label_id": "3", "ticket_id": T1, "label": "reclamo", **seen})
    moments = [NOON + timedelta(minutes=minute) for minute in (0, 5, 10)]
    told = [standing_labels("tipo", NORTE, store, as_of=at)["label"] for at in moments]
    assert [labels.to_pylist() for labels in told] == [[], ["queja"], ["reclamo"]]
