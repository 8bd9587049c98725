"""A model's trial, as a program of its own: what it takes, and whether it answers the same twice.

`python -m models.trial FOLDER LABELS MEGABYTES` prints one JSON object, or says on standard error
why the model is refused. The memory it may take beyond the libraries is a limit of the kernel's.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from features.embed import as_lists
from lakehouse.errors import PlataError
from models.classifier import answers, require_labels
from models.external import ONNX, SKLEARN
from models.folder import family_of
from registry.errors import ArtifactError

_DIMENSIONS = 384
_SEED = 7
_TEXTS = (
    "",
    "Solicito copia del acto administrativo 1234 de 2026.",
    "Buenas tardes, hay un hueco en la vía frente al colegio.",
    "¿Cuándo pasa el camión de la basura por el barrio La Esperanza?",
    "QUEJA por maltrato de un funcionario ☹ en la ventanilla 3",
    "agua " * 400,
    "Cobro que no corresponde: $ 45.300, factura № 88-12.",
    "Felicito a la entidad por la atención.",
)
_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """What was measured. `peak_mb` is the whole process at its largest, libraries included."""

    rows_per_second: float
    peak_mb: float
    rows: int


def trial(folder: Path, labels: tuple[str, ...]) -> Trial:
    """Open a model and ask it. Raises `ArtifactError` where it does not keep the contract."""
    from models.artifacts import load

    model = load(folder)
    require_labels(model, labels)
    rows = _rows(getattr(model, "dimensions", None) or _DIMENSIONS)
    first = answers(model, rows, labels)
    backwards = rows.take(pa.array(range(len(rows))[::-1]))
    others = {
        "asked twice": answers(model, rows, labels),
        "asked in another order": answers(model, backwards, labels).sort_by("ticket_id"),
        "asked alone": pa.concat_tables(
            answers(model, rows.slice(n, 1), labels) for n in range(len(rows))
        ).combine_chunks(),
    }
    for how, other in others.items():
        if not first.equals(other):
            msg = f"the model answers otherwise when {how}: the same row must give the same bytes"
            raise ArtifactError(msg)
    start = time.process_time()
    for _ in range(_ROUNDS):
        answers(model, rows, labels)
    took = max(time.process_time() - start, 1e-6)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Trial(round(_ROUNDS * len(rows) / took, 1), round(peak, 1), len(rows))


def limit_memory(megabytes: int) -> None:
    """Let this process take that much more than it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _import_libraries(family: str) -> None:
    """Bring in what opens the model: the libraries are not the model's memory."""
    import models.artifacts

    if family == ONNX:
        import models.onnx_family
    elif family == SKLEARN:
        import models.sklearn_family  # noqa: F401


def _rows(dimensions: int) -> pa.Table:
    texts = [f"{text} {n}".strip() for n in range(8) for text in _TEXTS]
    vectors = np.random.default_rng(_SEED).normal(size=(len(texts), dimensions))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns: dict[str, Any] = {
        "ticket_id": [f"{n:04d}" for n in range(len(texts))],
        "text": pa.array(texts, pa.string()),
        "embedding": as_lists(vectors.astype(np.float32)),
    }
    return pa.table(columns)


def main(folder: str, labels: str, megabytes: str) -> int:
    """Try a model; the exit code says whether it keeps the contract."""
    _import_libraries(family_of(Path(folder)))
    limit_memory(int(megabytes))
    try:
        found = trial(Path(folder), tuple(json.loads(labels)))
    except PlataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except MemoryError:
        sys.stderr.write(f"the model takes more than the {megabytes} MB it may have\n")
        return 1
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
