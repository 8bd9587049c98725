"""What people decide about labels outside the queue: settle a dispute, take an answer out, undo it.

Nothing is deleted: each decision is a fact that says who took it and why, and another undoes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isnan
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from contracts.tables import LABELS
from labeling.guidelines import newest
from labeling.ledger import AUDIT, Fact, last_words, settled, standing_answers
from labeling.masking import masked
from labeling.queue import Reason
from lakehouse.control.runs import RunLog
from lakehouse.data.tables import TableStore
from lakehouse.errors import InputError
from lakehouse.run import RunContext
from models.task import Task
from pipelines.answered import standing_answers as machine_answers
from pipelines.ledger import PULL_KIND, close_killed, write_facts
from pipelines.standing_labels import label_facts

DECISION_KIND = "label-decision"


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decided, and why: what the ledger and its readers are told."""

    by: str
    reason: str

    def __post_init__(self) -> None:
        if not self.reason.strip():
            msg = "a decision about labels says why; give a reason"
            raise InputError(msg)


class Decisions:
    """Writes the decisions of one run: all of it in one commit, or nothing."""

    def __init__(self, run: RunContext, store: TableStore, log: RunLog) -> None:
        self._run, self._store, self._log = run, store, log

    def settle(self, task: Task, ticket_id: str, label: str, decision: Decision) -> int:
        """Decide a ticket's label, whatever reviewers said of it; return the facts written.

        Raises `InputError` for a label the task does not have, and for a ticket nobody answered.
        """
        if label not in task.labels:
            msg = f"'{label}' is no label of task '{task.name}'; it has: {', '.join(task.labels)}"
            raise InputError(msg)
        with self._alone(task) as facts:
            about = facts.filter(ticket_id=ticket_id)
            origin = _origin(ticket_id, task, about, self._run, self._store)
            made = {
                "label": label,
                "reviewer": decision.by,
                "responded_at": self._run.started_at,
                "guideline_version": newest(task.name).version,
            }
            return self._write(task, Fact.ADJUDICATED, [{**origin, **made}], decision)

    def reopen(self, task: Task, ticket_id: str, decision: Decision) -> int:
        """Take a decision back: the label is again what reviewers say. Raises `InputError`."""
        with self._alone(task) as facts:
            found = settled(facts.filter(ticket_id=ticket_id)).to_dicts()
            if not found:
                msg = f"no decision stands on ticket '{ticket_id}' and task '{task.name}'"
                raise InputError(msg)
            return self._write(task, Fact.REOPENED, found, decision)

    def revoke(
        self,
        task: Task,
        decision: Decision,
        *,
        ticket_id: str | None = None,
        reviewer: str | None = None,
    ) -> int:
        """Take answers that stand out of the count: a ticket's, a reviewer's, or both together.

        Raises `InputError` where there is none.
        """
        with self._alone(task) as facts:
            found = _of(standing_answers(facts), ticket_id, reviewer)
            return self._write(task, Fact.REVOKED, found, decision)

    def restore(
        self,
        task: Task,
        decision: Decision,
        *,
        ticket_id: str | None = None,
        reviewer: str | None = None,
    ) -> int:
        """Let answers count again that `revoke` took out. Raises `InputError` where none is."""
        with self._alone(task) as facts:
            revoked = last_words(facts).filter(fact=Fact.REVOKED)
            return self._write(task, Fact.RESTORED, _of(revoked, ticket_id, reviewer), decision)

    @contextmanager
    def _alone(self, task: Task) -> Iterator[pl.DataFrame]:
        """Lend the facts of a task while nobody else writes labels."""
        tenant = self._run.tenant
        with self._log.exclusive(tenant, PULL_KIND):
            close_killed(tenant, DECISION_KIND, store=self._store, log=self._log)
            yield label_facts(tenant, self._store).filter(task=task.name)

    def _write(
        self, task: Task, fact: Fact, about: list[dict[str, Any]], decision: Decision
    ) -> int:
        rows = [_decided(row, fact, decision, self._run) for row in about]
        table = pa.Table.from_pylist(rows, schema=LABELS.schema)
        write_facts(self._run, DECISION_KIND, table, (task,), store=self._store, log=self._log)
        return len(rows)


def _of(answers: pl.DataFrame, ticket: str | None, reviewer: str | None) -> list[dict[str, Any]]:
    """Choose answers by ticket and reviewer. Raises `InputError` where none is left."""
    wanted = {"ticket_id": ticket, "reviewer": reviewer}
    named = {name: value for name, value in wanted.items() if value is not None}
    if not named:
        msg = "name a ticket, a reviewer (--reviewer), or both"
        raise InputError(msg)
    found = answers.filter(**named).to_dicts()
    if not found:
        words = " and ".join(f"{name} '{value}'" for name, value in named.items())
        msg = f"there is no such answer of {words}; see `plata labels history TICKET`"
        raise InputError(msg)
    return found


def _decided(
    row: Mapping[str, Any], fact: Fact, decision: Decision, run: RunContext
) -> dict[str, Any]:
    mark = f"{run.run_id}\n{fact}\n{row['task']}\n{row['ticket_id']}\n{row['reviewer']}"
    return {
        **row,
        "run_id": run.run_id,
        "label_id": hashlib.sha256(mark.encode()).hexdigest()[:32],
        "fact": fact.value,
        "observed_at": run.started_at,
        "decided_by": decision.by,
        "comment": masked(decision.reason),
    }


def _origin(
    ticket_id: str, task: Task, facts: pl.DataFrame, run: RunContext, store: TableStore
) -> Mapping[str, Any]:
    """Say what a decision is about: what reviewers were shown, else what the champion answered."""
    if len(facts):
        newest_first = facts.sort(pl.col("reason") == AUDIT, "responded_at", descending=True)
        return newest_first.row(0, named=True)
    rows = machine_answers(task.name, run.tenant, store)
    found = rows.filter(pc.equal(rows["ticket_id"], ticket_id)).to_pylist()
    if not found:
        msg = f"nobody has answered '{task.name}' of ticket '{ticket_id}'; no run, no reviewer"
        raise InputError(msg)
    (answer,) = found
    drawn = bool(answer["drawn"])
    return {
        "tenant_id": run.tenant.tenant_id,
        "source": answer["source"],
        "day": answer["day"],
        "ticket_id": ticket_id,
        "task": task.name,
        "reason": (Reason.AUDIT if drawn else Reason.DOUBT).value,
        "suggested_label": answer["predicted_label"],
        "suggested_score": 0.0 if isnan(answer["score"]) else answer["score"],
        "model_name": answer["model_name"],
        "model_version": answer["model_version"],
        "bundle_id": answer["bundle_id"],
    }
