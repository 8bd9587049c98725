"""Do guarantees hold, and how much do they accept? Simulated repeats, peers, shifts and real sets.

    python -m benchmarks.routing [--repeats 1000] [--data ../shared/data] [--picture docs/images]

The simulated part draws samples of answers whose error rates are known, searches each as Plata does
and as its peers do, and counts how often what was promised is not so. An oracle knows every error
rate: what it would accept is the measure of what a search accepts. With `--data` models are trained
on the real sets, promised about from a sample of their answers, and judged on others and on later
ones (`benchmarks.routing_real`). One core, some minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from rich.console import Group
from scipy.stats import binom

from benchmarks.routing_real import RealLine, later_lines, shift_lines
from lakehouse.errors import PlataError
from models.guarantee import GuaranteeTerms, Looked, broken_by, promises_of
from models.label_value import RANKS, Curve, of_places, sampled, search_samples
from models.learn_then_test import (
    Counts,
    Floats,
    Limit,
    at_most,
    lowest_proven,
    shares_of,
    steps_for,
)
from serving.cli.output import emit, fail, grid

SEED = 20260101
LABELS = (250, 500, 1_000, 2_500, 5_000)
LIMITS = (Limit(0.05, 0.1), Limit(0.1, 0.1), Limit(0.1, 0.05))
_RANK = (np.arange(RANKS) + 0.5) / RANKS
CURVES = {
    "82 % right": Curve(0.55 * _RANK**2),
    "91 % right": Curve(0.35 * _RANK**3),
    "64 % right": Curve(0.8 * _RANK**1.2),
    "worse at the top": Curve(np.where(_RANK < 0.02, 0.1, 0.5 * _RANK**2)),
    "two kinds": Curve(np.where(_RANK < 0.6, 0.01, 0.3)),
    "flat": Curve(0.03 + 0.17 * _RANK),
}
"""Error rates from the surest answer to the least sure."""

Search = Callable[[Counts, Counts, Floats, Limit], Counts]


def _plata(accepted: Counts, errors: Counts, steps: Floats, limit: Limit) -> Counts:
    return lowest_proven(accepted, errors, shares_of(steps), limit)


def _fixed_sequence(accepted: Counts, errors: Counts, steps: Floats, limit: Limit) -> Counts:
    return lowest_proven(accepted, errors, np.eye(1, len(steps))[0], limit)


def _holm(accepted: Counts, errors: Counts, steps: Floats, limit: Limit) -> Counts:
    """Bonferroni and Holm over all thresholds, which is what MAPIE does by default."""
    p_values = at_most(errors, accepted, limit.alpha)
    order = np.argsort(p_values, axis=1)
    ranked = np.take_along_axis(p_values, order, axis=1)
    proven = np.logical_and.accumulate(ranked <= limit.delta / np.arange(len(steps), 0, -1), axis=1)
    places = np.where(proven, order, -1)
    found: Counts = places.max(axis=1)
    return found


def _hoeffding(accepted: Counts, errors: Counts, steps: Floats, limit: Limit) -> Counts:
    """Test every threshold by Hoeffding's bound, each with its part of delta (Bonferroni)."""
    rate = errors / np.maximum(accepted, 1)
    p_values = np.exp(-2 * accepted * np.maximum(limit.alpha - rate, 0) ** 2)
    proven = p_values <= limit.delta / len(steps)
    found: Counts = np.where(proven, np.arange(len(steps)), -1).max(axis=1)
    return found


def _plug_in(accepted: Counts, errors: Counts, steps: Floats, limit: Limit) -> Counts:
    """Take the lowest threshold whose error in the sample is within the limit."""
    within = (errors <= limit.alpha * accepted) & (accepted > 0)
    last = len(steps) - 1 - np.argmax(within[:, ::-1], axis=1)
    return np.where(within.any(axis=1), last, -1)


SEARCHES: dict[str, Search] = {
    "plata": _plata,
    "fixed sequence": _fixed_sequence,
    "Holm (MAPIE)": _holm,
    "Hoeffding": _hoeffding,
    "plug-in": _plug_in,
}


@dataclass(frozen=True, slots=True)
class Line:
    """One search in one setting: broken promises of so many repeats, and its reach.

    `reach` is what is accepted over what the oracle accepts, the mean; `kept` whether as many
    broken promises are to be expected of a search that keeps its word (binomial, 99.9 %).
    """

    curve: str
    alpha: float
    delta: float
    labels: int
    search: str
    broken: int
    repeats: int
    reach: float
    oracle: float

    @property
    def kept(self) -> bool:
        """Whether the promise was kept as often as was promised."""
        return bool(self.broken <= binom.ppf(0.999, self.repeats, self.delta))


