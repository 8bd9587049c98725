"""What a search reads beside Argilla's own tables; `schema.sql` makes it and says what it holds."""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import Float, String, Text, Uuid, cast, column, func, table
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.types import UserDefinedType

SCHEMA = "plata_search"
ALL_FIELDS = ""
"""The name in `TEXTS` of all fields together."""


class VectorType(UserDefinedType[Any]):
    """A type of the extension pgvector, to cast to."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        """Return its name."""
        return self.name


FACTS = table(
    "facts",
    column("record_id", Uuid),
    column("dataset_id", Uuid),
    column("metadata", JSONB),
    column("suggestions", JSONB),
    schema=SCHEMA,
)
TEXTS = table(
    "texts",
    column("record_id", Uuid),
    column("dataset_id", Uuid),
    column("field", Text),
    column("document", TSVECTOR),
    schema=SCHEMA,
)
VECTORS = table(
    "vectors",
    column("vector_id", Uuid),
    column("settings_id", Uuid),
    column("record_id", Uuid),
    column("direction", VectorType("halfvec")),
    column("value", VectorType("vector")),
    schema=SCHEMA,
)


def read(document: Any) -> Any:
    """Read one of Argilla's JSON columns as the schema does, odd escapes and all."""
    return cast(func.plata_search.read(document), JSONB)


def roughly(numbers: list[float]) -> Any:
    """Return how far each vector points from this one, quickly: good to three digits."""
    length = math.hypot(*numbers) or 1.0
    target = _written([number / length for number in numbers], "halfvec")
    return VECTORS.c.direction.op("<#>", return_type=Float())(target)


def distance(numbers: list[float]) -> Any:
    """Return the cosine distance of each vector from this one: 0 is the same, 2 the opposite."""
    return VECTORS.c.value.op("<=>", return_type=Float())(_written(numbers, "vector"))


def _written(numbers: list[float], kind: str) -> Any:
    written = "[" + ",".join(repr(float(number)) for number in numbers) + "]"
    return cast(cast(written, String), VectorType(kind))
