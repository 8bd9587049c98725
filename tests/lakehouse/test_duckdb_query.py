"""DuckDB over rows it is handed: nothing else is in reach, and no more is read than is asked."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.duckdb_query import DuckDbEngine
from lakehouse.data.query import Statement
from lakehouse.data.storage import LakeRoot
from lakehouse.data.tables import Layer, TableRef
from lakehouse.errors import InputError
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext

NORTE = TenantContext.parse("norte")
TABLE = TableRef(Layer.SILVER, "tickets")
RUN = RunContext.begin(NORTE, kind="run", at=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def store(lake: LakeRoot) -> DeltaTableStore:
    """Three days with one ticket each."""
    days = [date(2026, 1, day) for day in (1, 2, 3)]
    rows = pa.table(
        {
            "tenant_id": ["norte"] * 3,
            "run_id": [RUN.run_id] * 3,
            "source": ["web"] * 3,
            "day": pa.array(days, pa.date32()),
            "ticket_id": ["a", "b", "c"],
        }
    )
    made = DeltaTableStore(lake)
    made.append(TABLE, rows, RUN)
    return made


def told(text: str, store: DeltaTableStore) -> list[str]:
    rows, engine = store.dataset(TABLE, NORTE), DuckDbEngine()
    assert rows is not None
    with engine.answering(engine.read(text), {"silver.tickets": rows}) as answer:
        found: list[str] = answer.read_all()["ticket_id"].to_pylist()
    return found


def test_rows_of_a_folder_and_of_a_bucket_are_read(store: DeltaTableStore) -> None:
    text = "select upper(ticket_id) as ticket_id from silver.tickets order by 1 desc"
    assert told(text, store) == ["C", "B", "A"]


def test_a_filter_on_the_day_opens_no_other_days_files(
    store: DeltaTableStore, lake: LakeRoot
) -> None:
    files = lake.table_filesystem(TABLE, NORTE)
    for info in files.get_file_info(pafs.FileSelector("", recursive=True)):
        if info.path.endswith(".parquet") and "day=2026-01-02" not in info.path:
            files.delete_file(info.path)
    text = "select ticket_id from silver.tickets where day = '2026-01-02'"
    assert told(text, store) == ["b"]
    with pytest.raises(InputError):
        told("select ticket_id from silver.tickets", store)


def test_the_tables_a_statement_names_are_found_wherever_they_stand() -> None:
    text = """
        with own as (select * from silver.a), other as (select * from own join B using (x))
        select (select max(x) from gold."C") from other, (from d) where x in (from silver.e)
        union all select * from f, unnest([1, 2]), range(3)
    """
    found = DuckDbEngine().read(text).tables
    assert found == ("b", "d", "f", "gold.c", "silver.a", "silver.e")


def test_the_database_itself_is_locked_where_reading_was_fooled(tmp_path: Path) -> None:
    """Past the reading of statements stands DuckDB's own lock."""
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n", encoding="utf-8")
    for text in (
        f"from read_csv('{secret}')",
        f"from '{secret}'",
        f"copy (select 1) to '{tmp_path}/out.csv'",
        f"attach '{tmp_path}/x.db'",
        "set enable_external_access = true",
        "set threads = 1",
        "install httpfs",
        "load httpfs",
        "from secret",
    ):
        engine = DuckDbEngine()
        with pytest.raises(InputError), engine.answering(Statement(text, ()), {}) as rows:
            rows.read_all()
    assert [file.name for file in tmp_path.iterdir()] == ["secret.csv"]
