"""The engine Argilla asks: every question is one SQL query, every write is already done.

Argilla's rows are committed before it tells its search engine about them, so the writing half of
the interface has nothing to do, and no second store can disagree with the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from argilla_server.database import AsyncSessionLocal
from argilla_server.enums import FieldType, MetadataPropertyType, SimilarityOrder
from argilla_server.models import (
    Dataset,
    Field,
    MetadataProperty,
    Record,
    Response,
    Suggestion,
    User,
    Vector,
    VectorSettings,
)
from argilla_server.search_engine.base import (
    Filter,
    FloatMetadataMetrics,
    IntegerMetadataMetrics,
    MetadataMetrics,
    Order,
    SearchEngine,
    SearchResponseItem,
    SearchResponses,
    TermsMetrics,
    TextQuery,
)
from sqlalchemy import (
    ColumnElement,
    Float,
    Select,
    String,
    and_,
    case,
    cast,
    false,
    func,
    literal,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

from plata_argilla_search.conditions import condition
from plata_argilla_search.ordering import order_by
from plata_argilla_search.textquery import to_tsquery
from plata_argilla_search.values import as_vector, each, matches_text

NAME = "plata"


async def _rows(query: Select[Any]) -> list[Any]:
    async with AsyncSessionLocal() as session:
        return list((await session.execute(query)).all())


@SearchEngine.register(engine_name=NAME)
class PostgresSearchEngine(SearchEngine):
    """Searches Argilla's own tables with full-text search and pgvector."""

    @classmethod
    async def new_instance(cls) -> PostgresSearchEngine:
        """Return an engine; connections come from the server's own pool."""
        return cls()

    async def close(self) -> None:
        """Leave the pool to the server."""

    async def ping(self) -> bool:
        """Tell whether the database answers."""
        return bool(await _rows(select(literal(1))))

    async def info(self) -> dict[str, Any]:
        """Name what answers, for the server's status page."""
        version = (await _rows(select(func.current_setting("server_version"))))[0][0]
        return {"name": "plata", "backend": "postgresql", "version": {"number": version}}

    # ---- what an index would have to be told

    async def create_index(self, dataset: Dataset) -> None:
        """Nothing to do."""

    async def delete_index(self, dataset: Dataset) -> None:
        """Nothing to do."""

    async def configure_metadata_property(
        self, dataset: Dataset, metadata_property: MetadataProperty
    ) -> None:
        """Nothing to do."""

    async def configure_index_vectors(self, vector_settings: VectorSettings) -> None:
        """Nothing to do."""

    async def index_records(self, dataset: Dataset, records: Iterable[Record]) -> None:
        """Nothing to do."""

    async def partial_record_update(self, record: Record, **update: Any) -> None:
        """Nothing to do."""

    async def delete_records(self, dataset: Dataset, records: Iterable[Record]) -> None:
        """Nothing to do."""

    async def update_record_response(self, response: Response) -> None:
        """Nothing to do."""

    async def delete_record_response(self, response: Response) -> None:
        """Nothing to do."""

    async def update_record_suggestion(self, suggestion: Suggestion) -> None:
        """Nothing to do."""

    async def delete_record_suggestion(self, suggestion: Suggestion) -> None:
        """Nothing to do."""

    # ---- progress and metrics

    async def get_dataset_progress(self, dataset: Dataset) -> dict[str, int]:
        """Count the records by status."""
        query = select(Record.status, func.count()).where(Record.dataset_id == dataset.id)
        return await _counted(query.group_by(Record.status)) if not dataset.is_draft else {}

    async def get_dataset_user_progress(self, dataset: Dataset, user: User) -> dict[str, int]:
        """Count one reviewer's responses by status."""
        query = select(Response.status, func.count()).join(Record, Record.id == Response.record_id)
        mine = and_(Record.dataset_id == dataset.id, Response.user_id == user.id)
        query = query.where(mine).group_by(Response.status)
        return await _counted(query) if not dataset.is_draft else {}

    async def compute_metrics_for(self, metadata_property: MetadataProperty) -> MetadataMetrics:
        """Return the frequency of each term, or the range of the numbers."""
        values = each(Record.metadata_, metadata_property.name)
        value = cast(values.c.value, JSONB).op("#>>")(text("'{}'::text[]"))
        here = and_(Record.dataset_id == metadata_property.dataset_id, value.is_not(None))
        source = select().select_from(Record).join(values, true()).where(here)
        if metadata_property.type == MetadataPropertyType.terms:
            count = func.count()
            query = source.add_columns(value, count).group_by(value).order_by(count.desc(), value)
            terms = [TermsMetrics.TermCount(term=term, count=n) for term, n in await _rows(query)]
            return TermsMetrics(total=sum(term.count for term in terms), values=terms)
        number = cast(value, Float)
        low, high = (await _rows(source.add_columns(func.min(number), func.max(number))))[0]
        if metadata_property.type == MetadataPropertyType.float:
            return FloatMetadataMetrics(min=low, max=high)
        whole = [None if bound is None else int(bound) for bound in (low, high)]
        return IntegerMetadataMetrics(min=whole[0], max=whole[1])

    # ---- search

    async def search(
        self,
        dataset: Dataset,
        query: TextQuery | str | None = None,
        filter: Filter | None = None,
        sort: list[Order] | None = None,
        offset: int = 0,
        limit: int = 100,
        user_id: Any | None = None,
    ) -> SearchResponses:
        """Return one page of the records that match; the server passes `user_id` for reviewers."""
        where = await _where(dataset, query, filter)
        page = select(Record.id).where(where).order_by(*order_by(sort or [], user_id))
        found = await _rows(page.offset(offset).limit(limit))
        total = (await _rows(select(func.count()).select_from(Record).where(where)))[0][0]
        items = [SearchResponseItem(record_id=row[0], score=1.0) for row in found]
        return SearchResponses(items=items, total=total)

    async def similarity_search(
        self,
        dataset: Dataset,
        vector_settings: VectorSettings,
        value: list[float] | None = None,
        record: Record | None = None,
        query: TextQuery | str | None = None,
        filter: Filter | None = None,
        max_results: int = 100,
        order: SimilarityOrder = SimilarityOrder.most_similar,
        threshold: float | None = None,
    ) -> SearchResponses:
        """Return the nearest (or farthest) records by cosine, scored from 0 to 1."""
        target = _target(vector_settings, value, record)
        where = await _where(dataset, query, filter)
        if record is not None:
            where = and_(where, Record.id != record.id)
        score = _score(target, order)
        found = (
            select(Vector.record_id, score)
            .join(Record, Record.id == Vector.record_id)
            .where(Vector.vector_settings_id == vector_settings.id, where)
            .order_by(score.desc(), Vector.record_id)
            .limit(max_results)
        )
        if threshold is not None:
            found = found.where(score >= threshold)
        items = [SearchResponseItem(record_id=i, score=s) for i, s in await _rows(found)]
        return SearchResponses(items=items, total=len(items))


