"""An engine that keeps nothing: it reads the JSON columns of Argilla's tables at every question.

It answers what the benchmark asks (pending pages, words, terms and ranges of metadata, similar
records), with Postgres' own full-text search and pgvector, as one would write it in an afternoon.
"""

from __future__ import annotations

from typing import Any

from argilla_server.database import AsyncSessionLocal
from argilla_server.models import Field, Record, Response, Vector
from argilla_server.search_engine.base import (
    AndFilter,
    MetadataFilterScope,
    RangeFilter,
    RecordFilterScope,
    SearchEngine,
    SearchResponseItem,
    SearchResponses,
)
from plata_argilla_search.engine import PostgresSearchEngine
from sqlalchemy import Float, String, Text, and_, case, cast, exists, func, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import UserDefinedType


class _VectorType(UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "vector"


@SearchEngine.register(engine_name="scans")
class ScanningEngine(PostgresSearchEngine):
    """Overrides the two searches."""

    async def search(
        self, dataset: Any, query: Any = None, filter: Any = None, sort: Any = None,
        offset: int = 0, limit: int = 100, user_id: Any = None,
    ) -> SearchResponses:  # fmt: skip
        """Return a page in the reviewer's order, and count what matches with a second query."""
        async with AsyncSessionLocal() as session:
            where = await _where(session, dataset, query, filter)
            own = func.md5(func.concat(str(user_id), cast(Record.id, String)))
            page = select(Record.id).where(where).order_by(own, Record.id)
            ids = (await session.execute(page.offset(offset).limit(limit))).scalars().all()
            total = select(func.count()).select_from(Record).where(where)
            items = [SearchResponseItem(record_id=one, score=1.0) for one in ids]
            return SearchResponses(items=items, total=(await session.execute(total)).scalar_one())

    async def similarity_search(
        self, dataset: Any, vector_settings: Any, value: Any = None, record: Any = None,
        query: Any = None, filter: Any = None, max_results: int = 100, order: Any = None,
        threshold: Any = None,
    ) -> SearchResponses:  # fmt: skip
        """Read every vector's JSON and compare it."""
        target = value or record.vector_value_by_vector_settings(vector_settings)
        async with AsyncSessionLocal() as session:
            where = await _where(session, dataset, query, filter)
            stored = cast(cast(Vector.value, Text), _VectorType())
            wanted = cast(cast(str(list(target)), String), _VectorType())
            distance = stored.op("<=>", return_type=Float())(wanted)
            nearest = (
                select(Vector.record_id, 1 - distance / 2)
                .join(Record, Record.id == Vector.record_id)
                .where(Vector.vector_settings_id == vector_settings.id, where)
                .where(true() if record is None else Record.id != record.id)
                .order_by(distance)
                .limit(max_results)
            )
            found = (await session.execute(nearest)).all()
            items = [SearchResponseItem(record_id=one, score=score) for one, score in found]
            return SearchResponses(items=items, total=len(items))


async def _where(session: Any, dataset: Any, query: Any, filter: Any) -> Any:
    conditions = [Record.dataset_id == dataset.id]
    if query is not None:
        fields = select(Field.name).where(Field.dataset_id == dataset.id)
        names = (await session.execute(fields)).scalars().all()
        parts = [cast(Record.fields, JSONB)[name].astext for name in names]
        words = func.to_tsvector("simple", func.concat_ws(" ", *parts))
        conditions.append(words.bool_op("@@")(func.websearch_to_tsquery("simple", query.q)))
    if filter is not None:
        conditions.append(_condition(filter))
    return and_(*conditions)


def _condition(wanted: Any) -> Any:
    if isinstance(wanted, AndFilter):
        return and_(true(), *(_condition(part) for part in wanted.filters))
    if isinstance(wanted.scope, RecordFilterScope):
        return Record.status.in_(wanted.values)
    if isinstance(wanted.scope, MetadataFilterScope):
        return _metadata(wanted)
    mine = and_(Response.record_id == Record.id, Response.user_id == wanted.scope.user.id)
    return ~exists(select(1).where(mine))


def _metadata(wanted: Any) -> Any:
    node = cast(Record.metadata_, JSONB)[wanted.scope.metadata_property]
    many = func.jsonb_typeof(node) == "array"
    listed = case((many, node), else_=func.jsonb_build_array(node))
    values = func.jsonb_array_elements_text(listed).table_valued("value")
    if isinstance(wanted, RangeFilter):
        number = cast(values.c.value, Float)
        fits = [number >= wanted.ge] if wanted.ge is not None else []
        fits += [number <= wanted.le] if wanted.le is not None else []
        return exists(select(1).select_from(values).where(*fits))
    return exists(select(1).select_from(values).where(values.c.value.in_(wanted.values)))
