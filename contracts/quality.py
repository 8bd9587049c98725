"""Quality: what a run wrote to a table, measured part by part and judged by its contract.

Every contract is checked for what it says of its columns and its key: critical, whatever it adds.
What it declares besides (`quality` in its file) is measured by the classes below, named by their
`check`. Nothing here reads or writes a table; rows are handed in, and what earlier runs measured.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import fmean, median
from typing import Any, Final, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from contracts.contract import Contract, QualityRule
from contracts.errors import ContractFileError
from contracts.validate import VALUE_RULES, ColumnCheck, compile_checks, key_digests

CRITICAL: Final = "critical"
WARNING: Final = "warning"

_MAD_TO_SIGMA = 1.4826
_SHOWN_COLUMNS = 5
_KEPT_SHARES = 50


@dataclass(frozen=True, slots=True)
class Past:
    """What an earlier run measured by the same check."""

    measured: float
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found. `measured` and `shares` are kept for later runs to compare with."""

    passed: bool
    observed: str
    expected: str
    measured: float | None = None
    shares: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, with the check it belongs to."""

    check: str
    severity: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Moment:
    """When and after what a table is judged: the run's clock, what earlier runs measured."""

    at: datetime
    past: Sequence[Past] = ()


class Measure(Protocol):
    """One check at work: handed rows as they come, asked once at the end."""

    @property
    def columns(self) -> Iterable[str]:
        """The columns it looks at."""
        ...

    def add(self, rows: pa.Table) -> None:
        """Look at some rows."""
        ...

    def judge(self, moment: Moment) -> Verdict:
        """Say what was found in all of them."""
        ...


class TableAudit:
    """Every check of one contract over the rows of one run."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._rows = 0
        self._own = list(_own_measures(contract))
        self._declared = [(rule, measure_of(rule, contract)) for rule in contract.quality]

    @property
    def columns(self) -> list[str]:
        """The columns to hand in, in the contract's order."""
        measures = (m for _, _, m in self._all())
        wanted = {name for measure in measures for name in measure.columns}
        return [name for name in self._contract.schema.names if name in wanted]

    def add(self, rows: pa.Table) -> None:
        """Look at some rows; each row once, in parts of any size."""
        self._rows += len(rows)
        for _, _, measure in self._all():
            measure.add(rows)

    def outcomes(self, at: datetime, history: Mapping[str, Sequence[Past]]) -> list[Outcome]:
        """Judge all rows; `history` is what earlier runs measured, by check, newest first.

        A table without rows is judged by what its contract declares alone.
        """
        return [
            Outcome(check, severity, measure.judge(Moment(at, history.get(check, ()))))
            for check, severity, measure in self._all()
            if self._rows or measure not in self._own_measures()
        ]

    def _own_measures(self) -> list[Measure]:
        return [measure for _, measure in self._own]

    def _all(self) -> Iterator[tuple[str, str, Measure]]:
        for check, measure in self._own:
            yield check, CRITICAL, measure
        for rule, measure in self._declared:
            yield rule.name, rule.severity, measure


def measure_of(rule: QualityRule, contract: Contract) -> Measure:
    """Make the measure a rule asks for. Raises `ContractFileError` where there is none such."""
    if rule.check not in _MEASURES:
        known = ", ".join(_MEASURES)
        problem = f"check '{rule.name}' is of kind '{rule.check}', expected one of {known}"
        raise ContractFileError.of(str(contract), problem)
    try:
        measure = _MEASURES[rule.check](**rule.arguments)
    except TypeError as error:
        raise ContractFileError.of(str(contract), f"check '{rule.name}': {error}") from error
    unknown = [name for name in measure.columns if name not in contract.schema.names]
    if unknown:
        problem = f"check '{rule.name}' looks at '{unknown[0]}', which is no column"
        raise ContractFileError.of(str(contract), problem)
    return measure


def _own_measures(contract: Contract) -> Iterator[tuple[str, Measure]]:
    checks = compile_checks(contract)
    for rule in VALUE_RULES:
        of_rule = [check for check in checks if check.rule is rule]
        if of_rule:
            yield rule.value, _Values(of_rule)
    if contract.key:
        yield f"{', '.join(contract.key)} unique", _Key(contract)


