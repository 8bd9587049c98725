"""What changed between two forms of a contract, and whether those who rely on it still can."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from contracts.contract import Column, Contract


@dataclass(frozen=True, slots=True)
class Change:
    """One change in words. One that is not `compatible` needs a new version of the contract."""

    compatible: bool
    column: str
    what: str

    def __str__(self) -> str:
        return f"{self.column}: {self.what}" if self.column else self.what


def changes(before: Contract, after: Contract) -> list[Change]:
    """List what changed, incompatible first, then by column.

    A change is compatible where the rows that were written keep the new form too, and a reader of
    the old form meets no surprise: no column gone, none of another type, no null where none was.
    """
    found = [*_table(before, after), *_columns(before, after)]
    return sorted(found, key=lambda change: (change.compatible, change.column, change.what))


def incompatible(before: Contract, after: Contract) -> list[Change]:
    """Return only the changes that need a new version."""
    return [change for change in changes(before, after) if not change.compatible]


def _table(before: Contract, after: Contract) -> Iterator[Change]:
    if before.table != after.table:
        yield Change(False, "", f"the table is {after.table}, was {before.table}")
    if before.key != after.key:
        yield Change(
            False, "", f"the key is ({', '.join(after.key)}), was ({', '.join(before.key)})"
        )
    if before.partitions != after.partitions:
        now, was = ", ".join(after.partitions), ", ".join(before.partitions)
        yield Change(False, "", f"partitioned by ({now}), was by ({was})")


def _columns(before: Contract, after: Contract) -> Iterator[Change]:
    said = {column.name: column for column in after.columns}
    was_said = {column.name: column for column in before.columns}
    for field in before.schema:
        if field.name not in after.schema.names:
            yield Change(False, field.name, "removed")
            continue
        now = after.schema.field(field.name)
        if now.type != field.type:
            yield Change(False, field.name, f"type is {now.type}, was {field.type}")
        if field.nullable and not now.nullable:
            yield Change(False, field.name, "is required, was optional")
        if now.nullable and not field.nullable:
            yield Change(False, field.name, "is optional, was required")
        yield from _rules(was_said.get(field.name), said.get(field.name), field.name)
    for field in after.schema:
        if field.name not in before.schema.names:
            kind = "optional" if field.nullable else "required"
            yield Change(field.nullable, field.name, f"added, {kind}")


def _rules(before: Column | None, after: Column | None, name: str) -> Iterator[Change]:
    if before is None or after is None:
        return
    yield from _allowed(before, after, name)
    for rule in ("minimum", "min_length"):
        yield from _bound(getattr(before, rule), getattr(after, rule), name, rule, narrower=1)
    for rule in ("maximum", "max_length"):
        yield from _bound(getattr(before, rule), getattr(after, rule), name, rule, narrower=-1)
    for rule in ("pattern", "form"):
        was, now = getattr(before, rule), getattr(after, rule)
        if was != now:
            yield Change(now is None, name, f"{rule} is {_said(now)}, was {_said(was)}")
    if before.classification != after.classification:
        stricter = (before.classification, after.classification) in _STRICTER
        what = f"classification is {after.classification}, was {before.classification}"
        yield Change(stricter, name, what)


_ORDER = ("public", "internal", "personal")
_STRICTER = {(a, b) for n, a in enumerate(_ORDER) for b in _ORDER[n + 1 :]}


def _allowed(before: Column, after: Column, name: str) -> Iterator[Change]:
    if before.allowed == after.allowed:
        return
    if not before.allowed:
        yield Change(False, name, f"only {', '.join(after.allowed)} allowed, was any value")
    elif not after.allowed:
        yield Change(True, name, "any value allowed")
    else:
        for value in before.allowed:
            if value not in after.allowed:
                yield Change(False, name, f"value '{value}' no longer allowed")
        for value in after.allowed:
            if value not in before.allowed:
                yield Change(True, name, f"value '{value}' allowed too")


def _bound(was: Any, now: Any, name: str, rule: str, *, narrower: int) -> Iterator[Change]:
    if was == now:
        return
    tightened = now is not None and (was is None or (now > was) == (narrower == 1))
    words = rule.replace("_", " ").replace("min ", "least ").replace("max ", "greatest ")
    yield Change(not tightened, name, f"{words} is {_said(now)}, was {_said(was)}")


def _said(value: Any) -> str:
    return "none" if value is None else str(value)
