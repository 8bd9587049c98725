"""The engine Argilla asks: every question is one SQL query, every write is already done.

Argilla's rows are committed before it tells its search engine about them, so the writing half of
the interface has nothing to do, and no second store can disagree with the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from argilla_server.database import AsyncSessionLocal
from argilla_server.enums import MetadataPropertyType, SimilarityOrder
from argilla_server.errors.future import UnprocessableEntityError
from argilla_server.models import (
    Dataset,
    MetadataProperty,
    Record,
    Response,
    Suggestion,
    User,
    VectorSettings,
)
from argilla_server.search_engine.base import (
    AndFilter,
    Filter,
    FloatMetadataMetrics,
    IntegerMetadataMetrics,
    MetadataFilterScope,
    MetadataMetrics,
    Order,
    SearchEngine,
    SearchResponseItem,
    SearchResponses,
    SuggestionFilterScope,
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
    func,
    literal,
    select,
    true,
)

from plata_argilla_search.conditions import condition
from plata_argilla_search.ordering import order_by, order_of
from plata_argilla_search.tables import ALL_FIELDS, FACTS, SCHEMA, TEXTS, VECTORS, distance, roughly
from plata_argilla_search.textquery import EVERYTHING, to_tsquery

NAME = "plata"
_MOST_TERMS = 2**14
"""Of a property's terms the most frequent, as in Elasticsearch: the page shows them in one list."""
_SPARE = 50
"""So many more than wanted are compared exactly: the rough order errs in the fourth digit."""


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
        """Tell whether the database answers and holds what `prepare` makes."""
        return bool((await _rows(select(func.to_regclass(f"{SCHEMA}.facts"))))[0][0])

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
        stored = FACTS.c.metadata[metadata_property.name]
        here = FACTS.c.dataset_id == metadata_property.dataset_id
        if metadata_property.type == MetadataPropertyType.terms:
            return await _frequencies(stored, here)
        number = case((func.jsonb_typeof(stored) == "number", cast(stored, Float)))
        low, high = (await _rows(select(func.min(number), func.max(number)).where(here)))[0]
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
        user_id: UUID | None = None,
    ) -> SearchResponses:
        """Return one page of the records that match; the server passes `user_id` for reviewers.

        Without a wished order a reviewer meets the records in one of their own, and who asks for
        words without being a reviewer gets the best match first.
        """
        asked = _asked(query)
        score: ColumnElement[float] = literal(1.0)
        if sort:
            order = order_by(sort)
        elif user_id is not None:
            order = order_of(user_id)
        elif asked is not None and asked.q.strip() != EVERYTHING:
            score = func.ts_rank(TEXTS.c.document, _words(asked.q))
            order = [score.desc(), Record.id]
        else:
            order = order_by([])
        found = _matching(
            select(Record.id, score, func.count().over()), dataset, asked, filter, sort or []
        )
        rows = await _rows(found.order_by(*order).offset(offset).limit(limit))
        if not rows and offset:
            counted = _matching(select(func.count(Record.id)), dataset, asked, filter, [])
            return SearchResponses(items=[], total=(await _rows(counted))[0][0])
        items = [SearchResponseItem(record_id=row[0], score=row[1]) for row in rows]
        return SearchResponses(items=items, total=rows[0][2] if rows else 0)

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
        """Return the nearest (or farthest) records by cosine, scored from 0 to 1.

        Every vector of the dataset is compared, so that what passes a filter is never missed: all
        of them in small, the best of them as they are.
        """
        target, farthest = (
            _target(vector_settings, value, record),
            order != SimilarityOrder.most_similar,
        )
        rough = roughly(target)
        candidates = _matching(select(VECTORS.c.vector_id), dataset, _asked(query), filter, [])
        candidates = candidates.join(VECTORS, VECTORS.c.record_id == Record.id)
        candidates = candidates.where(VECTORS.c.settings_id == vector_settings.id)
        if record is not None:
            candidates = candidates.where(Record.id != record.id)
        candidates = candidates.order_by(rough.desc() if farthest else rough)
        some = candidates.limit(max_results + _SPARE).subquery()
        apart = distance(target)
        nearest = (
            select(VECTORS.c.record_id, apart)
            .join(some, some.c.vector_id == VECTORS.c.vector_id)
            .order_by(apart.desc() if farthest else apart, VECTORS.c.record_id)
            .limit(max_results)
        )
        scored = [(row[0], _score(row[1], order)) for row in await _rows(nearest)]
        items = [
            SearchResponseItem(record_id=one, score=score)
            for one, score in scored
            if threshold is None or score >= threshold
        ]
        return SearchResponses(items=items, total=len(items))


