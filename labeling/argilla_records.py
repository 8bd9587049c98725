"""How a case looks in Argilla, and how it is read back; what reviewers read is in Spanish.

A record's name and its metadata say all that a label must know. Nothing here asks a server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from labeling.errors import ForeignCaseError
from labeling.queue import (
    Answer,
    CaseId,
    CaseOrigin,
    CaseStatus,
    QueuedCase,
    QueueSpec,
    Reason,
    ReviewCase,
)
from labeling.reasons import EXPLAINED, REASONS

TEXT, WHY = "text", "why"
LABEL, COMMENT = "label", "comment"
VECTOR = "meaning"
_UNKNOWN = "sin dato"

_REASON_OF = {word: reason for reason, word in REASONS.items()}
METADATA = {
    "reason": "Motivo",
    "suggestion": "Sugerencia",
    "day": "Día",
    "channel": "Canal",
    "region": "Región",
    "model": "Modelo",
    "bundle": "Paquete",
    "guideline": "Guía",
    "source": "Fuente",
}
SCORE = "score"

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|!])")


def as_record(
    case: ReviewCase, spec: QueueSpec, label_question: str, dimensions: int | None
) -> dict[str, Any]:
    """Shape a case; a vector of another length than the dataset was made for is left out."""
    origin = case.origin
    vector = [round(value, 6) for value in case.vector or ()]
    return {
        "external_id": str(case.id),
        "fields": {TEXT: case.text, WHY: _why(case, spec)},
        "metadata": {
            "reason": REASONS[origin.reason],
            "suggestion": origin.suggestion,
            "day": origin.day.isoformat(),
            "channel": case.channel or _UNKNOWN,
            "region": case.region or _UNKNOWN,
            "model": f"{origin.model_name}/{origin.model_version}",
            "bundle": case.id.bundle_id,
            "guideline": spec.guideline.version,
            "source": origin.source,
            SCORE: origin.score,
        },
        "vectors": {VECTOR: vector} if vector and len(vector) == dimensions else {},
        "suggestions": [
            {
                "question_id": label_question,
                "value": origin.suggestion,
                "score": origin.score,
                "agent": f"{origin.model_name}/{origin.model_version}",
                "type": "model",
            }
        ],
    }


def _why(case: ReviewCase, spec: QueueSpec) -> str:
    origin = case.origin
    suggested = _plain(spec.titles.get(origin.suggestion, origin.suggestion))
    model = _plain(f"{origin.model_name}, versión {origin.model_version}")
    lines = [
        f"**{REASONS[origin.reason].capitalize()}.** {EXPLAINED[origin.reason]}",
        f"Sugiere **{suggested}** con una confianza de {origin.score * 100:.0f} %.",
    ]
    if case.explanation:
        told = "Respondieron" if origin.reason is Reason.DISPUTE else "En qué se fijó"
        lines.append(f"{told}: {_plain(case.explanation)}")
    lines.append(f"Modelo: {model}" if case.link is None else f"Modelo: [{model}]({case.link})")
    if case.masking is not None:
        lines.append(f"Datos personales cubiertos (reglas {_plain(case.masking)})")
    return "\n\n".join([*lines, _provenance(case)])


def _provenance(case: ReviewCase) -> str:
    """Say where the ticket came from, and by which command its whole way is shown."""
    source, day = _plain(case.origin.source), case.origin.day.isoformat()
    run = "" if case.run_id is None else f" · corrida {_plain(case.run_id)}"
    command = f"plata lineage raw {case.id.ticket_id} --tenant {case.id.tenant_id}"
    return f"Procedencia: {source} · {day}{run} · `{command}`"


def _plain(text: str) -> str:
    """Keep a text from being read as Markdown or HTML."""
    return _MARKDOWN.sub(r"\\\1", text)


def as_queued(record: Mapping[str, Any], names: Mapping[str, str], wanted: int) -> QueuedCase:
    """Read a case back; `names` are those of accounts. Raises `ForeignCaseError`."""
    name, metadata = str(record["external_id"]), record.get("metadata") or {}
    case_id = CaseId.parse(name)
    try:
        origin = CaseOrigin(
            source=metadata["source"],
            day=date.fromisoformat(metadata["day"]),
            reason=_REASON_OF[metadata["reason"]],
            suggestion=metadata["suggestion"],
            score=float(metadata[SCORE]),
            model_name=metadata["model"].rpartition("/")[0],
            model_version=metadata["model"].rpartition("/")[2],
        )
        guideline = str(metadata["guideline"])
    except (KeyError, ValueError) as error:
        msg = (
            f"record '{name}' in Argilla lost its metadata ({error}); "
            "delete it there, and the next push adds it anew"
        )
        raise ForeignCaseError(msg) from error
    answers = [_answer(response, names) for response in record.get("responses") or []]
    put_at = moment(record["inserted_at"])
    return QueuedCase(case_id, origin, guideline, tuple(answers), wanted=wanted, put_at=put_at)


def _answer(response: Mapping[str, Any], names: Mapping[str, str]) -> Answer:
    values = response.get("values") or {}
    return Answer(
        reviewer=names.get(str(response["user_id"]), str(response["user_id"])),
        status=CaseStatus(response["status"]),
        label=(values.get(LABEL) or {}).get("value"),
        comment=(values.get(COMMENT) or {}).get("value"),
        at=moment(response["updated_at"]),
    )


def moment(written: str) -> datetime:
    """Read a time; Argilla writes UTC and does not say so."""
    at = datetime.fromisoformat(written)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
