"""What is found in a text: a mention, and the words by which mentions are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

FECHA, MONTO, RADICADO = "fecha", "monto", "radicado"
LUGAR, ORGANIZACION = "lugar", "organizacion"
KINDS = (FECHA, MONTO, RADICADO, LUGAR, ORGANIZACION)


@dataclass(frozen=True, slots=True)
class Mention:
    """One place in a text, in characters from 0, the end not included.

    `value` is the mention in one form, None where it could not be told. `score` says how sure the
    pattern is that found it: set by hand, and calibrated on nothing.
    """

    kind: str
    start: int
    end: int
    text: str
    value: Mapping[str, object] | None
    score: float


class Lexicon(BaseModel):
    """The words of `entities.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    meses: list[str] = Field(min_length=12, max_length=12)
    dias: list[str] = Field(min_length=7, max_length=7)
    radicado: list[str] = Field(min_length=1)
    ajeno: list[str] = Field(min_length=1)
    lugar: list[str] = Field(min_length=1)
    organizacion: list[str] = Field(min_length=1)
    antes: list[str] = Field(min_length=1)
    sufijos: list[str] = Field(min_length=1)
    union: list[str] = Field(min_length=1)
    alias: dict[str, str]
    dudoso: list[str]
