"""How comparisons, plans and reenrichments look on a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serving.cli.output import grid

_MOST_ROWS = 12


def drawn_reenrich(tenant: str, done: Any) -> str:
    """Say what became of a reenrichment, and what to do next."""
    facts = done.as_dict()
    what = f"{tenant}: {facts['run_id']}, {facts['done']:,} de {facts['tickets']:,} radicados"
    there = f", {facts['there_already']:,} ya tenían su respuesta" if done.there else ""
    if not done.over:
        return f"{what}{there}; se detuvo: siga con `plata reenrich --resume --tenant {tenant}`"
    published = (
        "; publicado en Silver y Gold" if facts["published"] else "; aparte, sin tocar Silver"
    )
    return f"{what}{there}{published}. Paquete {facts['bundle_id']}, a {facts['as_of']}"


def drawn_estimate(tenant: str, plan_id: str, what: str, found: Any) -> Any:
    """Show what a plan will take, and how to apply it."""
    from rich.console import Group

    seconds, cost, pilot = found.seconds, found.cost, found.pilot
    rows = [
        ["radicados por escribir", f"{found.tickets:,}"],
        ["ya escritos antes", f"{found.there:,}"],
        ["con respuesta conocida", f"{found.known:,}"],
        ["textos por preguntar", f"{found.asks:,}"],
        ["lotes", f"{found.batches:,}"],
        ["tiempo", f"{_span(seconds)} s, 9 de cada 10 veces"],
        ["más, si hay que abrir los modelos", f"{found.loading_seconds:,.1f} s"],
        ["costo", f"{_span(cost)} {found.currency}"],
        ["memoria de este proceso", f"{found.memory_bytes / 2**20:,.0f} MiB"],
        ["piloto", f"{len(pilot.seconds)} lotes de {pilot.texts:,} textos"],
    ]
    return Group(
        grid(f"{tenant}: {what}", ["", ""], rows),
        f"Para hacerlo: plata apply {plan_id} --tenant {tenant}",
    )


def drawn_run(tenant: str, value: dict[str, Any]) -> str:
    """Say what became of a planned run."""
    if value["over"]:
        return f"{tenant}: {value['run_id']} terminó; véalo con `plata runs show {value['run_id']}`"
    return (
        f"{tenant}: se detuvo por presupuesto; siga con `plata apply {value['plan_id']} "
        f"--tenant {tenant}` o `plata run --tenant {tenant}`"
    )


def _span(estimate: Any) -> str:
    return f"{estimate.expected:,.1f} ({estimate.low:,.1f} a {estimate.high:,.1f})"


def drawn_diff(report: Any, html: Path | None, sent: list[Any]) -> Any:
    """Show the sums of a comparison: by task, by kind of flip, and by table of Gold."""
    from rich.console import Group

    parts: list[Any] = [
        f"{report.tenant}: {report.old.asked} → {report.new.asked}, a {report.as_of} "
        f"({report.tickets:,} radicados)"
    ]
    for task in report.tasks:
        parts.append(
            f"\n{task.task}: cambian {task.flips:,} de {task.tickets:,} ({task.share:.1%}); "
            f"confianza media {task.scores.mean_old:.3f} → {task.scores.mean_new:.3f}"
        )
        moved = [cell for cell in task.confusion if cell.old != cell.new]
        moved.sort(key=lambda cell: -cell.tickets)
        if moved:
            rows = [[cell.old, cell.new, cell.tickets] for cell in moved[:_MOST_ROWS]]
            parts.append(grid("", ["antes", "después", "radicados"], rows))
    rows = [
        [move.table, move.rows_moved, move.rows, ", ".join(move.measures)] for move in report.gold
    ]
    if rows:
        title = "\nCifras de Gold que se moverían"
        parts.append(grid(title, ["tabla", "filas", "de", "columnas"], rows))
    else:
        parts.append("\nNinguna cifra de Gold se movería.")
    parts += [f"{one['task']}: {one['added']} a revisión, {one['page']}" for one in sent]
    if html is not None:
        parts.append(f"Página: {html}")
    return Group(*parts)