class _Values:
    """Count the values that break one kind of rule, by column."""

    def __init__(self, checks: Sequence[ColumnCheck]) -> None:
        self._checks = checks
        self._broken: Counter[str] = Counter()

    @property
    def columns(self) -> Iterable[str]:
        return [check.column for check in self._checks]

    def add(self, rows: pa.Table) -> None:
        for check in self._checks:
            finding = check.finding(rows)
            if finding is not None:
                self._broken[check.column] += finding.rows

    def judge(self, moment: Moment) -> Verdict:
        total = self._broken.total()
        worst = self._broken.most_common(_SHOWN_COLUMNS)
        named = ", ".join(f"{column} ({count})" for column, count in worst)
        observed = f"{total} values: {named}" if total else "0 values"
        return Verdict(total == 0, observed, "0 values", float(total))


class _Key:
    """Count rows whose key came before, over all parts; a key is kept as eight bytes."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._digests: list[np.ndarray[Any, np.dtype[np.uint64]]] = []

    @property
    def columns(self) -> Iterable[str]:
        return self._contract.key

    def add(self, rows: pa.Table) -> None:
        self._digests.append(key_digests(self._contract, rows))

    def judge(self, moment: Moment) -> Verdict:
        # Sorting is many times as quick here as numpy's `unique`.
        digests = np.sort(np.concatenate(self._digests)) if self._digests else np.array([])
        again = int((digests[1:] == digests[:-1]).sum())
        return Verdict(again == 0, f"{again} rows", "0 rows", float(again))


class _Filled:
    """`filled`: a column has a value in every row that another column's value marks."""

    def __init__(self, *, column: str, where: Mapping[str, str]) -> None:
        self._column, self._where, self._empty = column, dict(where), 0

    @property
    def columns(self) -> Iterable[str]:
        return [self._column, *self._where]

    def add(self, rows: pa.Table) -> None:
        flags = pc.is_null(rows[self._column])
        for column, value in self._where.items():
            flags = pc.and_(flags, pc.fill_null(pc.equal(rows[column], value), False))
        self._empty += pc.sum(flags).as_py() or 0

    def judge(self, moment: Moment) -> Verdict:
        return Verdict(self._empty == 0, f"{self._empty} rows", "0 rows", float(self._empty))


class _RowCount:
    """`rowCount`: how many rows the run wrote, held against a bound."""

    columns: Iterable[str] = ()

    def __init__(self, **bound: float) -> None:
        self._bound, self._rows = _Bound.of(bound), 0

    def add(self, rows: pa.Table) -> None:
        self._rows += len(rows)

    def judge(self, moment: Moment) -> Verdict:
        kept = self._bound.keeps(self._rows)
        return Verdict(kept, f"{self._rows} rows", f"{self._bound} rows", float(self._rows))


class _NullValues:
    """`nullValues`: the rows without a value in a column, counted or in percent."""

    def __init__(self, *, column: str, unit: str = "rows", **bound: float) -> None:
        self._column, self._unit, self._bound = column, unit, _Bound.of(bound)
        self._rows = self._nulls = 0

    @property
    def columns(self) -> Iterable[str]:
        return [self._column]

    def add(self, rows: pa.Table) -> None:
        self._rows += len(rows)
        self._nulls += rows[self._column].null_count

    def judge(self, moment: Moment) -> Verdict:
        percent = self._unit == "percent"
        found = 100 * self._nulls / max(self._rows, 1) if percent else float(self._nulls)
        unit = " %" if percent else " rows"
        observed = f"{_number(found)}{unit}"
        return Verdict(self._bound.keeps(found), observed, f"{self._bound}{unit}", found)


class _Freshness:
    """`freshness`: how old the newest moment of a column is when the run begins.

    Fails where it is older than `hours` and an earlier run was not: a source that was current has
    fallen behind. A tenant who loads old data is not told so at every run.
    """

    def __init__(self, *, column: str, hours: float) -> None:
        self._column, self._hours = column, hours
        self._newest: datetime | None = None

    @property
    def columns(self) -> Iterable[str]:
        return [self._column]

    def add(self, rows: pa.Table) -> None:
        newest = pc.max(rows[self._column]).as_py()
        if newest is not None and (self._newest is None or newest > self._newest):
            self._newest = newest

    def judge(self, moment: Moment) -> Verdict:
        expected = f"at most {_number(self._hours)} h, as before"
        if self._newest is None:
            return Verdict(True, "no rows", expected)
        lag = (moment.at - self._newest).total_seconds() / 3600
        was_fresh = any(past.measured <= self._hours for past in moment.past)
        passed = lag <= self._hours or not was_fresh
        return Verdict(passed, f"{_number(lag)} h", expected, lag)