def simulated(repeats: int) -> Iterator[Line]:
    """Search the same samples in every way, setting by setting."""
    rng = np.random.default_rng(SEED)
    for limit in LIMITS:
        for name, curve in CURVES.items():
            oracle = curve.oracle(limit.alpha)
            for labels in LABELS:
                steps = steps_for(labels, limit)
                accepted, errors = sampled(curve, steps, labels, repeats, rng)
                for search, find in SEARCHES.items():
                    found = of_places(find(accepted, errors, steps, limit), steps, curve)
                    broken = int((found.risk > limit.alpha).sum())
                    reach = float(found.coverage.mean()) / oracle
                    told = (name, limit.alpha, limit.delta, labels, search)
                    yield Line(*told, broken, repeats, reach, oracle)


@dataclass(frozen=True, slots=True)
class GroupLine:
    """A label in a simulated task of several: how often the promise about it was broken.

    `alone` counts repeats in which it was promised about by itself, `reach` is of the whole task.
    """

    labels: int
    treatment: str
    label: str
    share: float
    broken: int
    alone: int
    repeats: int
    delta: float
    reach: float

    @property
    def kept(self) -> bool:
        """Whether the promise was kept as often as was promised."""
        return bool(self.broken <= binom.ppf(0.999, self.repeats, self.delta))


GROUPS = {"peticion": (0.45, 0.35, 2.0), "queja": (0.3, 0.6, 1.5), "reclamo": (0.2, 0.2, 3.0)}
GROUPS |= {"sugerencia": (0.05, 0.9, 1.0)}
"""Of each label its share, and how its error rate rises along the scores: a · (1 - score) ** b."""

TERMS = GuaranteeTerms(alpha=0.1, delta=0.1)
_OTHERS = 20_000


def grouped(repeats: int, sizes: Sequence[int] = (1_000, 5_000)) -> Iterator[GroupLine]:
    """Promise about a task of four labels; people leave out 4 % of the drawn, the wrong more often.

    Beside Plata's way, which counts those as wrong, the sample without them.
    """
    rng = np.random.default_rng(SEED)
    for labels in sizes:
        for treatment in ("all answered", "missing are wrong", "missing left out"):
            broken, alone = dict.fromkeys(GROUPS, 0), dict.fromkeys(GROUPS, 0)
            accepted = 0.0
            for _ in range(repeats):
                found = promises_of(_answers(labels, treatment, rng), TERMS, list(GROUPS))
                for promise in found:
                    if promise.accept_at is None:
                        continue
                    risk, coverage = _truth(promise.labels, promise.accept_at)
                    accepted += coverage
                    for label in promise.labels:
                        broken[label] += risk > TERMS.alpha
                        alone[label] += not promise.pooled
            reach = accepted / repeats / sum(_oracle(label) for label in GROUPS)
            for label, (share, _, _) in GROUPS.items():
                counts = (broken[label], alone[label], repeats)
                yield GroupLine(labels, treatment, label, share, *counts, TERMS.delta, reach)


def _answers(labels: int, treatment: str, rng: np.random.Generator) -> pa.Table:
    count = labels + _OTHERS
    places = rng.choice(len(GROUPS), size=count, p=[share for share, _, _ in GROUPS.values()])
    heights, powers = (np.array(column) for column in list(zip(*GROUPS.values(), strict=True))[1:])
    scores = rng.uniform(size=count)
    wrong = rng.uniform(size=count) < heights[places] * (1 - scores) ** powers[places]
    missing = np.zeros(count, bool)
    if treatment != "all answered":
        missing = rng.uniform(size=count) < np.where(wrong, 0.2, 0.01)
    drawn = np.arange(count) < labels
    right = pa.array(~wrong, mask=missing)
    rows = pa.table(
        {
            "predicted_label": pa.array(list(GROUPS)).take(pa.array(places)),
            "score": scores,
            "drawn": drawn,
            "right": right,
        }
    )
    return rows.filter(pa.array(~(missing & drawn))) if treatment == "missing left out" else rows


def _truth(labels: Sequence[str], cut: float) -> tuple[float, float]:
    """Return the true error among what is accepted of some labels, and how much that is."""
    accepted = sum(GROUPS[label][0] * (1 - cut) for label in labels)
    wrong = sum(
        share * height * (1 - cut) ** (power + 1) / (power + 1)
        for share, height, power in (GROUPS[label] for label in labels)
    )
    return wrong / accepted if accepted else 0.0, accepted


def _oracle(label: str) -> float:
    share, height, power = GROUPS[label]
    return share * min(1.0, float((TERMS.alpha * (power + 1) / height) ** (1 / power)))


@dataclass(frozen=True, slots=True)
class ShiftLine:
    """A shift of the error among what is accepted, and how often one window withdraws for it."""

    alpha: float
    factor: float
    window: int
    withdrawn: float
    repeats: int


