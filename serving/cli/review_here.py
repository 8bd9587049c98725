"""`plata review next`, `label` and `cases`: people review at the terminal, without Argilla."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, RenderableType

from serving.cli.output import console, emit, grid

if TYPE_CHECKING:  # they take a second to import
    from labeling.postgres_queue import OpenQueue, PostgresQueue
    from labeling.queue import CaseId, QueuedCase, ReviewCase
    from lakehouse.tenancy import TenantContext

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose tickets.")]
OfTask = Annotated[str | None, typer.Option("--task", "-k", help="One task; all by default.")]
As = Annotated[
    str, typer.Option("--as", help="Who answers, as `plata review account list` names them.")
]

_SKIP, _DISCARD, _COMMENT, _GUIDELINE, _QUIT = "s", "d", "c", "?", "q"
_KEYS = (
    f"{_SKIP} saltar · {_DISCARD} descartar · {_COMMENT} comentar · "
    f"{_GUIDELINE} guía · {_QUIT} salir"
)
_ONE_KEY = 9
"""Labels that a single digit can name; of more, the number is typed and sent with Enter."""


def answer_cases(tenant: OfTenant, task: OfTask = None, who: As = "revisor") -> None:
    """Answer the cases that wait, one after another, each with one key.

    For PLATA_REVIEW=postgres; where people review in Argilla, this says where its page is. Leave at
    any time: what was answered is kept, and the case before you goes back.

    Example: plata review next --tenant alcaldia-norte --task tipo --as ana
    """
    from pipelines.bootstrap import open_platform
    from pipelines.selection import named

    platform = open_platform()
    context = platform.tenant(tenant)
    desk = platform.desk
    username = platform.reviewers.find(who, context).username
    page = console()
    answered = 0
    for chosen in named(platform.tasks(context), task):
        sitting = Sitting(desk, desk.asked(chosen.name, context), context, username, page)
        stayed = sitting.work()
        answered += sitting.answered
        if not stayed:
            break
    page.print(f"Respondiste {answered} {'caso' if answered == 1 else 'casos'}.")


def label(
    case: Annotated[str, typer.Argument(help="A case, as `plata review cases` names it.")],
    answer: Annotated[str, typer.Argument(help="The label.")],
    tenant: OfTenant,
    who: As = "revisor",
    comment: Annotated[str | None, typer.Option("--comment", help="Why.")] = None,
    as_json: AsJson = False,
) -> None:
    """Answer one case; again, to change the answer.

    Example: plata review label norte/tipo/TICKET/bundle-1a2b queja --tenant norte --as ana
    """
    from labeling.queue import CaseId, CaseStatus
    from pipelines.bootstrap import open_platform

    platform = open_platform()
    context = platform.tenant(tenant)
    case_id = CaseId.parse(case)
    username = platform.reviewers.find(who, context).username
    platform.desk.answer(
        case_id, username, context, status=CaseStatus.SUBMITTED, label=answer, comment=comment
    )
    said = {"tenant": tenant, "case": case, "label": answer, "reviewer": username}
    emit(said, as_json=as_json, table=lambda: f"{case}: {answer} ({username})")


def cases(tenant: OfTenant, task: OfTask = None, as_json: AsJson = False) -> None:
    """List the cases in the queue with the answers they have; their texts stay out.

    Example: plata review cases --tenant alcaldia-norte --task tipo --json
    """
    from pipelines.bootstrap import open_platform
    from pipelines.selection import named

    platform = open_platform()
    context = platform.tenant(tenant)
    found = [
        case
        for chosen in named(platform.tasks(context), task)
        for case in platform.queue.cases(chosen.name, context)
    ]
    emit(
        [_listed(case) for case in found],
        as_json=as_json,
        table=lambda: grid(
            f"{tenant}: casos",
            ["caso", "motivo", "sugerencia", "confianza", "respuestas", "faltan"],
            [_row(case) for case in found],
        ),
    )


@dataclass
class Sitting:
    """One person before one task's queue, until nothing waits or they leave."""

    desk: PostgresQueue
    queue: OpenQueue
    tenant: TenantContext
    username: str
    page: Console
    answered: int = 0

    def work(self) -> bool:
        """Show case after case; False where the person left."""
        passed: list[CaseId] = []
        while case := self._next(passed):
            self.page.print(_drawn(case, self.queue, self._waiting()))
            if not self._decide(case, passed):
                self.desk.let_go(case.id, self.username, self.tenant)
                return False
        self.page.print(f"{self.queue.task}: nada más espera por ti.")
        return True

    def _next(self, passed: list[CaseId]) -> ReviewCase | None:
        return self.desk.next_case(self.queue.task, self.username, self.tenant, passed=passed)

    def _waiting(self) -> int:
        return sum(
            case.missing > 0 and all(a.reviewer != self.username for a in case.answers)
            for case in self.desk.cases(self.queue.task, self.tenant)
        )

    def _decide(self, case: ReviewCase, passed: list[CaseId]) -> bool:
        """Wait for what the person does with a case; False where they leave."""
        from labeling.queue import CaseStatus

        labels, comment = list(self.queue.titles), None
        while True:
            key = self._key(len(labels))
            if key == _QUIT:
                return False
            if key == _SKIP:
                self.desk.let_go(case.id, self.username, self.tenant)
                passed.append(case.id)
                return True
            if key == _GUIDELINE:
                self._show_guideline()
                self.page.print(_choices(case, self.queue))
            elif key == _COMMENT:
                comment = self._line("Comentario: ").strip() or None
            elif key == _DISCARD:
                self._answer(case, CaseStatus.DISCARDED, None, comment)
                return True
            elif key.isdigit() and 1 <= int(key) <= len(labels):
                self._answer(case, CaseStatus.SUBMITTED, labels[int(key) - 1], comment)
                return True
            else:
                self.page.print(f"No hay «{key}»: un número del 1 al {len(labels)}, o {_KEYS}.")

    def _answer(
        self, case: ReviewCase, status: Any, label: str | None, comment: str | None
    ) -> None:
        self.desk.answer(
            case.id, self.username, self.tenant, status=status, label=label, comment=comment
        )
        said = "descartado" if label is None else self.queue.titles[label]
        self.page.print(f"→ {said}\n")
        self.answered += 1

    def _key(self, labels: int) -> str:
        """Read a key, or a line where one key cannot name every label; the end of input leaves."""
        if labels > _ONE_KEY:
            return self._line("Respuesta: ").strip().lower() or _QUIT
        try:
            return _pressed().lower() or _QUIT
        except KeyboardInterrupt:
            return _QUIT

    def _line(self, asked: str) -> str:
        try:
            return self.page.input(asked)
        except (EOFError, KeyboardInterrupt):
            return ""

    def _show_guideline(self) -> None:
        from rich.markdown import Markdown

        self.page.print(Markdown(self.queue.guideline))


