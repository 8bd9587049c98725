"""The vector index in Postgres: a partition a tenant and space, each with an HNSW graph of its own.

A graph shared between tenants loses a small tenant's neighbours among a large one's, and
row-level security loses them silently. Apart, every tenant gets its ten of ten.
"""

from __future__ import annotations

import hashlib
from typing import LiteralString
from uuid import UUID

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.rows import TupleRow

from features.embed import EmbeddingSpace
from features.index import DimensionError, Neighbour
from lakehouse.control.postgres import Connection, Postgres
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext

_LOCK = 7_203_114_412
"""Advisory lock, any constant: two programs that make partitions at once take turns."""

_LARGEST_SEARCH = 1000
_SEARCH_WIDTH = 100

_STAGE = """
CREATE TEMPORARY TABLE staged (
    ticket_id uuid, embedding halfvec, label text, day date
) ON COMMIT DROP
"""
_MERGE = """
INSERT INTO vectors.embeddings (tenant_id, space_id, ticket_id, embedding, label, day, run_id)
SELECT %s, %s, ticket_id, embedding, label, day, %s FROM staged ORDER BY ticket_id
ON CONFLICT (tenant_id, space_id, ticket_id) DO UPDATE SET
    embedding = EXCLUDED.embedding, label = EXCLUDED.label,
    day = EXCLUDED.day, run_id = EXCLUDED.run_id
"""
_SEARCH = """
SELECT ticket_id::text, 1 - (embedding::halfvec({size}) <=> %(vector)s) AS similarity,
       label, day, run_id
FROM vectors.embeddings
WHERE tenant_id = %(tenant)s AND space_id = %(space)s
ORDER BY embedding::halfvec({size}) <=> %(vector)s
LIMIT %(k)s
"""


class PgVectorIndex:
    """`EmbeddingIndex` over pgvector, in half precision."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def prepare(self, space: EmbeddingSpace, tenant: TenantContext) -> None:
        """Make the partitions of tenant and space; see `EmbeddingIndex.prepare`."""
        names = _Partitions.of(space, tenant)
        with self._postgres.administer() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            registered = connection.execute(
                "INSERT INTO vectors.spaces VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [
                    tenant.tenant_id,
                    space.space_id,
                    space.model.uri,
                    space.prompt.uri,
                    space.dimensions,
                    names.leaf,
                ],
            )
            if registered.rowcount == 1:
                _create_partitions(connection, names, space, tenant)

    def complete(self, space: EmbeddingSpace, tenant: TenantContext) -> None:
        """Build the space's graph where there is none yet; see `EmbeddingIndex.complete`."""
        names = _Partitions.of(space, tenant)
        with self._postgres.administer() as connection:
            connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [names.leaf]
            )
            connection.execute(_graph(names, space))

    def upsert(self, rows: pa.Table, space: EmbeddingSpace, run: RunContext) -> None:
        """Copy into a temporary table, then merge; see `EmbeddingIndex.upsert`."""
        vectors = _halves(rows, space)
        tickets = [UUID(ticket) for ticket in rows["ticket_id"].to_pylist()]
        plain = (rows[name].to_pylist() for name in ("label", "day"))
        with self._postgres.connect(run.tenant) as connection:
            register_vector(connection)
            cursor = connection.cursor()
            cursor.execute(_STAGE)
            command = "COPY staged (ticket_id, label, day, embedding) FROM STDIN (FORMAT BINARY)"
            with cursor.copy(command) as copy:
                copy.set_types(["uuid", "text", "date", "halfvec"])
                for values in zip(tickets, *plain, vectors, strict=True):
                    copy.write_row(values)
            cursor.execute(_MERGE, [run.tenant.tenant_id, space.space_id, run.run_id])

    def search(
        self, vector: NDArray[np.float32], space: EmbeddingSpace, tenant: TenantContext, *, k: int
    ) -> tuple[Neighbour, ...]:
        """Walk the space's own graph; see `EmbeddingIndex.search`."""
        found = self._nearest("", vector, space, tenant, k)
        return tuple(Neighbour(*row) for row in found)

    def explain(
        self, vector: NDArray[np.float32], space: EmbeddingSpace, tenant: TenantContext, *, k: int
    ) -> str:
        """Return Postgres's plan for a search, for those who wonder whether the graph is used."""
        return "\n".join(row[0] for row in self._nearest("EXPLAIN ", vector, space, tenant, k))

    def _nearest(
        self,
        prefix: LiteralString,
        vector: NDArray[np.float32],
        space: EmbeddingSpace,
        tenant: TenantContext,
        k: int,
    ) -> list[TupleRow]:
        if len(vector) != space.dimensions:
            raise DimensionError.of(space, len(vector))
        query = sql.SQL(prefix + _SEARCH).format(size=sql.Literal(space.dimensions))
        values = {
            "vector": HalfVector(vector),
            "tenant": tenant.tenant_id,
            "space": space.space_id,
            "k": k,
        }
        width = min(max(_SEARCH_WIDTH, 2 * k), _LARGEST_SEARCH)
        with self._postgres.connect(tenant) as connection:
            register_vector(connection)
            connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(width)])
            connection.execute("SELECT set_config('hnsw.iterative_scan', 'strict_order', true)")
            return connection.execute(query, values).fetchall()

    def count(self, space: EmbeddingSpace, tenant: TenantContext) -> int:
        """Count; see `EmbeddingIndex.count`."""
        with self._postgres.connect(tenant) as connection:
            row = connection.execute(
                "SELECT count(*) FROM vectors.embeddings WHERE tenant_id = %s AND space_id = %s",
                [tenant.tenant_id, space.space_id],
            ).fetchone()
        return 0 if row is None else int(row[0])


