"""`plata contracts`: no service is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from contracts.errors import UnknownContractError
from lakehouse.errors import InputError
from serving.cli import contracts

TICKETS_FILE = Path("contracts/v1/silver_tickets.yaml")


def plata(*words: str, code: int = 0) -> Any:
    result = CliRunner().invoke(contracts.app, [*words, "--json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code
    return json.loads(result.stdout)


def test_the_list_names_every_table_and_what_is_personal_in_it() -> None:
    rows = {row["name"]: row for row in plata("list")}
    assert rows["silver_messages"]["personal"] == ["text"]
    assert rows["gold_kpi_volume_daily"]["personal"] == []
    assert rows["raw_event"]["owner"] == rows["silver_messages"]["owner"]
    assert "MESSAGE_ADDED.text" in rows["raw_event"]["personal"]


def test_a_contract_is_shown_with_columns_checks_and_service_levels() -> None:
    shown = plata("show", "silver_classifications@1")
    score = next(column for column in shown["columns"] if column["name"] == "score")
    assert score["type"] == "double"
    assert score["checks"] == ["0 to 1"]
    assert "usual mean score" in [rule["name"] for rule in shown["quality"]]
    drawn = CliRunner().invoke(contracts.app, ["show", "silver_classifications"]).stdout
    assert "timestamp" in drawn


def test_a_file_that_breaks_a_contract_ends_with_code_one_and_quotes_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "kpi.csv"
    header = "tenant_id,run_id,day,source_channel,pqrs_type,tickets\n"
    path.write_text(header + "norte,run-1,2026-01-05,email,queja,3\n", encoding="utf-8")
    assert plata("check", str(path), "-c", "gold_kpi_volume_daily")["problems"] == []
    path.write_text(header + "norte,run-1,2026-01-05,telepatía,queja,3\n", encoding="utf-8")
    own = "contracts/v1/gold_kpi_volume_daily.yaml"
    assert len(plata("check", str(path), "-c", own, code=1)["problems"]) == 1
    (problem,) = plata("check", str(path), "-c", "gold_kpi_volume_daily", code=1)["problems"]
    assert (problem["column"], problem["rows"], problem["first"]) == ("source_channel", 1, [1])
    drawn = CliRunner().invoke(contracts.app, ["check", str(path), "-c", "gold_kpi_volume_daily"])
    assert "source_channel" in drawn.stdout
    assert "telepatía" not in drawn.stdout


def test_a_change_that_needs_a_new_version_ends_with_code_one(tmp_path: Path) -> None:
    text = TICKETS_FILE.read_text(encoding="utf-8")
    wider, narrower = tmp_path / "wider.yaml", tmp_path / "narrower.yaml"
    wider.write_text(text.replace("[alta, media, baja]", "[alta, media, baja, urgente]"), "utf-8")
    narrower.write_text(text.replace("[alta, media, baja]", "[alta, media]"), "utf-8")
    assert plata("diff", "silver_tickets@1", str(TICKETS_FILE))["changes"] == []
    (change,) = plata("diff", "silver_tickets", str(wider))["changes"]
    assert change == {
        "compatible": True,
        "column": "priority",
        "change": "value 'urgente' allowed too",
    }
    found = plata("diff", "silver_tickets@1", str(narrower), code=1)
    assert found["compatible"] is False
    assert found["changes"][0]["change"] == "value 'baja' no longer allowed"


def test_raw_is_shown_and_compared_like_a_table(tmp_path: Path) -> None:
    shown = plata("show", "raw_event@1")
    text = next(column for column in shown["columns"] if column["name"] == "MESSAGE_ADDED.text")
    assert (text["required"], text["classification"]) == (True, "personal")
    assert "MESSAGE_ADDED.text" in CliRunner().invoke(contracts.app, ["show", "raw_event"]).stdout
    own = "contracts/v1/raw_event.schema.json"
    assert plata("diff", "raw_event", own)["changes"] == []
    mine = tmp_path / "mine.schema.json"
    schema = json.loads(Path(own).read_text(encoding="utf-8"))
    schema["$defs"]["AttachmentAdded"]["required"].append("source_channel")
    mine.write_text(json.dumps(schema), encoding="utf-8")
    (change,) = plata("diff", "raw_event@1", str(mine), code=1)["changes"]
    assert change["column"] == "ATTACHMENT_ADDED.source_channel"
    lines = tmp_path / "a.jsonl"
    lines.write_text("{}\n", encoding="utf-8")
    with pytest.raises(InputError, match="held against raw_event as it is in force"):
        plata("check", str(lines), "-c", str(mine))


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["show", "silver_nada"], UnknownContractError, "plata contracts list"),
        (["show", "silver_tickets@uno"], InputError, "a number after @"),
        (["diff", "nada.yaml", "silver_tickets"], InputError, "cannot be read"),
        (["check", "README.md"], InputError, "no known format"),
        (["check", "nada.csv"], InputError, "does not exist"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    words: list[str], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as refused:
        plata(*words)
    assert "\n" not in str(refused.value)
