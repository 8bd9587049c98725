from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.tables import ATTACHMENTS, KPI_VOLUME_DAILY
from pipelines import check_file
from pipelines.check_file import FileReport, check_raw_file, check_table_file
from pipelines.source_files import SourceFile


def uid(number: int) -> str:
    return str(UUID(int=number))


def attachment(number: int, **values: Any) -> dict[str, Any]:
    fence = {"tenant_id": "norte", "run_id": "run-1", "source": "sim", "day": "2026-01-05"}
    own = {"ticket_id": uid(1), "event_id": uid(number), "ts": "2026-01-05T10:00:00-05:00"}
    return {**fence, **own, "file_type": "pdf", "size_kb": 12.5, "source_channel": None, **values}


def jsonl(path: Path, *rows: dict[str, Any] | str) -> SourceFile:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return SourceFile.find(path)


def found(report: FileReport) -> list[tuple[str, str, int, list[int]]]:
    return sorted((p.rule, p.column, p.rows, p.first) for p in report.problems)


def test_rows_that_keep_a_contract_have_no_problem(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", attachment(1), attachment(2, source_channel="chat"))
    report = check_table_file(file, ATTACHMENTS)
    assert (report.contract, report.rows, report.problems) == ("silver_attachments/v1", 2, ())


def test_each_problem_names_rule_column_count_and_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_file, "CHUNK_ROWS", 3)
    file = jsonl(
        tmp_path / "a.jsonl",
        attachment(1),
        "",
        attachment(2, size_kb="grande"),
        attachment(3, size_kb=-1, color="rojo"),
        "{no es json",
        attachment(4, ts="ayer", source_channel="fax"),
        attachment(5, file_type=None),
        attachment(1),
        attachment(6, ts="2026-01-05T10:00:00"),
    )
    report = check_table_file(file, ATTACHMENTS)
    assert report.rows == 8
    assert report.unknown == ("color",)
    assert found(report) == [
        ("key unique", "event_id", 1, [8]),
        ("required values filled", "file_type", 1, [7]),
        ("row readable", "", 1, [5]),
        ("type", "size_kb", 1, [3]),
        ("type", "ts", 2, [6, 9]),
        ("values allowed", "source_channel", 1, [6]),
        ("values in range", "size_kb", 1, [4]),
    ]
    assert "grande" not in str(report)
    assert "fax" not in str(report)


def test_a_column_that_is_not_there_is_one_problem_unless_it_is_optional(tmp_path: Path) -> None:
    rows = [{k: v for k, v in attachment(n).items() if k != "ts"} for n in range(3)]
    slim = [{k: v for k, v in row.items() if k != "source_channel"} for row in rows]
    report = check_table_file(jsonl(tmp_path / "a.jsonl", *slim), ATTACHMENTS)
    assert found(report) == [("column present", "ts", 3, [])]


def test_cells_of_csv_are_read_by_the_contracts_types(tmp_path: Path) -> None:
    path = tmp_path / "kpi.csv.gz"
    lines = [
        "tenant_id;run_id;day;source_channel;pqrs_type;tickets",
        "norte;run-1;2026-01-05;email;queja;3",
        "norte;run-1;2026-01-06;email;queja;-3",
        "norte;run-1;6 de enero;email;queja;tres",
        "norte;run-1;2026-01-06;email;queja;4",
    ]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    report = check_table_file(SourceFile.find(path), KPI_VOLUME_DAILY)
    assert found(report) == [
        ("key unique", "day, source_channel, pqrs_type", 1, [4]),
        ("type", "day", 1, [3]),
        ("type", "tickets", 1, [3]),
        ("values in range", "tickets", 1, [2]),
    ]


def test_a_parquet_file_may_be_wider_but_not_of_another_kind(tmp_path: Path) -> None:
    rows = [attachment(1), attachment(2)]
    loose = pa.Table.from_pylist(rows).set_column(8, "size_kb", pa.array([12, 13], pa.int64()))
    pq.write_table(loose, tmp_path / "a.parquet")
    report = check_table_file(SourceFile.find(tmp_path / "a.parquet"), ATTACHMENTS)
    assert [p for p in found(report) if p[0] == "type"] == [
        ("type", "day", 2, [1, 2]),
        ("type", "size_kb", 2, [1, 2]),
        ("type", "ts", 2, [1, 2]),
    ]


def test_a_key_that_cannot_be_read_is_a_problem_of_its_type_alone(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", attachment(1, event_id=7), attachment(2, event_id=7))
    report = check_table_file(file, ATTACHMENTS)
    assert found(report) == [("type", "event_id", 2, [1, 2])]


def test_lines_of_raw_are_told_by_the_rule_they_break(tmp_path: Path) -> None:
    event = {"event_id": uid(1), "ticket_id": uid(2), "ts": "2026-01-05T10:00:00Z"}
    said = {**event, "event_type": "MESSAGE_ADDED", "data": {"role": "citizen", "text": "Hola"}}
    bad = {**said, "data": {"role": "vecina", "text": "Hola"}}
    file = jsonl(tmp_path / "e.jsonl", said, bad, "", "{", bad)
    report = check_raw_file(file)
    assert (report.contract, report.rows) == ("raw_event", 4)
    assert [(p.expected, p.rows, p.first) for p in report.problems] == [
        ("data.role: expected one of citizen, agent", 2, [2, 5]),
        ("the line is not one JSON object", 1, [4]),
    ]
