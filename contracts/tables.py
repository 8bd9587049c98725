"""The tables of the lakehouse: one contract each, version 1."""

from __future__ import annotations

import pyarrow as pa

from contracts.contract import Contract
from lakehouse.data.tables import Layer, TableRef

MOMENT = pa.timestamp("us", tz="UTC")
NO_PROMPT = "none"
"""Prompt name and version of a row whose model reads no prompt; the columns are never null."""


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


def _optional(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=True)


_FENCE = [
    _required("tenant_id", pa.string()),
    _required("run_id", pa.string()),
    _required("source", pa.string()),
    _required("day", pa.date32()),
]
"""What every row of Bronze and Silver begins with; `source` and `day` are the partitions."""


def _contract(layer: Layer, entity: str, key: tuple[str, ...], fields: list[pa.Field]) -> Contract:
    return Contract(TableRef(layer, entity), 1, pa.schema([*_FENCE, *fields]), key)


PQRS_EVENTS = _contract(
    Layer.BRONZE,
    "pqrs_events",
    ("event_id",),
    [
        _required("event_id", pa.string()),
        _required("ticket_id", pa.string()),
        _required("event_type", pa.string()),
        _required("ts", MOMENT),
        _required("schema_version", pa.string()),
        _required("raw_file", pa.string()),
        _required("raw_line", pa.int64()),
        _optional("external_id", pa.string()),
        _optional("source_channel", pa.string()),
        _optional("pqrs_code", pa.string()),
        _optional("priority", pa.string()),
        _optional("geo_region", pa.string()),
        _optional("geo_municipio", pa.string()),
        _optional("dane_city_code", pa.string()),
        _optional("subject", pa.string()),
        _optional("role", pa.string()),
        _optional("text", pa.string()),
        _optional("text_len", pa.int64()),
        _optional("status_from", pa.string()),
        _optional("status_to", pa.string()),
        _optional("actor_role", pa.string()),
        _optional("reason", pa.string()),
        _optional("file_type", pa.string()),
        _optional("size_kb", pa.float64()),
    ],
)

QUARANTINE = _contract(
    Layer.BRONZE,
    "quarantine",
    ("raw_file", "raw_line"),
    [
        _required("raw_file", pa.string()),
        _required("raw_line", pa.int64()),
        _required("reason", pa.string()),
    ],
)
"""Lines that broke the Raw contract. The line itself stays in Raw; `reason` never quotes a text."""

TICKETS = _contract(
    Layer.SILVER,
    "tickets",
    ("ticket_id",),
    [
        _required("ticket_id", pa.string()),
        _required("event_id", pa.string()),
        _required("created_at", MOMENT),
        _required("external_id", pa.string()),
        _required("source_channel", pa.string()),
        _optional("pqrs_type", pa.string()),
        _optional("priority", pa.string()),
        _optional("geo_region", pa.string()),
        _optional("geo_municipio", pa.string()),
        _optional("dane_city_code", pa.string()),
        _optional("subject", pa.string()),
    ],
)
"""`pqrs_type` and `priority` are what the channel declared, null where it declared nothing."""

MESSAGES = _contract(
    Layer.SILVER,
    "messages",
    ("event_id",),
    [
        _required("ticket_id", pa.string()),
        _required("event_id", pa.string()),
        _required("ts", MOMENT),
        _required("role", pa.string()),
        _required("text", pa.string()),
        _required("text_len", pa.int64()),
    ],
)

STATUS_EVENTS = _contract(
    Layer.SILVER,
    "status_events",
    ("event_id",),
    [
        _required("ticket_id", pa.string()),
        _required("event_id", pa.string()),
        _required("ts", MOMENT),
        _required("status_from", pa.string()),
        _required("status_to", pa.string()),
        _optional("actor_role", pa.string()),
        _optional("reason", pa.string()),
    ],
)

ATTACHMENTS = _contract(
    Layer.SILVER,
    "attachments",
    ("event_id",),
    [
        _required("ticket_id", pa.string()),
        _required("event_id", pa.string()),
        _required("ts", MOMENT),
        _required("file_type", pa.string()),
        _required("size_kb", pa.float64()),
        _optional("source_channel", pa.string()),
    ],
)