class _Partitions:
    """Names of partitions: digests, which are safe in SQL and short whatever the tenant is."""

    def __init__(self, branch: str, leaf: str) -> None:
        self.branch, self.leaf = branch, leaf

    @classmethod
    def of(cls, space: EmbeddingSpace, tenant: TenantContext) -> _Partitions:
        branch = _digest(tenant.tenant_id)
        return cls(f"tenant_{branch}", f"space_{_digest(f'{tenant.tenant_id}/{space.space_id}')}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _create_partitions(
    connection: Connection, names: _Partitions, space: EmbeddingSpace, tenant: TenantContext
) -> None:
    parts = {
        "branch": sql.Identifier("vectors", names.branch),
        "leaf": sql.Identifier("vectors", names.leaf),
        "tenant": sql.Literal(tenant.tenant_id),
        "space": sql.Literal(space.space_id),
        "size": sql.Literal(space.dimensions),
    }
    for statement in (
        "CREATE TABLE IF NOT EXISTS {branch} PARTITION OF vectors.embeddings "
        "FOR VALUES IN ({tenant}) PARTITION BY LIST (space_id)",
        "CREATE TABLE {leaf} PARTITION OF {branch} "
        "(CHECK (vector_dims(embedding) = {size})) FOR VALUES IN ({space})",
    ):
        connection.execute(sql.SQL(statement).format(**parts))


def _graph(names: _Partitions, space: EmbeddingSpace) -> sql.Composed:
    """Name the graph after its partition: a load that is done again finds it."""
    return sql.SQL(
        "CREATE INDEX IF NOT EXISTS {graph} ON {leaf} "
        "USING hnsw ((embedding::halfvec({size})) halfvec_cosine_ops)"
    ).format(
        graph=sql.Identifier(f"{names.leaf}_hnsw"),
        leaf=sql.Identifier("vectors", names.leaf),
        size=sql.Literal(space.dimensions),
    )


def _halves(rows: pa.Table, space: EmbeddingSpace) -> list[HalfVector]:
    column = rows["embedding"].combine_chunks()
    wrong = [n for n in column.value_lengths().unique().to_pylist() if n != space.dimensions]
    if wrong:
        raise DimensionError.of(space, wrong[0])
    flat = column.flatten().to_numpy(zero_copy_only=False)
    halves = flat.reshape(len(rows), space.dimensions).astype(np.float16)
    return [HalfVector(half) for half in halves]
