"""A review queue of our own, in the control plane: nothing but Postgres has to run.

People answer at the terminal (`plata review next`). A case is kept for whoever has it before them,
so that two do not answer what was meant for one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from labeling.errors import NotLetInError, QueueMismatchError, QueueRefusedError
from labeling.queue import (
    Answer,
    CaseId,
    CaseOrigin,
    CaseStatus,
    QueuedCase,
    QueueSpec,
    Reason,
    ReviewCase,
    Reviewer,
    require_own,
)
from lakehouse.control.postgres import Connection, Postgres
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext

LEASE = timedelta(minutes=15)
"""How long a case is kept for the person who has it before them."""

_KEY = ("tenant_id", "task", "ticket_id", "bundle_id")
_SHOWN = ("text", "explanation", "channel", "region", "link", "run_id", "masking")
_OF_CASE = " AND ".join(f"{name} = %s" for name in _KEY)
_CASE = "ticket_id, bundle_id, guideline_version, wanted, reason, origin, put_at"

_NEXT = f"""
SELECT c.ticket_id, c.bundle_id, c.reason, c.origin, c.shown, c.wanted
FROM review.cases c
LEFT JOIN review.answers mine ON mine.username = %(who)s
    AND {" AND ".join(f"mine.{name} = c.{name}" for name in _KEY)}
WHERE c.tenant_id = %(tenant)s AND c.task = %(task)s AND mine.status IS NULL
AND c.wanted > (
    SELECT count(*) FROM review.answers a
    WHERE {" AND ".join(f"a.{name} = c.{name}" for name in _KEY)} AND a.status = 'submitted'
) + (
    SELECT count(*) FROM review.leases l
    WHERE {" AND ".join(f"l.{name} = c.{name}" for name in _KEY)}
    AND l.username <> %(who)s AND l.until > now()
)
AND NOT (c.ticket_id || '/' || c.bundle_id) = ANY(%(passed)s)
ORDER BY c.put_at, c.ticket_id, c.bundle_id LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class OpenQueue:
    """A task's queue as it is asked: labels with their titles, in order, and the guideline."""

    task: str
    titles: Mapping[str, str]
    guideline: str


