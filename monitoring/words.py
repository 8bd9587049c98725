"""What operators read about drift, in their language."""

from __future__ import annotations

from monitoring.drift import DOMAIN_AUC, PSI, DriftVerdict

FEATURES = {
    "predicted_label": "Etiqueta predicha",
    "score": "Confianza del modelo",
    "char_count": "Caracteres",
    "word_count": "Palabras",
    "digit_share": "Proporción de dígitos",
    "upper_share": "Proporción de mayúsculas",
    "punctuation_share": "Proporción de puntuación",
    "mean_word_length": "Longitud media de palabra",
    "embedding": "Significado (embedding)",
}

VERDICTS = {
    DriftVerdict.STABLE: "estable",
    DriftVerdict.WATCH: "en observación: cambió la forma de los textos, no las respuestas",
    DriftVerdict.DRIFT: "deriva: lo que llega ya no se parece a lo que el modelo aprendió",
    DriftVerdict.INSUFFICIENT_DATA: "datos insuficientes: hay muy pocas filas para comparar",
    DriftVerdict.NO_REFERENCE: "sin referencia: este modelo no guarda datos de entrenamiento",
}

METHODS = {
    PSI: "PSI",
    DOMAIN_AUC: "AUC de dominio",
    "evidently_jensenshannon": "Evidently: Jensen-Shannon",
    "evidently_ks": "Evidently: Kolmogórov-Smirnov (valor p)",
    "evidently_model": "Evidently: AUC de clasificador",
}
