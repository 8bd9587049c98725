"""From a number of Gold back to the lines of Raw it was counted from.

Which tickets make a number is asked of the code that counts it, over the Silver that the run
counted from: a number of last month is explained with last month's answers and labels. No citizen's
text is part of an answer: rows are named, never quoted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from contracts.contract import Contract
from contracts.tables import GOLD
from lakehouse.control.runs import RunRecord
from lakehouse.errors import InputError, PlataError, Terminal
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext
from pipelines.gold import KPIS
from pipelines.gold_serving import served_run
from pipelines.gold_view import Counting, Kpi, silver_at
from pipelines.lineage_runs import Versions, counted_from
from pipelines.lineage_walk import Answer, EventTrace, HumanLabel, LineagePorts, Walk
from pipelines.sla_terms import SlaTerms


class LineageBrokenError(PlataError, Terminal):
    """The tables no longer hold what a number was counted from."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which number is meant. `where` narrows the key, `run_id` None is what is served now.

    `measure` None is the column that counts every ticket.
    """

    table: str
    day: date
    where: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    measure: str | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """One number of Gold and the tickets behind it, sorted, each as often as it counts."""

    key: Mapping[str, Any]
    measure: str
    value: int
    tickets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TicketTrace:
    """A ticket behind a number: its events down to Raw, what models and people said of it."""

    ticket_id: str
    events: tuple[EventTrace, ...]
    answers: tuple[Answer, ...]
    labels: tuple[HumanLabel, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer to a `Question`.

    `open_keys` are the parts of the key that were left open and the values they take, where several
    numbers match. `tickets` has the walked ones: all, unless the walk was limited.
    """

    tenant_id: str
    table: str
    run_id: str
    code_version: str
    counted_from: Versions
    pins: Mapping[str, str]
    numbers: tuple[Number, ...]
    open_keys: Mapping[str, Sequence[str]]
    tickets: Mapping[str, TicketTrace]


def explain(
    question: Question, tenant: TenantContext, ports: LineagePorts, *, limit: int | None = None
) -> Explanation:
    """Walk from a number to Raw; of each number at most `limit` tickets are walked.

    Raises `InputError` where there is no such table, key or number, and `LineageBrokenError` where
    the tickets found are not as many as the number says.
    """
    contract = gold_table(question.table)
    kpi = _supported(contract)
    measure = question.measure or kpi.measure
    record = gold_run(question.run_id, tenant, ports)
    rows = _rows(question, contract, measure, record, ports)
    versions = counted_from(record, ports.store)
    terms = SlaTerms.planned(record.plan)
    counting = Counting.of(silver_at(versions, tenant, ports.store, terms=terms))
    members = _counted(kpi.members(counting, question.day), measure, kpi)
    numbers = tuple(_number(row, contract, measure, members, record) for row in rows.to_pylist())
    shown = (list(dict.fromkeys(number.tickets))[:limit] for number in numbers)
    wanted = sorted({ticket for tickets in shown for ticket in tickets})
    return Explanation(
        tenant_id=tenant.tenant_id,
        table=str(contract.table),
        run_id=record.run.run_id,
        code_version=record.run.code_version,
        counted_from={str(c.table): versions.get(str(c.table)) for c in kpi.reads},
        pins=(record.manifest or {}).get("pins", {}),
        numbers=numbers,
        open_keys=_open_keys(question, contract, rows),
        tickets=ticket_traces(wanted, Walk(tenant, versions, ports)),
    )


def gold_table(name: str) -> Contract:
    """Find a table of Gold by `gold.name`, `gold_name` or its name alone."""
    plain = name.removeprefix("gold.").removeprefix("gold_")
    for contract in GOLD:
        if contract.table.entity == plain:
            return contract
    have = ", ".join(f"gold.{contract.table.entity}" for contract in GOLD)
    msg = f"'{name}' is not a table of Gold; there are: {have}"
    raise InputError(msg)


def gold_run(run_id: str | None, tenant: TenantContext, ports: LineagePorts) -> RunRecord:
    """Return the run of that name, else the one whose figures are served now."""
    wanted = RunId(run_id) if run_id else served_run(tenant, ports.postgres)
    if wanted is None:
        msg = (
            f"tenant '{tenant.tenant_id}' has no figures served yet; "
            f"count them with `plata run --tenant {tenant.tenant_id}`"
        )
        raise InputError(msg)
    record = ports.log.find(tenant, wanted)
    if record is None:
        msg = f"tenant '{tenant.tenant_id}' has no run '{wanted}'; see `plata runs list`"
        raise InputError(msg)
    return record


