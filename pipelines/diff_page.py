"""A comparison as one HTML page in Spanish: nothing is fetched, and nothing in it can run.

Whatever came from outside (labels, regions, citizens' words) is escaped; citizens' words were
masked before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources

from pipelines.answer_diff import Cell, Flip, Slice, TaskDiff
from pipelines.diff_pictures import day_picture, number, percent, score_picture, slice_picture
from pipelines.diff_report import DiffReport
from pipelines.gold_diff import Move, TableMove
from pipelines.past_tickets import NOW

Titles = Mapping[str, Mapping[str, str]]
"""By task: its labels as people read them."""

_DECISIONS = {"accept": "se acepta", "audit": "se acepta y se audita", "review": "va a una persona"}
_SLICES = {
    "channel": "Por canal",
    "region": "Por región",
    "length": "Por largo",
    "month": "Por mes",
}
_BECAUSE = {"duda": "un lado dudaba", "choque": "ambos estaban seguros"}
_MOST_SLICES = 12
_MOST_MOVES = 12
_MOST_LOOKS = 12


def page(report: DiffReport, titles: Titles) -> str:
    """Write the whole page."""
    style = resources.files("pipelines").joinpath("templates", "diff.css").read_text("utf-8")
    tasks = "".join(_task(task, titles.get(task.task, {})) for task in report.tasks)
    return f"""<!doctype html>
<html lang="es">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Diferencias entre paquetes · {escape(report.tenant)}</title>
<style>{style}</style>
</head>
<body>
<header>
<p class="kind">Diferencias entre dos paquetes</p>
<h1>{escape(report.old.asked)} <span>→</span> {escape(report.new.asked)}</h1>
<p>{escape(report.tenant)} · los radicados como estaban en <b>{_moment(report)}</b>
{_where(report)}</p>
<p class="legend"><i class="old"></i>antes: <code>{escape(report.old.bundle_id)}</code>
<i class="new"></i>después: <code>{escape(report.new.bundle_id)}</code></p>
</header>
<main>
{_summary(report)}
{_pins(report)}
{tasks}
{_gold(report.gold)}
<footer>
<p>Versiones leídas: <code>{escape(report.versions)}</code>.
Hecho el {escape(report.made_at)}.</p>
<p>Los textos van enmascarados: correos, teléfonos, direcciones y números de documento no se
muestran. Los intervalos son de Wilson, al 95 %. Las cifras de Gold se contaron dos veces con las
mismas funciones de siempre, una vez con las respuestas de cada paquete; lo que dijo una persona
vale en las dos.</p>
</footer>
</main>
</body>
</html>
"""


def _moment(report: DiffReport) -> str:
    return "este momento" if report.as_of == NOW else escape(report.as_of)


def _where(report: DiffReport) -> str:
    return f"donde <code>{escape(report.where)}</code>" if report.where else ""


def _summary(report: DiffReport) -> str:
    answers = sum(task.tickets for task in report.tasks)
    share = report.flips / answers if answers else 0.0
    cards = [
        (number(report.tickets), "radicados comparados"),
        (f"{number(report.flips)}", f"respuestas que cambian, {percent(share)}"),
        (number(report.gold_rows_moved), "filas de Gold que dirían otra cosa"),
        (number(len(report.gold)), "tablas de Gold que se mueven"),
    ]
    inside = "".join(
        f"<div><strong>{value}</strong><span>{what}</span></div>" for value, what in cards
    )
    return f'<section class="cards" aria-label="Resumen">{inside}</section>'


def _pins(report: DiffReport) -> str:
    if not report.pins:
        return "<section><h2>En qué difieren</h2><p>En nada: es el mismo paquete.</p></section>"
    rows = [
        [f"<code>{escape(pin.part)}</code>", _code(pin.old), _code(pin.new)] for pin in report.pins
    ]
    return (
        f"<section><h2>En qué difieren</h2>{table(['parte', 'antes', 'después'], rows)}</section>"
    )


def _code(value: str | None) -> str:
    return "–" if value is None else f"<code>{escape(value)}</code>"


def _task(task: TaskDiff, titles: Mapping[str, str]) -> str:
    name = escape(task.task)
    alone = ""
    if task.only_old or task.only_new:
        alone = (
            f"<p>Sin comparar: {number(task.only_old)} que solo respondió el primero, "
            f"{number(task.only_new)} que solo respondió el segundo.</p>"
        )
    return f"""<section>
