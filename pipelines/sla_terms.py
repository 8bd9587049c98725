"""How many business days a request may take, by type, and the configuration that said so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import polars as pl

from contracts.pqrs import PqrsType

DEFAULT_DAYS: Mapping[str, int] = {
    PqrsType.PETICION.value: 15,
    PqrsType.QUEJA.value: 10,
    PqrsType.RECLAMO.value: 8,
    PqrsType.SUGERENCIA.value: 20,
}


@dataclass(frozen=True, slots=True)
class SlaTerms:
    """Business days by type, and the version of the tenant's configuration; 0 for the defaults.

    A type that is not named has no term: its tickets are in no figure of the SLA.
    """

    days: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_DAYS))
    version: int = 0

    def __str__(self) -> str:
        days = ", ".join(f"{kind} {count}" for kind, count in sorted(self.days.items()))
        return f"v{self.version}: {days}"

    @classmethod
    def planned(cls, plan: Mapping[str, Any]) -> SlaTerms:
        """Read the terms of a stored plan; one that names none was made under the defaults."""
        return msgspec.convert(plan["sla"], cls) if "sla" in plan else DEFAULT_TERMS

    @property
    def longest(self) -> int:
        """The most days any type has."""
        return max(self.days.values(), default=0)

    def of(self, kind: pl.Expr) -> pl.Expr:
        """Look up the term of a column of types; null where a type has none."""
        names, days = list(self.days), list(self.days.values())
        return kind.replace_strict(names, days, default=None, return_dtype=pl.Int64)


DEFAULT_TERMS = SlaTerms()