CLASSIFICATIONS = _contract(
    Layer.SILVER,
    "classifications",
    ("ticket_id", "task", "model_name", "model_version", "prompt_name", "run_id"),
    [
        _required("ticket_id", pa.string()),
        _required("task", pa.string()),
        _required("predicted_label", pa.string()),
        _required("score", pa.float64()),
        _required("probabilities", pa.string()),
        _required("decision", pa.string()),
        _required("tier", pa.string()),
        _required("model_name", pa.string()),
        _required("model_version", pa.string()),
        _required("prompt_name", pa.string()),
        _required("prompt_version", pa.string()),
        _required("bundle_id", pa.string()),
        _optional("explanation", pa.string()),
        _required("inference_timestamp", MOMENT),
    ],
)
"""History is never overwritten: a ticket classified again has more rows, the newest run counts.

`probabilities` is a JSON object, label to probability. `tier` is `champion` for the model whose
answer counts and `comparison` for those that run beside it. `decision` is `accept` or `review`
(`audit` where an accepted row was drawn at random for a person to check) in the champion's rows,
and `none` in the others.
"""

EMBEDDINGS = _contract(
    Layer.SILVER,
    "embeddings",
    ("ticket_id", "space_id", "run_id"),
    [
        _required("ticket_id", pa.string()),
        _required("space_id", pa.string()),
        _required("model_name", pa.string()),
        _required("model_version", pa.string()),
        _required("prompt_name", pa.string()),
        _required("prompt_version", pa.string()),
        _required("text_sha256", pa.string()),
        _required("embedding", pa.list_(pa.float32())),
        _required("bundle_id", pa.string()),
        _required("inference_timestamp", MOMENT),
    ],
)

LABELS = _contract(
    Layer.SILVER,
    "labels",
    ("label_id",),
    [
        _required("label_id", pa.string()),
        _required("ticket_id", pa.string()),
        _required("task", pa.string()),
        _required("label", pa.string()),
        _required("reviewer", pa.string()),
        _required("reason", pa.string()),
        _required("suggested_label", pa.string()),
        _required("suggested_score", pa.float64()),
        _required("model_name", pa.string()),
        _required("model_version", pa.string()),
        _required("guideline_version", pa.string()),
        _required("responded_at", MOMENT),
    ],
)
"""What people answered. `label_id` is a digest of record, reviewer, value and time of the answer;
`reason` is why the ticket was with them: `doubt` or `audit`."""


def _gold(entity: str, key: tuple[str, ...], fields: list[pa.Field]) -> Contract:
    fence = [_required("tenant_id", pa.string()), _required("run_id", pa.string())]
    day = _required("day", pa.date32())
    return Contract(
        TableRef(Layer.GOLD, entity), 1, pa.schema([*fence, day, *fields]), ("day", *key)
    )


KPI_VOLUME_DAILY = _gold(
    "kpi_volume_daily",
    ("source_channel", "pqrs_type"),
    [
        _required("source_channel", pa.string()),
        _required("pqrs_type", pa.string()),
        _required("tickets", pa.int64()),
    ],
)

KPI_TYPE_DAILY = _gold(
    "kpi_type_daily",
    ("task", "label"),
    [
        _required("task", pa.string()),
        _required("label", pa.string()),
        _required("tickets", pa.int64()),
    ],
)

KPI_BACKLOG_DAILY = _gold(
    "kpi_backlog_daily",
    ("pqrs_type", "geo_region"),
    [
        _required("pqrs_type", pa.string()),
        _required("geo_region", pa.string()),
        _required("open_tickets", pa.int64()),
    ],
)

KPI_MLOPS_DAILY = _gold(
    "kpi_mlops_daily",
    ("task", "model"),
    [
        _required("task", pa.string()),
        _required("model", pa.string()),
        _required("classified", pa.int64()),
        _required("accepted", pa.int64()),
        _required("review", pa.int64()),
        _required("automation_rate", pa.float64()),
        _required("mean_score", pa.float64()),
        _required("labelled", pa.int64()),
        _required("agreed", pa.int64()),
    ],
)
"""`accepted` and `review` count decisions; `agreed`, the human labels equal to the prediction."""

BRONZE = (PQRS_EVENTS, QUARANTINE)
SILVER = (
    TICKETS,
    MESSAGES,
    STATUS_EVENTS,
    ATTACHMENTS,
    CLASSIFICATIONS,
    EMBEDDINGS,
    LABELS,
)
GOLD = (KPI_VOLUME_DAILY, KPI_TYPE_DAILY, KPI_BACKLOG_DAILY, KPI_MLOPS_DAILY)