def _asked(query: TextQuery | str | None) -> TextQuery | None:
    return TextQuery(q=query) if isinstance(query, str) else query


def _words(query: str) -> Any:
    return func.to_tsquery("simple", to_tsquery(query))


def _matching(
    page: Select[Any],
    dataset: Dataset,
    query: TextQuery | None,
    filter: Filter | None,
    sort: list[Order],
) -> Select[Any]:
    """Narrow a selection of records to those that match, joined with what it asks of them."""
    page = page.select_from(Record).where(Record.dataset_id == dataset.id)
    if query is not None and query.q.strip() != EVERYTHING:
        page = page.join(TEXTS, TEXTS.c.record_id == Record.id).where(
            TEXTS.c.dataset_id == dataset.id,
            TEXTS.c.field == (query.field or ALL_FIELDS),
            TEXTS.c.document.bool_op("@@")(_words(query.q)),
        )
    scopes = [*_scopes(filter), *(order.scope for order in sort)]
    if any(isinstance(scope, MetadataFilterScope | SuggestionFilterScope) for scope in scopes):
        page = page.join(FACTS, FACTS.c.record_id == Record.id)
        page = page.where(FACTS.c.dataset_id == dataset.id)
    return page if filter is None else page.where(condition(filter))


def _scopes(filter: Filter | None) -> list[Any]:
    if filter is None:
        return []
    if isinstance(filter, AndFilter):
        return [scope for part in filter.filters for scope in _scopes(part)]
    return [filter.scope]


def _target(
    settings: VectorSettings, value: list[float] | None, record: Record | None
) -> list[float]:
    if (value is None) == (record is None):
        raise ValueError("a similarity search needs either a vector or a record")
    found = value if record is None else record.vector_value_by_vector_settings(settings)
    if not found:
        raise ValueError("the record has no such vector to compare with")
    if len(found) != settings.dimensions:
        raise UnprocessableEntityError(
            f"vector `{settings.name}` has {settings.dimensions} dimensions, not {len(found)}"
        )
    return list(found)


def _score(apart: float, order: SimilarityOrder) -> float:
    """Scale the cosine to 0…1, best of either order first; nothing is near to a null vector."""
    if math.isnan(apart):
        return 0.5
    return apart / 2 if order == SimilarityOrder.least_similar else 1 - apart / 2


async def _frequencies(stored: Any, here: ColumnElement[bool]) -> TermsMetrics:
    many = func.jsonb_typeof(stored) == "array"
    listed = case((many, stored), else_=func.jsonb_build_array(stored))
    terms = func.jsonb_array_elements_text(listed).table_valued("value")
    term, count = cast(terms.c.value, String), func.count()
    query = select(term, count, func.sum(count).over()).select_from(FACTS).join(terms, true())
    query = query.where(here, term.is_not(None)).group_by(term)
    rows = await _rows(query.order_by(count.desc(), term).limit(_MOST_TERMS))
    values = [TermsMetrics.TermCount(term=row[0], count=row[1]) for row in rows]
    return TermsMetrics(total=int(rows[0][2]) if rows else 0, values=values)


async def _counted(query: Select[Any]) -> dict[str, int]:
    counts = {str(getattr(status, "value", status)): n for status, n in await _rows(query)}
    return {"total": sum(counts.values()), **counts}
