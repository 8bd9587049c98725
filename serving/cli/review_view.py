"""How the state of a review looks at the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labeling.reasons import REASONS
from pipelines.review_page import age, told
from pipelines.review_report import ReviewReport, TaskReview
from serving.cli.output import grid


def drawn_review(report: ReviewReport, html: Path | None) -> Any:
    """Show what waits, who answered, and what came of it, task by task."""
    from rich.console import Group

    parts: list[Any] = [_waiting(report)]
    who = _who(report)
    if who:
        columns = ["tarea", "quién", *(f"{day:%d/%m}" for day in report.days), "total", "sugerido"]
        parts.append(grid("\nRespuestas de los últimos días", columns, who))
    for task in report.tasks:
        parts += [f"\n{line}" for line in _outcome(task)]
    if html is not None:
        parts.append(f"\nLa página está en {html}")
    return Group(*parts)


def _waiting(report: ReviewReport) -> Any:
    columns = [
        "tarea",
        "motivo",
        "sin abrir",
        "borrador",
        "a medias",
        "descarte",
        "hechos",
        "mediana",
        "antiguo",
        "etiqueta",
    ]
    rows = [
        [
            task.task,
            REASONS[load.reason],
            *(load.pending, load.draft, load.partly, load.discarded, load.done),
            age(load.median),
            age(load.oldest),
            task.labels,
        ]
        for task in report.tasks
        for load in task.loads
    ]
    rows += [
        [task.task, "–", 0, 0, 0, 0, 0, "–", "–", task.labels]
        for task in report.tasks
        if not task.loads
    ]
    return grid(f"{report.tenant}: cola de revisión", columns, rows)


def _who(report: ReviewReport) -> list[list[Any]]:
    return [
        [
            task.task,
            pace.reviewer,
            *pace.by_day,
            pace.answers,
            f"{pace.as_suggested / pace.answers:.0%}",
        ]
        for task in report.tasks
        for pace in task.paces
    ]


def _outcome(task: TaskReview) -> list[str]:
    lines = []
    if task.together.tickets:
        alpha = task.together.agreement.alpha
        lines.append(
            f"{task.task}: en {task.together.unanimous} de {task.together.tickets} radicados con "
            "varias respuestas todas coinciden"
            + ("" if alpha is None else f" (α de Krippendorff {alpha:.2f})")
        )
    if task.effect is not None:
        lines.append(f"{task.task}: {told(task.effect, lambda share: f'{share:.1%}')}")
    lines += [
        f"{task.task}: {found.model} resolvió solo {found.share:.1%} de {found.classified:,} "
        f"({found.first} a {found.last})"
        for found in task.automation[-3:]
    ]
    return lines
