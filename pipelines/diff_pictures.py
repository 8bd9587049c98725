"""The pictures of a comparison, as SVG inside the page: no script, no font, nothing to fetch.

They take their colours from the page's style, so that they are right by day and by night, and say
in words what they show to those who do not see them.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pipelines.answer_diff import ScoreShift, Slice
from pipelines.gold_diff import DayMove

NARROW = "\N{NARROW NO-BREAK SPACE}"
"""Between a number and its sign: they stay on one line."""

_WIDTH = 480
_SLICE_WIDTH = 420
_NAME_LETTERS = 17


def number(value: float, decimals: int = 0) -> str:
    """Write a number as it is read in Colombia.

    >>> number(12345.678, 1), number(-3)
    ('12.345,7', '−3')
    """
    written = f"{abs(value):,.{decimals}f}".translate(str.maketrans(",.", ".,"))
    return f"−{written}" if value < 0 and written.strip("0.,") else written


def percent(share: float) -> str:
    """Write a share as a percentage.

    >>> percent(0.1234).replace(NARROW, "_")
    '12,3_%'
    """
    return f"{number(100 * share, 1)}{NARROW}%"


def score_picture(scores: ScoreShift) -> str:
    """Draw how sure either side is: two stepped outlines over the scores, 0 to 1."""
    height, bottom, left = 170, 140, 8
    most = max(*scores.old, *scores.new, 1)
    step = (_WIDTH - 2 * left) / len(scores.old)

    def outline(counts: Sequence[int]) -> str:
        points = []
        for place, count in enumerate(counts):
            y = bottom - 120 * count / most
            points += [(left + place * step, y), (left + (place + 1) * step, y)]
        return " ".join(
            f"{x:.1f},{y:.1f}" for x, y in [(left, bottom), *points, (_WIDTH - left, bottom)]
        )

    ticks = "".join(
        f'<text x="{left + share * (_WIDTH - 2 * left):.1f}" y="{bottom + 18}" '
        f'text-anchor="{anchor}">{number(share, 1)}</text>'
        for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
    )
    said = (
        f"Confianza media: antes {number(scores.mean_old, 3)}, después {number(scores.mean_new, 3)}"
    )
    return svg(
        height,
        said,
        f'<polygon class="old area" points="{outline(scores.old)}"/>'
        f'<polygon class="new area" points="{outline(scores.new)}"/>'
        f'<line class="axis" x1="{left}" x2="{_WIDTH - left}" y1="{bottom}" y2="{bottom}"/>{ticks}',
    )


def slice_picture(slices: Sequence[Slice], said: str) -> str:
    """Draw the share that flipped in each slice, with its interval, one line a slice."""
    line, name, end = 30, 140, 140
    room = _SLICE_WIDTH - name - end
    most = max((found.high for found in slices), default=1.0) or 1.0

    def x(share: float) -> float:
        return name + room * share / most

    drawn = []
    for place, found in enumerate(slices):
        y = place * line + 16
        drawn.append(
            f'<text x="0" y="{y + 5}">{escape(_short(found.value))}</text>'
            f'<line class="grid" x1="{name}" x2="{name + room}" y1="{y}" y2="{y}"/>'
            f'<line class="new range" x1="{x(found.low):.1f}" x2="{x(found.high):.1f}" '
            f'y1="{y}" y2="{y}"/>'
            f'<circle class="new dot" cx="{x(found.share):.1f}" cy="{y}" r="5"/>'
            f'<text x="{_SLICE_WIDTH}" y="{y + 5}" text-anchor="end">{percent(found.share)} de '
            f"{number(found.tickets)}</text>"
        )
    return svg(len(slices) * line + 4, said, "".join(drawn), width=_SLICE_WIDTH)


def day_picture(days: Sequence[DayMove], said: str) -> str:
    """Draw what a table gains and loses a day: up and down from a line, in the order of days."""
    height, middle, left = 150, 66, 8
    most = max((max(day.more, day.less) for day in days), default=1.0) or 1.0
    step = (_WIDTH - 2 * left) / max(len(days), 1)
    thick = max(min(step * 0.8, 28.0), 0.8)
    drawn = []
    for place, day in enumerate(days):
        start = left + place * step + (step - thick) / 2
        up, down = 58 * day.more / most, 58 * day.less / most
        drawn.append(
            f"<g><title>{day.day.isoformat()}: +{number(day.more)} −{number(day.less)}</title>"
            f'<rect class="new bar" x="{start:.1f}" y="{middle - up:.1f}" width="{thick:.1f}" '
            f'height="{up:.1f}"/>'
            f'<rect class="old bar" x="{start:.1f}" y="{middle:.1f}" width="{thick:.1f}" '
            f'height="{down:.1f}"/></g>'
        )
    ends = (
        f'<text x="{left}" y="{height - 6}">{days[0].day.isoformat()}</text>'
        f'<text x="{_WIDTH - left}" y="{height - 6}" text-anchor="end">'
        f"{days[-1].day.isoformat()}</text>"
        if days
        else ""
    )
    axis = f'<line class="axis" x1="{left}" x2="{_WIDTH - left}" y1="{middle}" y2="{middle}"/>'
    return svg(height, said, f"{''.join(drawn)}{axis}{ends}")


def _short(text: str) -> str:
    return text if len(text) <= _NAME_LETTERS else f"{text[: _NAME_LETTERS - 1]}…"


def svg(height: int, said: str, inside: str, *, width: int = _WIDTH) -> str:
    """Wrap a drawing; `said` is what it shows, in words."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said)}">{inside}</svg>'
    )
