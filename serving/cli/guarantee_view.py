"""How a guarantee reads: in the words of those who rely on it."""

from __future__ import annotations

from collections.abc import Sequence

from models.guarantee import Guarantee, Lapse, Promise, Standing
from models.task import Task
from pipelines.guarantee_outlook import Outlook

LAPSES = {
    Lapse.NONE: "nunca se ha emitido una",
    Lapse.BUNDLE: "la que hay es de otro paquete de modelos",
    Lapse.TERMS: "lo que se pide cambió después de emitirla",
    Lapse.AGE: "venció",
    Lapse.DRIFT: "los textos o las respuestas ya no son como los de antes (deriva)",
    Lapse.ERRORS: "la auditoría encontró más errores de los prometidos",
    Lapse.PERSON: "fue retirada por una persona",
}
"""Why a guarantee does not hold, as people read it."""


def said(guarantee: Guarantee) -> str:
    """Say what a guarantee promises and what it rests on."""
    terms = guarantee.terms
    head = (
        f"{guarantee.task}: garantía {guarantee.guarantee_id} de {guarantee.bundle_id}, "
        f"hasta el {guarantee.expires_at:%Y-%m-%d}.\n"
        "De lo que se acepta sin que nadie lo mire, está mal a lo sumo el "
        f"{_percent(terms.alpha)}; eso se cumple con una confianza del "
        f"{_percent(1 - terms.delta)} para cada grupo por separado.\n"
        f"Así se acepta el {_percent(guarantee.coverage)} de las respuestas.\n"
        f"Muestra: radicados sorteados del {guarantee.first:%Y-%m-%d} al {guarantee.last:%Y-%m-%d}."
    )
    return "\n".join([head, *(f"  · {_promise(one)}" for one in guarantee.promises)])


def told(task: Task, found: Standing, provable: Guarantee | None, ahead: Sequence[Outlook]) -> str:
    """Say what holds now, what could be proven now, and what more labels would buy.

    `provable` is None where nothing was drawn yet.
    """
    parts = []
    if found.valid and found.guarantee is not None:
        parts.append(said(found.guarantee))
    else:
        why = LAPSES[found.lapse or Lapse.NONE] + (f" ({found.why})" if found.why else "")
        parts.append(
            f"{task.name}: NO hay garantía vigente: {why}.\n"
            "Mientras tanto nada se acepta sin que una persona lo mire."
        )
    if provable is None:
        return "\n".join([*parts, "Todavía no se ha sorteado ningún radicado para la auditoría."])
    if not found.valid:
        reached = _percent(provable.coverage)
        parts.append(f"Emitida hoy, con las etiquetas que hay, aceptaría el {reached}.")
    missing = sum(one.missing for one in provable.promises)
    if missing:
        parts.append(
            f"Faltan respuestas de {missing:,} radicados sorteados: cada una cuenta como un error "
            "hasta que alguien responda."
        )
    return "\n".join([*parts, *_bought(ahead)])


def _bought(ahead: Sequence[Outlook]) -> list[str]:
    if not ahead:
        return ["Aún hay muy pocas etiquetas de auditoría para decir cuánto darían más."]
    now = ahead[0].labels
    told = "; ".join(
        f"{one.labels - now:,} etiquetas más → {_percent(one.coverage)}" for one in ahead[1:]
    )
    return [
        f"Lo que se aceptaría en promedio, al mismo nivel de error: con {now:,} etiquetas "
        f"{_percent(ahead[0].coverage)}; {told}."
    ]


def _promise(promise: Promise) -> str:
    names = ", ".join(promise.labels)
    about = (
        f"{names} (juntos: por separado tienen muy pocas etiquetas)" if promise.pooled else names
    )
    sample = f"{promise.drawn:,} sorteados, {promise.missing:,} sin respuesta"
    if promise.accept_at is None:
        return f"{about}: no se puede prometer nada todavía, todo va a una persona ({sample})"
    return (
        f"{about}: se acepta desde {promise.accept_at:.3f}, el {_percent(promise.coverage)}; "
        f"en la muestra, {promise.errors:,} errores en {promise.accepted:,} aceptados ({sample})"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %".replace(".0 %", " %").replace(".", ",")
