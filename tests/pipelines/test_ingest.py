from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from lakehouse.control.landings import LandingIndex
from lakehouse.control.postgres import Postgres
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.storage import FileStore, LakeRoot
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from pipelines.ingest import Landed, RawStore, ingest
from pipelines.mapping import EMAIL, ColumnMapping
from pipelines.source_files import SourceFile

AT = datetime(2026, 1, 10, 12, tzinfo=UTC)
LATER = datetime(2026, 2, 1, tzinfo=UTC)
TEXTS = ColumnMapping.parse(["text=texto", "external_id=id", "channel=canal", "created_at=fecha"])

Land = Callable[..., Landed]


@pytest.fixture
def tenant(postgres_url: str) -> TenantContext:
    made = TenantContext.parse(f"t{uuid4().hex[:12]}")
    TenantDirectory(Postgres(postgres_url)).create(made, name="Prueba")
    return made


@pytest.fixture
def raw(postgres_url: str, tmp_path: Path) -> RawStore:
    return RawStore(
        FileStore(LakeRoot(str(tmp_path / "lake"))), LandingIndex(Postgres(postgres_url))
    )


@pytest.fixture
def land(raw: RawStore, tenant: TenantContext) -> Land:
    def landed(path: Path, mapping: ColumnMapping | None = None, at: datetime = AT) -> Landed:
        file = SourceFile.find(path)
        return ingest(file, tenant, source="portal", mapping=mapping, raw=raw, at=at)

    return landed


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def events_of(landed: Landed, raw: RawStore, tenant: TenantContext) -> list[Any]:
    lines = raw.files.read(tenant, landed.landing.path).splitlines()
    return [json.loads(line) for line in lines]


def test_raw_holds_an_event_files_own_bytes_broken_lines_included(
    tmp_path: Path, land: Land, raw: RawStore, tenant: TenantContext
) -> None:
    content = b'{"event_id": 1}\nesto no es JSON\n\n{"b": 2}'
    landed = land(written(tmp_path / "eventos.jsonl", content))
    assert raw.files.read(tenant, landed.landing.path) == content
    assert (landed.events, landed.is_new) == (3, True)


def test_raw_has_the_founding_layout_with_manifest_and_checksums_that_hold(
    tmp_path: Path, land: Land, raw: RawStore, tenant: TenantContext
) -> None:
    landed = land(written(tmp_path / "eventos.jsonl", '{"event_id": 1}\n'))
    folder = landed.landing.path.removesuffix("/events.jsonl")
    assert folder == f"raw/pqrs/source=portal/day=2026-01-10/run_id={landed.landing.run_id}"
    manifest = json.loads(raw.files.read(tenant, f"{folder}/manifest.json"))
    assert manifest["tenant_id"] == tenant.tenant_id
    assert (manifest["source"], manifest["schema_version"]) == ("portal", "1")
    sums = json.loads(raw.files.read(tenant, f"{folder}/checksums.json"))
    for name, expected in sums.items():
        found = hashlib.sha256(raw.files.read(tenant, f"{folder}/{name}")).hexdigest()
        assert found == expected


def test_the_same_file_lands_once_whatever_its_name(tmp_path: Path, land: Land) -> None:
    first = land(written(tmp_path / "a.jsonl", '{"event_id": 1}\n'))
    again = land(written(tmp_path / "b.jsonl", '{"event_id": 1}\n'), at=LATER)
    assert (again.is_new, again.landing.run_id) == (False, first.landing.run_id)
    assert again.events == 1


def test_another_mapping_makes_another_landing(tmp_path: Path, land: Land) -> None:
    path = written(tmp_path / "a.csv", "uno,dos\nhola,adiós\n")
    assert land(path, ColumnMapping.parse(["text=uno"])).is_new
    assert land(path, ColumnMapping.parse(["text=dos"])).is_new
    assert not land(path, ColumnMapping.parse(["text=uno"])).is_new


