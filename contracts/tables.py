"""The tables of the lakehouse, by name: the newest contract of each, read from its file."""

from __future__ import annotations

from contracts.odcs import MOMENT as MOMENT
from contracts.odcs import load

NO_PROMPT = "none"
"""Prompt name and version of a row whose model reads no prompt; the columns are never null."""

PQRS_EVENTS = load("bronze_pqrs_events")
QUARANTINE = load("bronze_quarantine")

TICKETS = load("silver_tickets")
MESSAGES = load("silver_messages")
STATUS_EVENTS = load("silver_status_events")
SILVER_QUARANTINE = load("silver_quarantine")
ATTACHMENTS = load("silver_attachments")
CLASSIFICATIONS = load("silver_classifications")
CLASSIFICATIONS_SHADOW = load("silver_classifications_shadow")
CLASSIFICATIONS_SIDE = load("silver_classifications_side")
EMBEDDINGS = load("silver_embeddings")
ENTITIES = load("silver_entities")
LABELS = load("silver_labels")

KPI_VOLUME_DAILY = load("gold_kpi_volume_daily")
KPI_TYPE_DAILY = load("gold_kpi_type_daily")
KPI_BACKLOG_DAILY = load("gold_kpi_backlog_daily")
KPI_MLOPS_DAILY = load("gold_kpi_mlops_daily")
KPI_SLA_DAILY = load("gold_kpi_sla_daily")
KPI_FIRST_RESPONSE_DAILY = load("gold_kpi_first_response_daily")
KPI_CLOSE_TIME_DAILY = load("gold_kpi_close_time_daily")
TICKETS_SNAPSHOT = load("gold_tickets_snapshot")
STATUS_FLOW = load("gold_status_flow")
KPI_REVIEW_DAILY = load("gold_kpi_review_daily")
KPI_ACCURACY_DAILY = load("gold_kpi_accuracy_daily")

BRONZE = (PQRS_EVENTS, QUARANTINE)
SILVER = (
    TICKETS,
    MESSAGES,
    STATUS_EVENTS,
    SILVER_QUARANTINE,
    ATTACHMENTS,
    CLASSIFICATIONS,
    CLASSIFICATIONS_SHADOW,
    EMBEDDINGS,
    ENTITIES,
    LABELS,
)
SIDE = (CLASSIFICATIONS_SIDE,)
"""Tables beside Silver: no run reads or writes them, and nothing of Gold is counted from them."""
GOLD = (
    KPI_VOLUME_DAILY,
    KPI_TYPE_DAILY,
    KPI_BACKLOG_DAILY,
    KPI_SLA_DAILY,
    KPI_FIRST_RESPONSE_DAILY,
    KPI_CLOSE_TIME_DAILY,
    TICKETS_SNAPSHOT,
    STATUS_FLOW,
    KPI_MLOPS_DAILY,
    KPI_REVIEW_DAILY,
    KPI_ACCURACY_DAILY,
)