def ticket_traces(tickets: Sequence[str], walk: Walk) -> dict[str, TicketTrace]:
    """Walk tickets down to Raw, all in one go."""
    if not tickets:
        return {}
    events, answers, labels = walk.events(tickets), walk.answers(tickets), walk.labels(tickets)
    standing = {(answer.ticket_id, answer.task): answer for answer in answers}
    return {
        ticket: TicketTrace(
            ticket,
            tuple(event for event in events if event.ticket_id == ticket),
            tuple(answer for (of, _), answer in standing.items() if of == ticket),
            tuple(label for label in labels if label.ticket_id == ticket),
        )
        for ticket in tickets
    }


def _supported(contract: Contract) -> Kpi:
    if contract not in KPIS:
        have = ", ".join(f"gold.{known.table.entity}" for known in KPIS)
        msg = (
            f"gold.{contract.table.entity} does not say which tickets its numbers are counted "
            f"from; lineage follows: {have}"
        )
        raise InputError(msg)
    return KPIS[contract]


def _rows(
    question: Question,
    contract: Contract,
    measure: str,
    record: RunRecord,
    ports: LineagePorts,
) -> pa.Table:
    """Return the rows of the table that the question means: at least one."""
    keys = [name for name in contract.key if name != "day"]
    unknown = sorted(set(question.where) - set(keys))
    if unknown:
        msg = f"{contract.table} has no key '{unknown[0]}'; its key is day, {', '.join(keys)}"
        raise InputError(msg)
    if measure not in contract.schema.names:
        have = ", ".join(n for n in contract.schema.names if n not in ("tenant_id", "run_id"))
        msg = f"{contract.table} has no measure '{measure}'; its columns are {have}"
        raise InputError(msg)
    run = record.run
    counted = ports.store.scan(contract.table, run.tenant, run_id=run.run_id)
    rows = contract.empty() if counted is None else counted
    that_day = rows.filter(pc.equal(rows["day"], pa.scalar(question.day)))
    found = that_day
    for name, value in question.where.items():
        found = found.filter(pc.equal(found[name], value))
    if len(found) == 0:
        raise InputError(_no_such_number(question, contract, rows, that_day, record))
    return found.sort_by([(name, "ascending") for name in contract.key])


def _no_such_number(
    question: Question, contract: Contract, rows: pa.Table, that_day: pa.Table, record: RunRecord
) -> str:
    asked = " ".join([question.day.isoformat(), *question.where.values()])
    told = f"{contract.table} of {record.run.run_id} has no number for {asked}"
    if len(rows) == 0:
        return f"{told}: the run wrote no row of that table"
    if len(that_day) == 0:
        days = pc.min_max(rows["day"]).as_py()
        return f"{told}: its days go from {days['min']} to {days['max']}"
    have = [
        f"{name}: {', '.join(map(str, sorted(pc.unique(that_day[name]).to_pylist())))}"
        for name in question.where
    ]
    return f"{told}; that day has {'; '.join(have)}"


def _counted(members: pl.DataFrame, measure: str, kpi: Kpi) -> pl.DataFrame:
    """Keep the members that a measure counts: all, or those its flag picks."""
    if measure in members.columns:
        return members.filter(pl.col(measure))
    if measure == kpi.measure:
        return members
    flags = [name for name, kind in members.schema.items() if kind == pl.Boolean]
    msg = f"'{measure}' is no count of tickets; lineage follows: {', '.join([kpi.measure, *flags])}"
    raise InputError(msg)


def _number(
    row: Mapping[str, Any],
    contract: Contract,
    measure: str,
    members: pl.DataFrame,
    record: RunRecord,
) -> Number:
    key = {name: row[name] for name in contract.key}
    tickets = tuple(sorted(members.filter(**key)["ticket_id"].to_list()))
    if len(tickets) != row[measure]:
        told = " ".join(map(str, key.values()))
        msg = (
            f"{contract.table} of {record.run.run_id} says {row[measure]} for {told}, but the "
            f"Silver it was counted from now gives {len(tickets)}: a version it read was removed; "
            "see `plata lineage run` for the versions"
        )
        raise LineageBrokenError(msg)
    return Number(key, measure, row[measure], tickets)


def _open_keys(question: Question, contract: Contract, rows: pa.Table) -> dict[str, Sequence[str]]:
    if len(rows) == 1:
        return {}
    left = [name for name in contract.key if name != "day" and name not in question.where]
    return {name: sorted(map(str, pc.unique(rows[name]).to_pylist())) for name in left}