def _target(
    settings: VectorSettings, value: list[float] | None, record: Record | None
) -> list[float]:
    if (value is None) == (record is None):
        raise ValueError("a similarity search needs either a vector or a record")
    found = value if record is None else record.vector_value_by_vector_settings(settings)
    if not found:
        raise ValueError("the record has no such vector to compare with")
    return list(found)


def _score(target: list[float], order: SimilarityOrder) -> ColumnElement[float]:
    """Scale the cosine to 0…1, best of either order first; 0.5 for null vectors."""
    written = "[" + ",".join(repr(float(number)) for number in target) + "]"
    distance = as_vector(Vector.value).op("<=>", return_type=Float())(
        as_vector(literal(written, String))
    )
    unknown = cast(distance, String) == "NaN"
    scaled = distance / 2 if order == SimilarityOrder.least_similar else 1 - distance / 2
    return case((unknown, literal(0.5)), else_=scaled)


async def _counted(query: Select[Any]) -> dict[str, int]:
    counts = {str(getattr(status, "value", status)): n for status, n in await _rows(query)}
    return {"total": sum(counts.values()), **counts}


async def _where(
    dataset: Dataset, query: TextQuery | str | None, filter: Filter | None
) -> ColumnElement[bool]:
    conditions = [Record.dataset_id == dataset.id]
    if query is not None:
        asked = TextQuery(q=query) if isinstance(query, str) else query
        conditions.append(await _text_condition(dataset, asked))
    if filter is not None:
        conditions.append(condition(filter))
    return and_(*conditions)


async def _text_condition(dataset: Dataset, query: TextQuery) -> ColumnElement[bool]:
    fields = select(Field.name, Field.settings).where(Field.dataset_id == dataset.id)
    readable = [
        name
        for name, settings in await _rows(fields)
        if settings.get("type") != FieldType.image and query.field in (None, name)
    ]
    wanted = to_tsquery(query.q)
    if not readable or not wanted:
        return false()
    record = cast(Record.fields, JSONB)
    return matches_text(func.concat_ws(" ", *(record[name].astext for name in readable)), wanted)