class _Usual:
    """`usual`: a number of the run against the same number of the tenant's last runs.

    `of` is `rows`, `nulls` (the share of rows without a value in `column`) or `mean` (of `column`).
    It fails where it is further from the median than `deviations` times the usual distance from it
    (the median absolute deviation, at least `slack` of the median). Not judged before `runs` runs,
    nor, but for `rows`, on fewer than `least_rows` rows.
    """

    def __init__(
        self,
        *,
        of: str,
        column: str | None = None,
        runs: int = 5,
        deviations: float = 6.0,
        slack: float = 0.1,
        least_rows: int = 200,
    ) -> None:
        if of not in ("rows", "nulls", "mean") or (of == "rows") != (column is None):
            raise TypeError("of is rows, or nulls or mean with a column")
        self._of, self._column, self._runs = of, column, runs
        self._deviations, self._slack = deviations, slack
        self._least_rows = 0 if of == "rows" else least_rows
        self._rows = 0
        self._sum = 0.0

    @property
    def columns(self) -> Iterable[str]:
        return [] if self._column is None else [self._column]

    def add(self, rows: pa.Table) -> None:
        self._rows += len(rows)
        if self._of == "nulls":
            self._sum += rows[self._column].null_count
        elif self._of == "mean":
            self._sum += pc.sum(rows[self._column]).as_py() or 0.0

    def judge(self, moment: Moment) -> Verdict:
        if self._rows < max(self._least_rows, 1):
            return Verdict(True, f"{self._rows} rows", f"judged from {self._least_rows} rows on")
        found = float(self._rows) if self._of == "rows" else self._sum / self._rows
        past = [p.measured for p in moment.past]
        if len(past) < self._runs:
            return Verdict(True, _number(found), f"learned from {self._runs} runs first", found)
        low, high = _usual_range(past, self._deviations, self._slack)
        passed = low <= found <= high
        return Verdict(passed, _number(found), f"{_number(low)} to {_number(high)}", found)


class _Shift:
    """`shift`: the share of rows whose category changed against the tenant's last runs.

    Half the sum of the differences between the shares of now and their mean of then: 0 where the
    mix is the same, 1 where nothing is. Fails above `limit`; judged after `runs` runs and on at
    least `least_rows` rows.
    """

    def __init__(self, *, column: str, limit: float, runs: int = 3, least_rows: int = 200) -> None:
        self._column, self._limit, self._runs, self._least = column, limit, runs, least_rows
        self._counts: Counter[str] = Counter()

    @property
    def columns(self) -> Iterable[str]:
        return [self._column]

    def add(self, rows: pa.Table) -> None:
        for item in pc.value_counts(rows[self._column]).to_pylist():
            if item["values"] is not None:
                self._counts[str(item["values"])] += item["counts"]

    def judge(self, moment: Moment) -> Verdict:
        total, expected = self._counts.total(), f"at most {_number(self._limit)}"
        if total < self._least:
            return Verdict(True, f"{total} rows", f"judged from {self._least} rows on")
        shares = {name: n / total for name, n in self._counts.most_common(_KEPT_SHARES)}
        past = [p.shares for p in moment.past if p.shares]
        if len(past) < self._runs:
            return Verdict(True, "–", f"learned from {self._runs} runs first", 0.0, shares)
        names = shares.keys() | {name for p in past for name in p}
        then = {name: fmean(p.get(name, 0.0) for p in past) for name in names}
        moved = {name: shares.get(name, 0.0) - then[name] for name in names}
        shift = sum(abs(change) for change in moved.values()) / 2
        most = max(sorted(moved), key=lambda name: abs(moved[name]))
        observed = f"{_number(shift)}, most in {most} ({moved[most]:+.2f})"
        return Verdict(shift <= self._limit, observed, expected, shift, shares)


