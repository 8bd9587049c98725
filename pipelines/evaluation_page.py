"""An evaluation as a page of Markdown, from its report as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def as_markdown(report: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Write the page; `titles` are the labels as a reviewer reads them."""
    parts = [
        f"# {report['challenger']} on task `{report['task']}`",
        f"Evaluation `{report['evaluation_id']}` of `{report['bundle_id']}`, beside "
        f"{report['champion'] or 'no champion'}. Intervals are of 95 %.",
        *(part for found in report["sets"] for part in _of_a_set(found, report, titles)),
        _effort(report),
    ]
    if report["notes"]:
        parts.append("\n".join(["## To be known", "", *(f"- {note}" for note in report["notes"])]))
    return "\n\n".join(parts) + "\n"


def _of_a_set(
    found: Mapping[str, Any], report: Mapping[str, Any], titles: Mapping[str, str]
) -> Iterator[str]:
    name, numbers = found["name"], found["metrics"]
    out = ", ".join(f"{n} {reason}" for reason, n in report["left_out"][name].items() if n)
    silent = report["unanswered"][name]
    yield f"## {name}: {found['texts']} texts"
    yield (
        f"Left out: {out or 'nothing'}. Without an answer, counted as wrong: {silent}.\n\n"
        f"- macro-F1 **{numbers['macro_f1']:.3f}** "
        f"({numbers['macro_f1_low']:.3f} to {numbers['macro_f1_high']:.3f})\n"
        f"- accuracy {numbers['accuracy']:.3f} "
        f"({numbers['accuracy_low']:.3f} to {numbers['accuracy_high']:.3f})\n"
        f"- ECE {numbers['ece']:.3f}"
    )
    if "lift/macro_f1" in numbers:
        yield (
            f"Beside the champion (macro-F1 {numbers['champion/macro_f1']:.3f}): macro-F1 "
            f"{numbers['lift/macro_f1']:+.3f} ({numbers['lift/macro_f1_low']:+.3f} to "
            f"{numbers['lift/macro_f1_high']:+.3f}), p {numbers['lift/p_macro_f1']:.4f}; "
            f"accuracy {numbers['lift/accuracy']:+.3f}, p {numbers['lift/p_accuracy']:.4f}."
        )
    yield _table(
        ["label", "precision", "recall", "F1", "texts"],
        (
            [titles[label], *(f"{own[k]:.3f}" for k in ("precision", "recall", "f1")), own["texts"]]
            for label, own in found["labels"].items()
        ),
    )
    yield _table(
        ["slice", "texts", "accuracy", "from", "to", "champion", "p worse"],
        (_slice_row(own) for own in found["slices"]),
    )


def _slice_row(own: Mapping[str, Any]) -> list[Any]:
    row = [f"{own['dimension']}={own['value']}", own["texts"]]
    row += [f"{own[name]:.3f}" for name in ("accuracy", "low", "high")]
    beside = ("champion_accuracy", "p_worse")
    return [*row, *(f"{own[name]:.3f}" if name in own else "–" for name in beside)]


def _effort(report: Mapping[str, Any]) -> str:
    lines = ["## A thousand texts", ""]
    for who in ("", "champion_"):
        if (own := report[f"{who}per_thousand"]) is None:
            continue
        price = "no price" if own["cost"] is None else f"{own['cost']:.4g} {own['currency'] or ''}"
        name = "the champion" if who else "this one"
        lines.append(f"- {name}: {own['seconds']:.2f} s of processor time, {price.strip()}")
    return "\n".join(lines)


def _table(head: list[str], rows: Iterator[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
