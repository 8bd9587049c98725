"""How an evaluation is drawn at the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType

from serving.cli.output import grid


def drawn(report: Mapping[str, Any], titles: Mapping[str, str]) -> Group:
    """Draw a report with its `page`; `titles` are the labels as a reviewer reads them."""
    parts: list[RenderableType] = []
    for found in report["sets"]:
        parts += _of_a_set(found, report, titles)
    parts += [_effort(report), *(f"note: {note}" for note in report["notes"])]
    return Group(*parts, f"see {report['page']}")


def _of_a_set(
    found: Mapping[str, Any], report: Mapping[str, Any], titles: Mapping[str, str]
) -> Iterator[RenderableType]:
    numbers = found["metrics"]
    out = "; ".join(f"{n} {why}" for why, n in report["left_out"][found["name"]].items() if n)
    yield grid(
        f"{report['challenger']} on {found['texts']} texts ({found['name']}; left out: "
        f"{out or 'none'})",
        ["", "value", "from", "to", "champion", "lift", "p"],
        [
            [
                title,
                numbers[name],
                numbers.get(f"{name}_low"),
                numbers.get(f"{name}_high"),
                numbers.get(f"champion/{name}"),
                numbers.get(f"lift/{name}"),
                _chance(numbers.get(f"lift/p_{name}")),
            ]
            for title, name in (("macro-F1", "macro_f1"), ("accuracy", "accuracy"), ("ECE", "ece"))
        ],
    )
    yield grid(
        "",
        ["label", "precision", "recall", "F1", "texts"],
        [
            [titles[label], own["precision"], own["recall"], own["f1"], own["texts"]]
            for label, own in found["labels"].items()
        ],
    )
    yield grid(
        "",
        ["slice", "texts", "accuracy", "from", "to", "champion", "p worse"],
        [
            [
                f"{own['dimension']}={own['value']}",
                own["texts"],
                own["accuracy"],
                own["low"],
                own["high"],
                own.get("champion_accuracy"),
                _chance(own.get("p_worse")),
            ]
            for own in found["slices"]
        ],
    )


def _effort(report: Mapping[str, Any]) -> str:
    own, other = report["per_thousand"], report["champion_per_thousand"]
    text = f"1,000 texts take {own['seconds']:.2f} s of processor time"
    if other is not None:
        text += f", the champion {other['seconds']:.2f} s"
    if own["cost"] is not None:
        text += f"; they cost {own['cost']:.4g} {own['currency'] or ''}".rstrip()
    return text


def _chance(p: float | None) -> str | None:
    """Write a chance with the digits that tell one in a thousand from one in ten thousand."""
    return None if p is None else f"{p:.4f}"