def withdrawals(repeats: int) -> Iterator[ShiftLine]:
    """Let the accepted part of guarantees from 2,500 labels turn worse, and look at one window.

    `factor` is the error after the shift over what was promised; 0 leaves it as it was.
    """
    rng = np.random.default_rng(SEED)
    for alpha in (0.05, 0.1):
        limit = Limit(alpha, 0.1)
        found = search_samples(CURVES["82 % right"], 2_500, limit, repeats=repeats, rng=rng)
        for factor in (0.0, 1.5, 2.0, 3.0, 5.0):
            for window in (100, 200, 400):
                rate = np.minimum(found.risk if factor == 0 else factor * alpha, 1.0)
                wrong = rng.binomial(window, np.broadcast_to(rate, repeats))
                newest = np.minimum(window, 200)
                late = rng.hypergeometric(wrong, window - wrong, newest)
                looks = [
                    Looked(("a",), window, int(k), int(newest), int(n))
                    for k, n in zip(wrong, late, strict=True)
                ]
                gone = sum(broken_by([look], alpha) is not None for look in looks)
                yield ShiftLine(alpha, factor, window, gone / repeats, repeats)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, draw, print."""
    options = _options(arguments)
    try:
        lines = list(simulated(options.repeats))
        groups = list(grouped(options.repeats))
        shifts = list(withdrawals(options.repeats))
        real: list[RealLine] = []
        if options.data is not None:
            real = [*later_lines(Path(options.data)), *shift_lines(Path(options.data))]
    except PlataError as error:
        fail(str(error))
        sys.exit(1)
    if options.picture is not None:
        _draw(lines, Path(options.picture) / "routing.png")
    emit(
        {
            "simulated": [{**asdict(line), "kept": line.kept} for line in lines],
            "groups": [{**asdict(line), "kept": line.kept} for line in groups],
            "withdrawn": [asdict(line) for line in shifts],
            "real": [asdict(line) for line in real],
        },
        as_json=options.json,
        table=lambda: Group(*_tables(lines, groups, shifts, real)),
    )


def _tables(
    lines: Sequence[Line],
    groups: Sequence[GroupLine],
    shifts: Sequence[ShiftLine],
    real: Sequence[RealLine],
) -> Iterator[Any]:
    names = list(SEARCHES)
    columns = ["errors", "α", "δ", "oracle", "labels", *names]
    settings = list(_settings(lines))
    yield grid(
        "broken promises, share of the repeats (!: more than promised)",
        columns,
        [
            [*key, *(f"{o.broken / o.repeats:.3f}{'' if o.kept else ' !'}" for o in found)]
            for key, found in settings
        ],
    )
    yield grid(
        "accepted, over what the oracle accepts",
        columns,
        [[*key, *(o.reach for o in found)] for key, found in settings],
    )
    yield grid(
        "a task of four labels, α 0.1, δ 0.1",
        ["labels", "drawn without label", "label", "its share", "broken", "alone", "task's reach"],
        [
            [
                g.labels,
                g.treatment,
                g.label,
                g.share,
                f"{g.broken / g.repeats:.3f}{'' if g.kept else ' !'}",
                f"{g.alone / g.repeats:.2f}",
                g.reach,
            ]
            for g in groups
        ],
    )
    yield grid(
        "withdrawn by the audit within one window (factor 0: no shift)",
        ["α", "error after, over α", "accepted labels in the window", "withdrawn"],
        [[s.alpha, s.factor, s.window, s.withdrawn] for s in shifts],
    )
    if real:
        named = [field.name for field in fields(RealLine)]
        yield grid("real sets", named, [list(asdict(line).values()) for line in real])


def _settings(lines: Sequence[Line]) -> Iterator[tuple[list[Any], list[Line]]]:
    count = len(SEARCHES)
    for start in range(0, len(lines), count):
        one = lines[start]
        key = [one.curve, f"{one.alpha:g}", f"{one.delta:g}", f"{one.oracle:.2f}", one.labels]
        yield key, list(lines[start : start + count])


def _draw(lines: Sequence[Line], path: Path) -> None:
    """Draw reach and broken promises against labels, the mean over settings of one limit."""
    limit = LIMITS[0]
    own = [one for one in lines if (one.alpha, one.delta) == (limit.alpha, limit.delta)]
    figure = Figure(figsize=(10, 4), layout="constrained")
    reach, broken = figure.subplots(1, 2)
    for name in SEARCHES:
        found = [[o for o in own if (o.search, o.labels) == (name, labels)] for labels in LABELS]
        reach.plot(LABELS, [np.mean([o.reach for o in at]) for at in found], marker="o", label=name)
        worst = [max(o.broken / o.repeats for o in at) for at in found]
        broken.plot(LABELS, worst, marker="o", label=name)
    broken.axhline(limit.delta, color="black", linestyle="--", label="promised")
    reach.set(xscale="log", xlabel="labels", ylabel="accepted over the oracle's, mean of settings")
    broken.set(xscale="log", xlabel="labels", ylabel="broken promises, worst of the settings")
    reach.axhline(1, color="black", linestyle=":")
    for axes in (reach, broken):
        axes.set_xticks(LABELS, [f"{labels:,}" for labels in LABELS])
        axes.minorticks_off()
    broken.legend()
    figure.suptitle(f"α = {limit.alpha:g}, δ = {limit.delta:g}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing", description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--data", help="the folder of the real sets; none: only simulated")
    parser.add_argument("--picture", help="a folder for routing.png")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