<h2>Tarea «{name}»</h2>
<p class="lead">Cambian <b>{number(task.flips)}</b> de {number(task.tickets)} respuestas
(<b>{percent(task.share)}</b>).</p>{alone}
<h3>De qué a qué</h3>
{_confusion(task.confusion, titles)}
<h3>Qué se haría con ellas</h3>
{_decisions(task.decisions)}
<h3>Qué tan segura está la respuesta</h3>
<p>La confianza media pasa de {number(task.scores.mean_old, 3)} a
{number(task.scores.mean_new, 3)}.</p>
{score_picture(task.scores)}
<h3>Dónde cambia</h3>
<div class="slices">{_slices(task.slices)}</div>
<h3>Los cambios que más merecen una mirada</h3>
{_looks(task.worth_a_look, titles)}
<details><summary>Ejemplos de los cambios más comunes</summary>
{_examples(task.examples, titles)}</details>
</section>"""


def _confusion(cells: Sequence[Cell], titles: Mapping[str, str]) -> str:
    order = {label: place for place, label in enumerate(titles)}
    there = {cell.old for cell in cells} | {cell.new for cell in cells}
    labels = sorted(there, key=lambda label: (order.get(label, len(order)), label))
    counts = {(cell.old, cell.new): cell.tickets for cell in cells}
    of_old = {label: sum(counts.get((label, new), 0) for new in labels) for label in labels}
    head = "".join(f'<th scope="col">{_title(label, titles)}</th>' for label in labels)
    rows = "".join(
        f'<tr><th scope="row">{_title(old, titles)}</th>'
        + "".join(_heat(counts.get((old, new), 0), of_old[old], same=old == new) for new in labels)
        + "</tr>"
        for old in labels
    )
    return (
        '<div class="wide"><table class="confusion"><caption>filas: antes · columnas: después'
        f"</caption><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _heat(count: int, total: int, *, same: bool) -> str:
    share = count / total if total else 0.0
    kind = "same" if same else "moved"
    written = f"{number(count)}<small>{percent(share)}</small>" if count else "·"
    return f'<td class="{kind}" style="--share:{share:.3f}">{written}</td>'


def _title(label: str, titles: Mapping[str, str]) -> str:
    return escape(titles.get(label, label))


def _decisions(cells: Sequence[Cell]) -> str:
    rows = [
        [
            _DECISIONS.get(cell.old, cell.old),
            _DECISIONS.get(cell.new, cell.new),
            number(cell.tickets),
        ]
        for cell in cells
        if cell.old != cell.new
    ]
    if not rows:
        return "<p>Lo mismo que antes, con todas.</p>"
    return table(["antes", "después", "respuestas"], rows, numbers=1)


def _slices(slices: Sequence[Slice]) -> str:
    drawn = []
    for kind, title in _SLICES.items():
        own = [found for found in slices if found.kind == kind]
        if kind in ("channel", "region"):
            own.sort(key=lambda found: (-found.low, found.value))
        shown, left = own[:_MOST_SLICES], len(own) - _MOST_SLICES
        more = f"<p>… y {number(left)} más, en el JSON.</p>" if left > 0 else ""
        said = f"{title}: parte de las respuestas que cambia, con su intervalo"
        drawn.append(
            f"<figure><figcaption>{title}</figcaption>{slice_picture(shown, said)}{more}</figure>"
        )
    return "".join(drawn)


def _looks(flips: Sequence[Flip], titles: Mapping[str, str]) -> str:
    if not flips:
        return "<p>Ninguno: no cambió nada.</p>"
    shown = "".join(_flip(flip, titles, because=True) for flip in flips[:_MOST_LOOKS])
    return (
        f'<ol class="flips">{shown}</ol><p class="hint">Para que una persona los vea: '
        "<code>plata diff … --send-to-review N</code>.</p>"
    )


def _examples(flips: Sequence[Flip], titles: Mapping[str, str]) -> str:
    return f'<ol class="flips">{"".join(_flip(flip, titles, because=False) for flip in flips)}</ol>'


def _flip(flip: Flip, titles: Mapping[str, str], *, because: bool) -> str:
    why = f" · {_BECAUSE[flip.because]}" if because else ""
    return (
        f'<li><p class="move"><span class="old">{_title(flip.old, titles)} '
        f"{percent(flip.old_score)}</span> → "
        f'<span class="new">{_title(flip.new, titles)} {percent(flip.new_score)}</span></p>'
        f"<blockquote>{escape(flip.text)}</blockquote>"
        f'<p class="about">{flip.day.isoformat()} · {escape(flip.channel)} · '
        f"{escape(flip.region)}{why} · <code>{escape(flip.ticket_id)}</code></p></li>"
    )


def _gold(moves: Sequence[TableMove]) -> str:
    if not moves:
        return "<section><h2>Qué cifras de Gold se moverían</h2><p>Ninguna.</p></section>"
    return (
        "<section><h2>Qué cifras de Gold se moverían</h2>"
        f"{''.join(_table_move(move) for move in moves)}</section>"
    )


def _table_move(move: TableMove) -> str:
    measures = ", ".join(
        f"<code>{escape(name)}</code> en {number(count)}" for name, count in move.measures.items()
    )
    picture = ""
    if move.leading is not None and move.by_day:
        said = f"{move.table}: lo que gana y lo que pierde {move.leading} cada día"
        picture = (
            f'<p class="legend">{escape(move.leading)} por día: <i class="new"></i>gana '
            f'<i class="old"></i>pierde</p>{day_picture(move.by_day, said)}'
        )
    return (
        f"<article><h3><code>{escape(move.table)}</code></h3>"
        f"<p>Cambian {number(move.rows_moved)} de {number(move.rows)} filas: {measures}.</p>"
        f"{picture}{_moves(move.moves)}</article>"
    )


def _moves(moves: Sequence[Move]) -> str:
    if not moves:
        return ""
    rows = [
        [
            escape(" · ".join(move.key.values())),
            f"<code>{escape(move.measure)}</code>",
            _figure(move.old),
            _figure(move.new),
            f"<b>{'+' if move.change > 0 else ''}{_figure(move.change)}</b>",
        ]
        for move in moves[:_MOST_MOVES]
    ]
    drawn = table(["fila", "cifra", "antes", "después", "cambio"], rows, numbers=3)
    return f"<details><summary>Los mayores cambios</summary>{drawn}</details>"


def _figure(value: float | None) -> str:
    return "–" if value is None else number(value, 0 if value == int(value) else 3)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int = 0) -> str:
    """Write a table whose last `numbers` columns are set to the right."""
    first = len(head) - numbers

    def cells(tag: str, values: Sequence[str]) -> str:
        kinds = ["" if place < first else ' class="n"' for place in range(len(values))]
        return "".join(
            f"<{tag}{kind}>{value}</{tag}>" for kind, value in zip(kinds, values, strict=True)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{cells("th", head)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