class _LastDay:
    """`lastDay`: the newest day of a table of figures against the days before, in every group.

    A group's number fails as one of `usual` does. Days before the last `days` are not looked at;
    a group is judged once it has half as many.
    """

    def __init__(
        self,
        *,
        column: str,
        by: Sequence[str] = (),
        days: int = 28,
        deviations: float = 6.0,
        slack: float = 0.1,
    ) -> None:
        self._column, self._by, self._days = column, list(by), days
        self._deviations, self._slack = deviations, slack
        self._kept: list[pa.Table] = []

    @property
    def columns(self) -> Iterable[str]:
        return ["day", *self._by, self._column]

    def add(self, rows: pa.Table) -> None:
        self._kept.append(rows.select(["day", *self._by, self._column]))

    def judge(self, moment: Moment) -> Verdict:
        expected = f"as in the {self._days} days before"
        if not sum(map(len, self._kept)):
            return Verdict(True, "no rows", expected)
        frame = pl.from_arrow(pa.concat_tables(self._kept))
        assert isinstance(frame, pl.DataFrame)
        last: Any = frame["day"].max()
        value = pl.col(self._column).cast(pl.Float64)
        recent = frame.with_columns(value).sort("day").group_by(self._by or [pl.lit(1)])
        unusual = [
            "/".join(map(str, name)) if self._by else str(last)
            for name, group in recent
            if self._is_unusual(group, last)
        ]
        named = ": " + ", ".join(sorted(unusual)[:_SHOWN_COLUMNS]) if unusual else ""
        observed = f"{len(unusual)} unusual on {last}{named}"
        return Verdict(not unusual, observed, expected, float(len(unusual)))

    def _is_unusual(self, group: pl.DataFrame, last: Any) -> bool:
        now = group.filter(pl.col("day") == last)[self._column].drop_nulls()
        before = group.filter(pl.col("day") < last)[self._column].drop_nulls()
        past = before.tail(self._days).to_list()
        if now.is_empty() or len(past) < self._days / 2:
            return False
        low, high = _usual_range(past, self._deviations, self._slack)
        return not low <= now[0] <= high


def _usual_range(past: Sequence[float], deviations: float, slack: float) -> tuple[float, float]:
    """Say where a number of this kind usually lies: none is negative, outliers do not widen it."""
    usual = median(past)
    spread = max(_MAD_TO_SIGMA * median(abs(p - usual) for p in past), slack * abs(usual))
    reach = deviations * spread or slack
    return max(usual - reach, 0.0), usual + reach


class _Bound:
    """A bound in the words of the standard: `mustBe`, `mustBeLessOrEqualTo` and their kin."""

    def __init__(self, word: str, value: float) -> None:
        self._word, self._value = word, value

    @classmethod
    def of(cls, given: Mapping[str, float]) -> _Bound:
        if len(given) != 1 or next(iter(given)) not in _BOUNDS:
            raise TypeError(f"expected one bound of {', '.join(_BOUNDS)}")
        return cls(*next(iter(given.items())))

    def keeps(self, found: float) -> bool:
        return _BOUNDS[self._word][1](found, self._value)

    def __str__(self) -> str:
        return f"{_BOUNDS[self._word][0]}{_number(self._value)}"


_BOUNDS: Final[Mapping[str, tuple[str, Callable[[float, float], bool]]]] = {
    "mustBe": ("", lambda found, value: found == value),
    "mustNotBe": ("not ", lambda found, value: found != value),
    "mustBeGreaterThan": ("over ", lambda found, value: found > value),
    "mustBeGreaterOrEqualTo": ("at least ", lambda found, value: found >= value),
    "mustBeLessThan": ("under ", lambda found, value: found < value),
    "mustBeLessOrEqualTo": ("at most ", lambda found, value: found <= value),
}

_MEASURES: Final[Mapping[str, Callable[..., Measure]]] = {
    "rowCount": _RowCount,
    "nullValues": _NullValues,
    "filled": _Filled,
    "freshness": _Freshness,
    "usual": _Usual,
    "shift": _Shift,
    "lastDay": _LastDay,
}


def _number(value: float) -> str:
    """Write a number as people do.

    >>> _number(12.0), _number(0.12345), _number(1234567.8)
    ('12', '0.123', '1234568')
    """
    if math.isfinite(value) and (value == int(value) or abs(value) >= 1000):
        return f"{value:.0f}"
    return f"{value:.3g}"