class PostgresQueue:
    """`ReviewQueue` over the schema `review`, and the desk where its cases are answered."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def open(self, spec: QueueSpec, tenant: TenantContext) -> str:
        """See `ReviewQueue.open`. The address is the command that shows the cases."""
        with self._of_task(spec.task, tenant) as connection:
            known = _queue(connection, spec.task, tenant)
            if known is not None and set(known.titles) != set(spec.titles):
                raise QueueMismatchError.of(
                    f"{tenant.tenant_id}/{spec.task}", known.titles, spec.titles
                )
            connection.execute(
                "INSERT INTO review.queues (tenant_id, task, titles, guideline) "
                "VALUES (%s, %s, %s, %s) ON CONFLICT (tenant_id, task) "
                "DO UPDATE SET titles = EXCLUDED.titles, guideline = EXCLUDED.guideline",
                [tenant.tenant_id, spec.task, _json(spec.titles), spec.guideline.text],
            )
        return f"plata review next --tenant {tenant.tenant_id} --task {spec.task}"

    def put(self, cases: Sequence[ReviewCase], spec: QueueSpec, tenant: TenantContext) -> int:
        """See `ReviewQueue.put`."""
        require_own((case.id for case in cases), tenant)
        with self._of_task(spec.task, tenant) as connection:
            self._require_open(connection, spec.task, tenant)
            return sum(
                connection.execute(
                    "INSERT INTO review.cases (tenant_id, task, ticket_id, bundle_id, "
                    "guideline_version, wanted, reason, origin, shown) "
                    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    [
                        *_named(case.id),
                        spec.guideline.version,
                        case.wanted,
                        case.origin.reason.value,
                        _json(_origin_kept(case.origin)),
                        _json({name: getattr(case, name) for name in _SHOWN}),
                    ],
                ).rowcount
                for case in cases
            )

    def cases(self, task: str, tenant: TenantContext) -> list[QueuedCase]:
        """See `ReviewQueue.cases`."""
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(
                f"SELECT {_CASE} FROM review.cases WHERE tenant_id = %s AND task = %s",
                [tenant.tenant_id, task],
            ).fetchall()
            answers = _answers(connection, task, tenant)
        found = []
        for ticket, bundle, guideline, wanted, reason, origin, put_at in rows:
            case_id = CaseId(tenant.tenant_id, task, ticket, bundle)
            given = tuple(answers.get(case_id, ()))
            kept = _origin(reason, origin)
            found.append(QueuedCase(case_id, kept, guideline, given, wanted, put_at))
        return sorted(found, key=lambda case: str(case.id))

    def withdraw(self, case_ids: Collection[CaseId], task: str, tenant: TenantContext) -> int:
        """See `ReviewQueue.withdraw`."""
        require_own(case_ids, tenant)
        with self._of_task(task, tenant) as connection:
            return sum(
                connection.execute(
                    f"DELETE FROM review.cases WHERE {_OF_CASE} AND NOT EXISTS "
                    f"(SELECT FROM review.answers a WHERE {_same('a', 'review.cases')})",
                    _named(case_id),
                ).rowcount
                for case_id in set(case_ids)
                if case_id.task == task
            )

    def enrol(self, reviewer: Reviewer, tenant: TenantContext) -> None:
        """See `ReviewQueue.enrol`. Who may open a terminal here needs no password besides."""
        with self._postgres.connect(tenant) as connection:
            connection.execute(
                "INSERT INTO review.reviewers (tenant_id, username) VALUES (%s, %s) "
                "ON CONFLICT (tenant_id, username) DO UPDATE SET let_in = true",
                [tenant.tenant_id, reviewer.username],
            )

    def dismiss(self, username: str, tenant: TenantContext) -> None:
        """See `ReviewQueue.dismiss`."""
        with self._postgres.connect(tenant) as connection:
            connection.execute(
                "UPDATE review.reviewers SET let_in = false WHERE tenant_id = %s AND username = %s",
                [tenant.tenant_id, username],
            )

    def accounts(self, tenant: TenantContext) -> Mapping[str, datetime]:
        """See `ReviewQueue.accounts`. An account never goes, nor do its answers."""
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(
                "SELECT username, since FROM review.reviewers WHERE tenant_id = %s",
                [tenant.tenant_id],
            ).fetchall()
        return dict(rows)

    # ---- the desk

    def asked(self, task: str, tenant: TenantContext) -> OpenQueue:
        """Return what a task's queue asks. Raises `QueueRefusedError` where it is not open."""
        with self._postgres.connect(tenant) as connection:
            return self._require_open(connection, task, tenant)

    def next_case(
        self, task: str, username: str, tenant: TenantContext, *, passed: Collection[CaseId] = ()
    ) -> ReviewCase | None:
        """Take the case that waits longest, and keep it for this person; None where none waits.

        What they answered already, what others have before them and what is in `passed` is not
        theirs. Raises `NotLetInError`.
        """
        given = {
            "who": username,
            "tenant": tenant.tenant_id,
            "task": task,
            "passed": [f"{case.ticket_id}/{case.bundle_id}" for case in passed],
        }
        with self._of_task(task, tenant) as connection:
            self._require_open(connection, task, tenant)
            _require_let_in(connection, username, tenant)
            row = connection.execute(_NEXT, given).fetchone()
            if row is None:
                return None
            ticket, bundle, reason, origin, shown, wanted = row
            case_id = CaseId(tenant.tenant_id, task, ticket, bundle)
            connection.execute(
                "INSERT INTO review.leases "
                "(tenant_id, task, ticket_id, bundle_id, username, until) "
                "VALUES (%s, %s, %s, %s, %s, now() + %s) "
                f"ON CONFLICT ({', '.join(_KEY)}, username) DO UPDATE SET until = EXCLUDED.until",
                [*_named(case_id), username, LEASE],
            )
        return ReviewCase(case_id, origin=_origin(reason, origin), wanted=wanted, **shown)

    def answer(
        self,
        case_id: CaseId,
        username: str,
        tenant: TenantContext,
        *,
        status: CaseStatus,
        label: str | None = None,
        comment: str | None = None,
    ) -> None:
        """Write what a person said of a case, in the place of what they said before.

        Raises `NotLetInError`, or `InputError` for a label that is not asked or a case that is not
        there.
        """
        require_own([case_id], tenant)
        with self._of_task(case_id.task, tenant) as connection:
            queue = self._require_open(connection, case_id.task, tenant)
            _require_let_in(connection, username, tenant)
            if status is CaseStatus.SUBMITTED and label not in queue.titles:
                msg = f"'{label}' is no label of '{queue.task}'; it has {', '.join(queue.titles)}"
                raise InputError(msg)
            there = connection.execute(
                f"SELECT FROM review.cases WHERE {_OF_CASE}", _named(case_id)
            ).fetchone()
            if there is None:
                msg = (
                    f"case '{case_id}' is not in the queue: it was taken out, or never put; see "
                    f"`plata review cases --tenant {tenant.tenant_id}`"
                )
                raise InputError(msg)
            connection.execute(
                "INSERT INTO review.answers (tenant_id, task, ticket_id, bundle_id, username, "
                "status, label, comment) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) "
                f"ON CONFLICT ({', '.join(_KEY)}, username) DO UPDATE SET "
                "status = EXCLUDED.status, label = EXCLUDED.label, comment = EXCLUDED.comment, "
                "answered_at = clock_timestamp()",
                [*_named(case_id), username, status.value, label, comment],
            )
            _release(connection, case_id, username)

    def let_go(self, case_id: CaseId, username: str, tenant: TenantContext) -> None:
        """Give back a case that somebody has before them, unanswered."""
        require_own([case_id], tenant)
        with self._postgres.connect(tenant) as connection:
            _release(connection, case_id, username)

    @contextmanager
    def _of_task(self, task: str, tenant: TenantContext) -> Iterator[Connection]:
        """Have a task's queue for oneself: a case goes to one person at a time."""
        name = f"review/{tenant.tenant_id}/{task}"
        with self._postgres.connect(tenant) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
            yield connection

    def _require_open(self, connection: Connection, task: str, tenant: TenantContext) -> OpenQueue:
        found = _queue(connection, task, tenant)
        if found is None:
            msg = (
                f"tenant '{tenant.tenant_id}' has no review queue for '{task}'; fill it first: "
                f"plata review push --tenant {tenant.tenant_id}"
            )
            raise QueueRefusedError(msg)
        return found


