"""Why a case is with a person, in the words reviewers read."""

from __future__ import annotations

from labeling.queue import Reason

REASONS = {
    Reason.DOUBT: "duda",
    Reason.AUDIT: "auditoría",
    Reason.DISPUTE: "disputa",
    Reason.DISAGREEMENT: "desacuerdo",
    Reason.ACTIVE: "aprendizaje",
}

EXPLAINED = {
    Reason.DOUBT: "El modelo no está seguro de su respuesta.",
    Reason.AUDIT: "El caso se sorteó al azar, para medir cuánto acierta el modelo.",
    Reason.DISPUTE: "Quienes lo revisaron no coincidieron; lo que respondas decide.",
    Reason.DISAGREEMENT: "Dos modelos responden distinto.",
    Reason.ACTIVE: "Tu respuesta enseña mucho al próximo modelo.",
}
