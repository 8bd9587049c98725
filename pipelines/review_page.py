"""The state of a review as one HTML page in Spanish, for the people who review: nothing is fetched,
nothing in it can run, and no citizen's text is on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from html import escape
from importlib import resources

from labeling.reasons import REASONS
from labeling.workload import AGES, Load, Pace
from pipelines.diff_page import table
from pipelines.diff_pictures import number, percent, svg
from pipelines.review_effect import Effect
from pipelines.review_report import BOGOTA, Automation, ReviewReport, TaskReview, Together

_WEEKDAYS = ("lun", "mar", "mié", "jue", "vie", "sáb", "dom")
_MOST_MODELS = 8
_WIDTH = 480
_NAME_LETTERS = 17


def page(report: ReviewReport) -> str:
    """Write the whole page."""
    style = resources.files("pipelines").joinpath("templates", "diff.css").read_text("utf-8")
    tasks = "".join(_task(task, report) for task in report.tasks)
    made = report.made_at.astimezone(BOGOTA)
    return f"""<!doctype html>
<html lang="es">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Revisión humana · {escape(report.tenant)}</title>
<style>{style}</style>
</head>
<body>
<header>
<p class="kind">Revisión humana</p>
<h1>{escape(report.tenant)}</h1>
<p>Qué espera a una persona, quién respondió y qué hace la máquina sola, el
<b>{made:%Y-%m-%d} a las {made:%H:%M}</b>.</p>
</header>
<main>
{_summary(report)}
{tasks}
<footer>
<p>Los días son los de Colombia. «Espera» cuenta lo que aún necesita una respuesta; una etiqueta
vale cuando la mayoría de quienes respondieron dijo lo mismo. La automatización se cuenta en Gold:
las respuestas de cada modelo que valieron sin que nadie las viera antes. Entre dos modelos puede
haber cambiado también lo que llegó.</p>
<p>Todo esto, para programas: <code>plata review status --tenant {escape(report.tenant)}
--json</code>.</p>
</footer>
</main>
</body>
</html>
"""


def age(span: timedelta | None) -> str:
    """Write an age as people say it.

    >>> age(timedelta(hours=5)), age(timedelta(days=3, hours=9)), age(None)
    ('5 h', '3 días', '–')
    """
    if span is None:
        return "–"
    if span < timedelta(days=1):
        return f"{span // timedelta(hours=1)} h"
    return "1 día" if span.days == 1 else f"{number(span.days)} días"


def _summary(report: ReviewReport) -> str:
    all_loads = [load for task in report.tasks for load in task.loads]
    oldest = max((load.oldest for load in all_loads if load.oldest is not None), default=None)
    answers = sum(pace.answers for task in report.tasks for pace in task.paces)
    cards = [
        (number(sum(load.waiting for load in all_loads)), "casos esperan a una persona"),
        (age(oldest), "espera el más antiguo"),
        (number(answers), f"respuestas en los últimos {len(report.days)} días"),
        (number(sum(task.labels for task in report.tasks)), "etiquetas que valen"),
    ]
    inside = "".join(
        f"<div><strong>{value}</strong><span>{what}</span></div>" for value, what in cards
    )
    return f'<section class="cards" aria-label="Resumen">{inside}</section>'


def _task(task: TaskReview, report: ReviewReport) -> str:
    return f"""<section>
