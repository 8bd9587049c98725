from __future__ import annotations

from datetime import UTC, date, datetime
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from features.embed import EmbeddingSpace
from features.index import DimensionError
from features.pgvector_index import PgVectorIndex
from lakehouse.control.postgres import Postgres
from lakehouse.control.tenants import TenantDirectory
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from registry.refs import ModelRef, PromptRef

DIMENSIONS = 64
PROMPT = PromptRef("q", "1", "q1")


def space(name: str = "e5") -> EmbeddingSpace:
    return EmbeddingSpace.of(ModelRef(name, "1", name), PROMPT, DIMENSIONS)


def run_of(tenant: TenantContext) -> RunContext:
    return RunContext.begin(tenant, kind="run", at=datetime(2026, 1, 2, tzinfo=UTC))


def vectors(count: int, *, seed: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(size=(count, DIMENSIONS)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def tickets(matrix: NDArray[np.float32], label: str = "queja") -> pa.Table:
    count = len(matrix)
    return pa.table(
        {
            "ticket_id": [str(UUID(int=number + 1)) for number in range(count)],
            "day": [date(2026, 1, 1)] * count,
            "label": [label] * count,
            "embedding": pa.array(list(matrix), pa.list_(pa.float32())),
        }
    )


@pytest.fixture
def postgres(postgres_url: str) -> Postgres:
    return Postgres(postgres_url)


@pytest.fixture
def tenant(postgres: Postgres) -> TenantContext:
    return new_tenant(postgres)


def new_tenant(postgres: Postgres) -> TenantContext:
    tenant = TenantContext.parse(f"t{uuid4().hex[:12]}")
    TenantDirectory(postgres).create(tenant, name="Prueba")
    return tenant


@pytest.fixture
def index(postgres: Postgres, tenant: TenantContext) -> PgVectorIndex:
    made = PgVectorIndex(postgres)
    made.prepare(space(), tenant)
    return made


def test_search_walks_the_graph_and_finds_nearly_all_true_neighbours(
    postgres: Postgres, index: PgVectorIndex, tenant: TenantContext
) -> None:
    matrix = vectors(4000, seed=1)
    index.upsert(tickets(matrix), space(), run_of(tenant))
    index.complete(space(), tenant)
    index.complete(space(), tenant)
    with postgres.administer() as connection:
        connection.execute("ANALYZE vectors.embeddings")
    assert "_hnsw" in index.explain(matrix[0], space(), tenant, k=10)
    found = 0
    for query in vectors(20, seed=2):
        exact = {str(UUID(int=int(n) + 1)) for n in np.argsort(-(matrix @ query))[:10]}
        near = {n.ticket_id for n in index.search(query, space(), tenant, k=10)}
        found += len(exact & near)
    assert found / 200 >= 0.9


def test_a_load_that_was_killed_before_its_graph_is_searched_all_the_same(
    index: PgVectorIndex, tenant: TenantContext
) -> None:
    matrix = vectors(50, seed=3)
    index.upsert(tickets(matrix), space(), run_of(tenant))
    before = index.search(matrix[7], space(), tenant, k=3)
    assert "_hnsw" not in index.explain(matrix[7], space(), tenant, k=3)
    index.upsert(tickets(matrix), space(), run_of(tenant))
    index.complete(space(), tenant)
    assert index.search(matrix[7], space(), tenant, k=3) == before
    assert index.count(space(), tenant) == 50


def test_the_nearest_comes_first_with_its_cosine_label_and_day(
    index: PgVectorIndex, tenant: TenantContext
) -> None:
    matrix = vectors(50, seed=3)
    index.upsert(tickets(matrix), space(), run_of(tenant))
    found = index.search(matrix[7], space(), tenant, k=3)
    assert found[0].ticket_id == str(UUID(int=8))
    assert found[0].similarity == pytest.approx(1.0, abs=1e-3)
    assert (found[0].label, found[0].day) == ("queja", date(2026, 1, 1))
    assert [n.similarity for n in found] == sorted((n.similarity for n in found), reverse=True)


def test_a_small_tenant_beside_a_large_one_gets_its_ten_of_ten(
    postgres: Postgres, index: PgVectorIndex, tenant: TenantContext
) -> None:
    small = new_tenant(postgres)
    index.prepare(space(), small)
    index.upsert(tickets(vectors(1500, seed=4)), space(), run_of(tenant))
    index.upsert(tickets(-vectors(12, seed=4)), space(), run_of(small))
    assert len(index.search(vectors(1, seed=4)[0], space(), small, k=10)) == 10


def test_row_level_security_hides_the_other_tenants_vectors(
    postgres: Postgres, index: PgVectorIndex, tenant: TenantContext
) -> None:
    index.upsert(tickets(vectors(5, seed=5)), space(), run_of(tenant))
    stranger = new_tenant(postgres)
    with postgres.connect(stranger) as connection:
        seen = connection.execute("SELECT count(*) FROM vectors.embeddings").fetchone()
    assert seen == (0,)
    assert index.count(space(), tenant) == 5


def test_a_tenant_cannot_write_rows_of_another(
    postgres: Postgres, index: PgVectorIndex, tenant: TenantContext
) -> None:
    stranger = new_tenant(postgres)
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        postgres.connect(stranger) as connection,
    ):
        connection.execute(
            "INSERT INTO vectors.embeddings "
            "VALUES (%s, %s, %s, %s::halfvec, NULL, '2026-01-01', 'r')",
            [tenant.tenant_id, space().space_id, uuid4(), str([0.1] * DIMENSIONS)],
        )


def test_two_spaces_are_never_mixed(index: PgVectorIndex, tenant: TenantContext) -> None:
    other = space("use")
    index.prepare(other, tenant)
    matrix = vectors(40, seed=6)
    index.upsert(tickets(matrix, label="queja"), space(), run_of(tenant))
    index.upsert(tickets(matrix, label="reclamo"), other, run_of(tenant))
    found = index.search(matrix[0], other, tenant, k=40)
    assert {n.label for n in found} == {"reclamo"}
    assert len(found) == 40


def test_writing_twice_replaces_and_adds_nothing(
    index: PgVectorIndex, tenant: TenantContext
) -> None:
    matrix = vectors(8, seed=7)
    index.upsert(tickets(matrix, label="queja"), space(), run_of(tenant))
    index.upsert(tickets(matrix, label="reclamo"), space(), run_of(tenant))
    assert index.count(space(), tenant) == 8
    assert {n.label for n in index.search(matrix[0], space(), tenant, k=8)} == {"reclamo"}


def test_preparing_a_space_again_keeps_its_vectors(
    index: PgVectorIndex, tenant: TenantContext
) -> None:
    index.upsert(tickets(vectors(3, seed=8)), space(), run_of(tenant))
    index.prepare(space(), tenant)
    assert index.count(space(), tenant) == 3


def test_a_vector_of_another_length_is_refused_with_both_lengths(
    index: PgVectorIndex, tenant: TenantContext
) -> None:
    short = np.ones(3, dtype=np.float32)
    with pytest.raises(DimensionError, match=r"3 dimensions.*holds 64"):
        index.search(short, space(), tenant, k=1)
    with pytest.raises(DimensionError, match=r"3 dimensions.*holds 64"):
        index.upsert(tickets(short.reshape(1, 3)), space(), run_of(tenant))


def test_a_space_nobody_wrote_to_has_no_neighbours(
    index: PgVectorIndex, tenant: TenantContext
) -> None:
    unknown = space("nuevo")
    assert index.search(vectors(1, seed=9)[0], unknown, tenant, k=5) == ()