def _pressed() -> str:
    """Wait for one key; of a pipe or a file, for one sign that is not blank. Empty at its end."""
    import sys

    if sys.stdin.isatty():
        return typer.getchar()
    while (sign := sys.stdin.read(1)).isspace():
        pass
    return sign


def _drawn(case: ReviewCase, queue: OpenQueue, waiting: int) -> RenderableType:
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    from labeling.reasons import EXPLAINED, REASONS

    origin = case.origin
    about = [origin.day.isoformat(), case.channel, case.region, f"esperan {waiting}"]
    suggested = queue.titles.get(origin.suggestion, origin.suggestion)
    lines = [
        Text(f"{REASONS[origin.reason].capitalize()}. {EXPLAINED[origin.reason]}"),
        Text(f"Sugiere {suggested} con una confianza de {origin.score * 100:.0f} %."),
    ]
    if case.explanation:
        lines.append(Text(f"En qué se fijó: {case.explanation}", style="dim"))
    panel = Panel(
        Text(case.text),
        title=f"¿Qué {queue.task} corresponde?",
        title_align="left",
        subtitle=" · ".join(part for part in about if part),
        subtitle_align="right",
        padding=(1, 2),
    )
    return Group(panel, *lines, _choices(case, queue))


def _choices(case: ReviewCase, queue: OpenQueue) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    labels = Text()
    for number, (name, title) in enumerate(queue.titles.items(), start=1):
        labels.append(f"  {number} {title}", style="bold" if name == case.origin.suggestion else "")
    return Group(labels, Text(f"  {_KEYS}", style="dim"))


def _listed(case: QueuedCase) -> dict[str, Any]:
    return {
        "case": str(case.id),
        "reason": case.origin.reason.value,
        "suggestion": case.origin.suggestion,
        "score": case.origin.score,
        "status": case.status.value,
        "missing": case.missing,
        "put_at": case.put_at,
        "answers": [
            {"reviewer": a.reviewer, "status": a.status.value, "label": a.label, "at": a.at}
            for a in case.answers
        ],
    }


def _row(case: QueuedCase) -> list[Any]:
    from labeling.reasons import REASONS

    said = ", ".join(f"{a.reviewer}: {a.label or a.status.value}" for a in case.answers)
    origin = case.origin
    return [
        str(case.id),
        REASONS[origin.reason],
        origin.suggestion,
        origin.score,
        said or "–",
        case.missing,
    ]