def test_a_landing_killed_before_it_was_whole_is_written_again_at_its_path(
    tmp_path: Path,
    land: Land,
    raw: RawStore,
    tenant: TenantContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = written(tmp_path / "a.csv", "texto\nhola\n")
    mapping = ColumnMapping.parse(["text=texto"])

    def die(*args: object, **values: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LandingIndex, "complete", die)
        with pytest.raises(KeyboardInterrupt):
            land(path, mapping)
    before = sorted(p for p in (tmp_path / "lake").rglob("*") if p.is_file())
    content = [p.read_bytes() for p in before]
    assert raw.landings.waiting(tenant) == []

    landed = land(path, mapping, at=LATER)
    after = sorted(p for p in (tmp_path / "lake").rglob("*") if p.is_file())
    assert landed.is_new
    assert (after, [p.read_bytes() for p in after]) == (before, content)
    assert [w.path for w in raw.landings.waiting(tenant)] == [landed.landing.path]


def test_a_row_of_text_becomes_a_ticket_and_its_message(
    tmp_path: Path, land: Land, raw: RawStore, tenant: TenantContext
) -> None:
    row = "id;texto;canal;fecha\n7;Se dañó la luz;fax;31/12/2025\n"
    landed = land(written(tmp_path / "a.csv", "\ufeff" + row), TEXTS)
    ticket, message = events_of(landed, raw, tenant)
    assert (ticket["event_type"], message["event_type"]) == ("TICKET_CREATED", "MESSAGE_ADDED")
    assert ticket["ticket_id"] == message["ticket_id"]
    assert ticket["ts"] == "2025-12-31T00:00:00Z"
    assert ticket["data"] == {"external_id": "7", "source_channel": "other_digital"}
    assert message["data"] == {"role": "citizen", "text": "Se dañó la luz", "text_len": 14}
    assert landed.left_out == {"channel": 1}


def test_parquet_csv_and_json_lines_of_the_same_rows_make_the_same_events(
    tmp_path: Path, land: Land, raw: RawStore, tenant: TenantContext
) -> None:
    rows = [
        {"id": "1", "texto": "uno, con coma", "canal": "chat", "fecha": "2026-01-02T03:04:05"},
        {"id": "2", "texto": "dos", "canal": "email", "fecha": "2026-01-03"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
    csv = (
        'id,texto,canal,fecha\n1,"uno, con coma",chat,2026-01-02T03:04:05\n2,dos,email,2026-01-03\n'
    )
    written(tmp_path / "a.csv", csv)
    made = [
        events_of(land(tmp_path / name, TEXTS), raw, tenant)
        for name in ("a.parquet", "a.jsonl.gz", "a.csv")
    ]
    assert made[0] == made[1] == made[2]
    assert len(made[0]) == 4


def test_a_declared_type_may_be_a_code_or_a_word(
    tmp_path: Path, land: Land, raw: RawStore, tenant: TenantContext
) -> None:
    path = written(tmp_path / "a.csv", "texto,tipo\na,Q\nb,reclamo\nc,Petición\nd,otro\ne,\n")
    landed = land(path, ColumnMapping.parse(["text=texto", "type=tipo"]))
    tickets = events_of(landed, raw, tenant)[::2]
    declared = [t["data"].get("pqrs_type") for t in tickets]
    assert declared == ["Q", "R", "P", None, None]
    assert landed.left_out == {"type": 1}


def test_a_moment_without_zone_is_read_in_the_mappings_zone(
    tmp_path: Path, land: Land, raw: RawStore, tenant: TenantContext
) -> None:
    path = written(tmp_path / "a.csv", "texto,fecha\na,2026-01-02 20:00\n")
    mapping = ColumnMapping.parse(["text=texto", "created_at=fecha"], timezone="America/Bogota")
    assert events_of(land(path, mapping), raw, tenant)[0]["ts"] == "2026-01-03T01:00:00Z"


def test_an_e_mail_becomes_a_ticket_without_its_senders_address(
    tmp_path: Path, land: Land, raw: RawStore, tenant: TenantContext
) -> None:
    record = {
        "message_id": "m1",
        "sender_email": "ana@example.org",
        "subject": "Luz",
        "body": "No hay luz",
        "received_at": "2026-01-02T03:04:05Z",
    }
    landed = land(written(tmp_path / "a.jsonl", json.dumps(record)), EMAIL)
    made = events_of(landed, raw, tenant)
    assert made[0]["data"] == {"external_id": "m1", "source_channel": "email", "subject": "Luz"}
    assert "ana@example.org" not in json.dumps(made)


def test_a_row_with_a_column_too_many_goes_to_raw_for_bronze_to_judge(
    tmp_path: Path, land: Land, raw: RawStore, tenant: TenantContext
) -> None:
    path = written(tmp_path / "a.csv", "id,texto\n1,hola\n2,a,b\n")
    landed = land(path, ColumnMapping.parse(["text=texto"]))
    assert events_of(landed, raw, tenant)[2] == ["2", "a", ["b"]]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b" \n\n", "is empty"),
        ("a.csv", b"texto\n", "has no rows"),
        ("a.xlsx", b"x", "no known format; expected one of .jsonl"),
        ("a.csv", "a\nb\nseñal\n".encode("latin1"), "not UTF-8 at line 3, byte 6"),
        ("a.csv", "texto\nseñal\n".encode("utf-16"), "it seems to be UTF-16; convert it"),
        ("a.csv", b'texto\n"abierto\n', "not CSV after line 1"),
        ("a.csv", b"cuerpo,id\nhola,1\n", "has no column 'texto'; it has: cuerpo, id"),
        ("a.parquet", b"PAR1 no", "is not a Parquet file"),
        ("a.csv.gz", gzip.compress(b"texto\nhola\n", mtime=0)[:-4], "is not whole gzip data"),
        ("a.csv.zst", zstandard.compress(b"texto\nhola\n")[:-4], "is not whole zstd data"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n', mtime=0)[:-4], "is not whole gzip data"),
    ],
)
def test_a_file_that_cannot_land_is_refused_in_one_line(
    tmp_path: Path, land: Land, name: str, content: bytes, said: str
) -> None:
    path = written(tmp_path / name, content)
    mapping = None if name.startswith("a.jsonl") else ColumnMapping.parse(["text=texto"])
    with pytest.raises(InputError) as refused:
        land(path, mapping)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        SourceFile.find(tmp_path / "nada.csv")
    with pytest.raises(InputError, match="is a folder"):
        SourceFile.find(tmp_path)


def test_plain_texts_without_a_mapping_are_told_which_columns_there_are(
    tmp_path: Path, land: Land
) -> None:
    with pytest.raises(InputError, match="--map text=COLUMN; it has: id, texto"):
        land(written(tmp_path / "a.csv", "id,texto\n1,a\n"))


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["texto"], "expected FIELD=COLUMN"),
        (["text=a", "tema=b"], "'tema' is not a field"),
        (["subject=a"], "no column for 'text'"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused(pairs: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ColumnMapping.parse(pairs)


def test_a_mapping_file_says_the_same_as_options(tmp_path: Path) -> None:
    path = written(tmp_path / "m.yaml", "text: texto\nchannel: canal\n")
    assert ColumnMapping.read(path) == ColumnMapping.parse(["text=texto", "channel=canal"])


def test_a_source_that_could_leave_its_folder_is_refused(
    tmp_path: Path, raw: RawStore, tenant: TenantContext
) -> None:
    file = SourceFile.find(written(tmp_path / "a.jsonl", "{}\n"))
    with pytest.raises(InputError, match="is not a source name"):
        ingest(file, tenant, source="../otro", mapping=None, raw=raw, at=AT)
