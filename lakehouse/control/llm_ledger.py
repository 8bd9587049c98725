"""What LLMs answered and what that cost: a question asked again is not paid again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from lakehouse.control.postgres import Connection, Postgres
from lakehouse.run import RunContext, RunId
from lakehouse.tenancy import TenantContext


@dataclass(frozen=True, slots=True)
class Asking:
    """How texts are asked about. `parameters_digest` is of all that goes with prompt and model."""

    prompt_digest: str
    model: str
    parameters_digest: str


@dataclass(frozen=True, slots=True)
class Charge:
    """One reply the endpoint charges for. `metered` is False where its tokens were estimated."""

    task: str
    model: str
    outcome: str
    prompt_tokens: int
    completion_tokens: int
    metered: bool
    cost: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Spending:
    """What one run spent on one task's model."""

    task: str
    model: str
    calls: int
    unusable: int
    unmetered: int
    prompt_tokens: int
    completion_tokens: int
    cost: Decimal
    currency: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "cost": float(self.cost)}


ANSWERED = "answered"
"""The outcome of a reply that was used."""


class LlmLedger:
    """`meta.llm_answers` and `meta.llm_charges` of a tenant."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def known(
        self, asking: Asking, digests: Sequence[str], tenant: TenantContext
    ) -> dict[str, dict[str, float]]:
        """Return the answers there are, by the digest of the text."""
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(
                "SELECT text_sha256, answer FROM meta.llm_answers WHERE tenant_id = %s "
                "AND prompt_digest = %s AND model = %s AND parameters_digest = %s "
                "AND text_sha256 = ANY(%s)",
                [tenant.tenant_id, *_key(asking), list(digests)],
            ).fetchall()
        return dict(rows)

    def charge(self, charge: Charge, run: RunContext) -> None:
        """Record what a reply that cannot be used cost."""
        with self._postgres.connect(run.tenant) as connection:
            _charge(connection, charge, run)

    def settle(
        self,
        charge: Charge,
        asking: Asking,
        text_sha256: str,
        answer: Mapping[str, float],
        run: RunContext,
    ) -> None:
        """Record an answer together with what it cost."""
        with self._postgres.connect(run.tenant) as connection:
            _charge(connection, charge, run)
            connection.execute(
                "INSERT INTO meta.llm_answers (tenant_id, prompt_digest, model, "
                "parameters_digest, text_sha256, answer, run_id) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [
                    run.tenant.tenant_id,
                    *_key(asking),
                    text_sha256,
                    json.dumps(dict(answer)),
                    run.run_id,
                ],
            )

    def spent(self, tenant: TenantContext, run_id: RunId) -> list[Spending]:
        """Return what a run spent, by task and model, all its attempts together."""
        with self._postgres.connect(tenant) as connection:
            rows = connection.execute(
                "SELECT task, model, count(*), count(*) FILTER (WHERE outcome <> %s), "
                "count(*) FILTER (WHERE NOT metered), sum(prompt_tokens)::bigint, "
                "sum(completion_tokens)::bigint, sum(cost), currency FROM meta.llm_charges "
                "WHERE tenant_id = %s AND run_id = %s GROUP BY task, model, currency "
                "ORDER BY task, model, currency",
                [ANSWERED, tenant.tenant_id, run_id],
            ).fetchall()
        return [Spending(*row) for row in rows]


def _key(asking: Asking) -> tuple[str, str, str]:
    return asking.prompt_digest, asking.model, asking.parameters_digest


def _charge(connection: Connection, charge: Charge, run: RunContext) -> None:
    connection.execute(
        "INSERT INTO meta.llm_charges (tenant_id, run_id, task, model, outcome, prompt_tokens, "
        "completion_tokens, metered, cost, currency) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            run.tenant.tenant_id,
            run.run_id,
            charge.task,
            charge.model,
            charge.outcome,
            charge.prompt_tokens,
            charge.completion_tokens,
            charge.metered,
            charge.cost,
            charge.currency,
        ],
    )