<h2>Tarea «{escape(task.task)}»</h2>
<h3>Qué espera, y desde cuándo</h3>
{_waiting(task.loads)}
<h3>Quién respondió en los últimos {len(report.days)} días</h3>
{_who(task.paces, report)}
<h3>En qué coinciden las personas</h3>
{_together(task.together, report.tenant)}
<h3>Qué hace la máquina sola</h3>
{_effect(task.effect)}
{_automation(task.automation, report.tenant)}
</section>"""


def _waiting(loads: Sequence[Load]) -> str:
    if not loads:
        return "<p>Nada: la cola está vacía.</p>"
    rows = [
        [
            REASONS[load.reason],
            *(number(n) for n in (load.waiting, load.partly, load.discarded, load.done)),
            age(load.median),
            age(load.oldest),
        ]
        for load in loads
    ]
    head = ["motivo", "esperan", "a medias", "descartados", "respondidos", "mediana", "más antiguo"]
    drawn = table(head, rows, numbers=6)
    if not any(load.waiting for load in loads):
        return drawn
    return f"{drawn}<figure><figcaption>Cuánto llevan esperando</figcaption>{_ages(loads)}</figure>"


def _ages(loads: Sequence[Load]) -> str:
    counts = [sum(load.ages[place] for load in loads) for place in range(len(AGES))]
    most = max(counts)
    step = _WIDTH / len(AGES)
    drawn = []
    for place, ((name, _), count) in enumerate(zip(AGES, counts, strict=True)):
        x, tall = place * step, 90 * count / most
        drawn.append(
            f'<rect class="new bar" x="{x + 14:.1f}" y="{112 - tall:.1f}" '
            f'width="{step - 28:.1f}" height="{tall:.1f}"/>'
            f'<text x="{x + step / 2:.1f}" y="{106 - tall:.1f}" text-anchor="middle">'
            f"{number(count)}</text>"
            f'<text x="{x + step / 2:.1f}" y="132" text-anchor="middle">{name}</text>'
        )
    axis = f'<line class="axis" x1="0" x2="{_WIDTH}" y1="112" y2="112"/>'
    told = ", ".join(f"{name}: {count}" for (name, _), count in zip(AGES, counts, strict=True))
    return svg(140, f"Casos que esperan, por edad. {told}", "".join(drawn) + axis)


def _who(paces: Sequence[Pace], report: ReviewReport) -> str:
    if not paces:
        return "<p>Nadie.</p>"
    days = [f"{_WEEKDAYS[day.weekday()]} {day.day}" for day in report.days]
    most = max(count for pace in paces for count in pace.by_day)
    head = "".join(f'<th scope="col" class="n">{day}</th>' for day in [*days, "en total"])
    rows = "".join(
        f'<tr><th scope="row">{escape(_own(pace.reviewer, report.tenant))}</th>'
        + "".join(_heat(count, most) for count in pace.by_day)
        + f'<td class="n"><b>{number(pace.answers)}</b></td>'
        f'<td class="n">{percent(pace.as_suggested / pace.answers)}</td></tr>'
        for pace in paces
    )
    return (
        '<div class="wide"><table class="confusion"><caption>«como sugería»: la parte de sus '
        "respuestas que es la sugerencia del modelo</caption><thead><tr><td></td>"
        f'{head}<th scope="col" class="n">como sugería</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _heat(count: int, most: int) -> str:
    share = count / most if most else 0.0
    return f'<td class="same" style="--share:{share:.3f}">{number(count) if count else "·"}</td>'


def _together(found: Together, tenant: str) -> str:
    if not found.tickets:
        return (
            "<p>No se sabe: ningún radicado tiene respuestas de dos personas. "
            "<code>review: overlap_share</code>, en la configuración, hace que los haya.</p>"
        )
    return (
        f"<p>En <b>{number(found.unanimous)}</b> de {number(found.tickets)} radicados que vieron "
        f"dos o más personas, todas dijeron lo mismo "
        f"(<b>{percent(found.unanimous / found.tickets)}</b>). {_beyond_chance(found)}</p>"
        f"{_pairs(found, tenant)}"
    )


def _beyond_chance(found: Together) -> str:
    alpha = found.agreement.alpha
    if alpha is None:
        return "Todas las respuestas son la misma: no se sabe si coinciden más que por azar."
    return (
        f"α de Krippendorff: <b>{number(alpha, 2)}</b> (1 es coincidir siempre; 0, lo mismo que "
        "al azar)."
    )


def _pairs(found: Together, tenant: str) -> str:
    rows = [
        [
            f"{escape(_own(pair.first, tenant))} y {escape(_own(pair.second, tenant))}",
            number(pair.tickets),
            percent(pair.agreed),
            "–" if pair.kappa is None else number(pair.kappa, 2),
        ]
        for pair in found.agreement.pairs
    ]
    head = ["quiénes", "radicados", "coinciden", "κ de Cohen"]
    return f"<details><summary>De a dos</summary>{table(head, rows, numbers=3)}</details>"


def _own(reviewer: str, tenant: str) -> str:
    """Leave out the tenant that an account's name ends with."""
    return reviewer.removesuffix(f"-{tenant}")


def _effect(found: Effect | None) -> str:
    return "" if found is None else f'<p class="lead">{told(found, percent)}</p>'


def told(found: Effect, written: Callable[[float], str]) -> str:
    """Say in words what labels bought; `written` writes a share."""
    before, after = found.before, found.after
    promise = (
        f"con la misma garantía: a lo sumo {written(after.alpha)} de error en lo que acepta, con "
        f"confianza de {written(1 - after.delta)}"
    )
    also = "" if found.same_bundle else " También cambió el paquete que responde."
    moved = f"de {written(before.coverage)} a {written(after.coverage)}"
    if found.labels > 0 and after.coverage > before.coverage:
        return f"{found.labels} etiquetas más subieron la automatización {moved}, {promise}.{also}"
    return (
        f"La automatización pasó {moved}, con {before.labels} y luego {after.labels} etiquetas de "
        f"la muestra, {promise}.{also}"
    )


def _automation(found: Sequence[Automation], tenant: str) -> str:
    if not found:
        return "<p>Aún nada: Gold no cuenta ninguna respuesta.</p>"
    shown = found[-_MOST_MODELS:]
    line, name, end = 30, 150, 150
    room = _WIDTH - name - end
    drawn = []
    for place, model in enumerate(shown):
        y = place * line + 6
        drawn.append(
            f"<g><title>{escape(model.model)}: {model.first.isoformat()} a "
            f"{model.last.isoformat()}</title>"
            f'<text x="0" y="{y + 14}">{escape(_short(model.model, tenant))}</text>'
            f'<rect class="old bar" x="{name}" y="{y}" width="{room * model.share:.1f}" '
            f'height="18"/><text x="{_WIDTH}" y="{y + 14}" text-anchor="end">'
            f"{percent(model.share)} de {number(model.classified)}</text></g>"
        )
    told = "; ".join(f"{model.model}: {percent(model.share)}" for model in shown)
    return (
        "<figure><figcaption>Respuestas que valen sin que nadie las vea, por modelo</figcaption>"
        f"{svg(len(shown) * line + 4, told, ''.join(drawn))}</figure>"
    )


def _short(model: str, tenant: str) -> str:
    """Leave out the tenant; of what is still too long keep the end, where the version is."""
    own = model.removeprefix(f"{tenant}.")
    return own if len(own) <= _NAME_LETTERS else f"…{own[1 - _NAME_LETTERS :]}"