def _queue(connection: Connection, task: str, tenant: TenantContext) -> OpenQueue | None:
    row = connection.execute(
        "SELECT titles, guideline FROM review.queues WHERE tenant_id = %s AND task = %s",
        [tenant.tenant_id, task],
    ).fetchone()
    return None if row is None else OpenQueue(task, row[0], row[1])


def _answers(
    connection: Connection, task: str, tenant: TenantContext
) -> dict[CaseId, list[Answer]]:
    rows = connection.execute(
        "SELECT ticket_id, bundle_id, username, status, label, comment, answered_at "
        "FROM review.answers WHERE tenant_id = %s AND task = %s ORDER BY username",
        [tenant.tenant_id, task],
    ).fetchall()
    found: dict[CaseId, list[Answer]] = {}
    for ticket, bundle, username, status, label, comment, at in rows:
        case_id = CaseId(tenant.tenant_id, task, ticket, bundle)
        answer = Answer(username, CaseStatus(status), label, comment, at)
        found.setdefault(case_id, []).append(answer)
    return found


def _require_let_in(connection: Connection, username: str, tenant: TenantContext) -> None:
    rows = connection.execute(
        "SELECT username FROM review.reviewers WHERE tenant_id = %s AND let_in ORDER BY username",
        [tenant.tenant_id],
    ).fetchall()
    known = [name for (name,) in rows]
    if username not in known:
        there = ", ".join(known) or "nobody"
        msg = (
            f"'{username}' does not review for '{tenant.tenant_id}'; {there} may. Let them in: "
            f"plata review account add NAME --tenant {tenant.tenant_id}"
        )
        raise NotLetInError(msg)


def _release(connection: Connection, case_id: CaseId, username: str) -> None:
    connection.execute(
        f"DELETE FROM review.leases WHERE {_OF_CASE} AND username = %s",
        [*_named(case_id), username],
    )


def _same(one: str, other: str) -> str:
    return " AND ".join(f"{one}.{name} = {other}.{name}" for name in _KEY)


def _named(case_id: CaseId) -> list[str]:
    return [case_id.tenant_id, case_id.task, case_id.ticket_id, case_id.bundle_id]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _origin_kept(origin: CaseOrigin) -> dict[str, Any]:
    return {
        "source": origin.source,
        "day": origin.day.isoformat(),
        "suggestion": origin.suggestion,
        "score": origin.score,
        "model_name": origin.model_name,
        "model_version": origin.model_version,
    }


def _origin(reason: str, kept: Mapping[str, Any]) -> CaseOrigin:
    return CaseOrigin(**{**kept, "day": date.fromisoformat(kept["day"]), "reason": Reason(reason)})
