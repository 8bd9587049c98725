"""Lineage as a tree, in the operators' words; rows are named, a citizen's text is never shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from shlex import quote
from typing import Any, TypeVar

from rich.text import Text
from rich.tree import Tree

from contracts.tables import NO_PROMPT
from pipelines.lineage import Explanation, Number
from pipelines.lineage_forward import Effect, Fate, Footprint, TouchedNumber
from pipelines.lineage_runs import Edge, RunLineage
from pipelines.lineage_walk import Answer, EventTrace, HumanLabel, RawLine

_Row = TypeVar("_Row")


_NO_PROMPT = f"{NO_PROMPT}/{NO_PROMPT}"


class _Shown:
    """What one tree shows: how many rows of a list, and the files of Raw by a short name."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.files: dict[str, RawLine] = {}

    def place(self, raw: RawLine) -> str:
        """Name a line as `F1:12`; the file is told whole in the legend."""
        self.files.setdefault(raw.address, raw)
        return f"F{list(self.files).index(raw.address) + 1}:{raw.line}"

    def legend(self) -> str:
        """Tell each file, and the command that prints its first line shown, broken nowhere."""
        told = []
        for number, (address, raw) in enumerate(self.files.items(), start=1):
            printed = f"sed -n '{raw.line}p' {quote(address)}"
            told += [f"F{number} = {raw.path}", f"     {address if '://' in address else printed}"]
        return "".join(f"{line}\n" for line in told)


def number_tree(found: Explanation, *, limit: int | None) -> tuple[Tree, str]:
    """Draw a number, its tickets and below each its way down to Raw; and the legend of files."""
    shown = _Shown(limit)
    total = sum(number.value for number in found.numbers)
    root = _tree(f"{found.table} = {total}")
    root.add(_line(f"contado por {found.run_id} ({found.code_version})"))
    root.add(_line(f"de {_versions(found.counted_from)}"))
    if "bundle" in found.pins:
        root.add(_line(f"paquete de la corrida {found.pins['bundle']}"))
    if found.open_keys:
        root.add(_line(f"varias filas coinciden; acote con {_choices(found.open_keys)}"))
    for number in found.numbers:
        branch = root.add(_line(f"{_key(number.key)}: {number.measure} = {number.value}"))
        _tickets(branch, number, found, shown)
    return root, shown.legend()


def footprint_tree(found: Footprint, *, limit: int | None) -> tuple[Tree, str]:
    """Draw what a line became and all that rests on it; and the legend of files."""
    shown = _Shown(limit)
    root = _tree(found.wanted)
    if found.fate is Fate.WAITING:
        root.add(_line("espera en Raw: ninguna corrida la ha llevado a Bronze"))
    if found.fate is Fate.BLANK:
        root.add(_line("línea en blanco: no es un evento"))
    for refusal in found.refusals:
        place = shown.place(refusal.raw)
        root.add(_line(f"en cuarentena desde {refusal.run_id}: {refusal.reason} ← {place}"))
    for event in _some(root, found.events, limit):
        root.add(_line(_event(event, shown)))
    if found.answers:
        branch = root.add(_line(f"clasificaciones ({len(found.answers)})"))
        for answer in _some(branch, found.answers, limit):
            branch.add(_line(_answer(answer)))
    if found.labels:
        branch = root.add(_line(f"etiquetas humanas ({len(found.labels)})"))
        for label in _some(branch, found.labels, limit):
            branch.add(_line(_label(label)))
    for vector in _some(root, found.vectors, limit):
        root.add(_line(f"vector en {vector.space_id} de {vector.model}, corrida {vector.run_id}"))
    if found.fate is Fate.ROW:
        _numbers(root, found.numbers, limit)
    return root, shown.legend()


def run_tree(found: RunLineage) -> tuple[Tree, str]:
    """Draw a run's files, its edges step by step, and what it pinned."""
    root = _tree(f"{found.run_id} ({found.kind}, {found.status}, {found.code_version})")
    for file in found.files:
        root.add(_line(f"{file['path']}: {file['events']} eventos, SHA-256 {file['sha256'][:12]}…"))
    steps: dict[str, dict[str, list[Edge]]] = {}
    for edge in found.edges:
        steps.setdefault(edge.step, {}).setdefault(edge.target, []).append(edge)
    for step, targets in steps.items():
        branch = root.add(_line(step))
        for target, edges in targets.items():
            version = _at(edges[0].target_version)
            rows = found.counts.get(target)
            counted = "" if rows is None else f", {rows} filas de esta corrida"
            sources = " · ".join(f"{edge.source}{_at(edge.source_version)}" for edge in edges)
            branch.add(_line(f"{target}{version} ← {sources}{counted}"))
    if found.pins:
        branch = root.add(_line("versiones fijadas"))
        for name, exact in found.pins.items():
            branch.add(_line(f"{name}: {exact}"))
    return root, ""


def _tickets(branch: Tree, number: Number, found: Explanation, shown: _Shown) -> None:
    times = Counter(number.tickets)
    for ticket in _some(branch, list(times), shown.limit):
        trace = found.tickets[ticket]
        often = f", cuenta {times[ticket]} veces" if times[ticket] > 1 else ""
        below = branch.add(_line(f"radicado {ticket}{often}"))
        for label in trace.labels:
            if label.stands:
                below.add(_line(f"etiqueta humana {_label(label)}"))
        for answer in trace.answers:
            below.add(_line(f"clasificación {_answer(answer)}"))
        for event in _some(below, trace.events, shown.limit):
            below.add(_line(_event(event, shown, known_run=found.run_id)))


def _event(event: EventTrace, shown: _Shown, known_run: str | None = None) -> str:
    """Write one event's way; runs are named where they are not the one of the number."""
    made = event.silver or "sin fila en Silver: el radicado ya estaba"
    by = "" if event.silver_run in (None, known_run) else f" de {event.silver_run}"
    broke = "" if event.rule is None else f", rompió la regla {event.rule},"
    bronze = "" if event.bronze_run == event.silver_run else f" de {event.bronze_run}"
    raw = "" if event.raw is None else f" ← {shown.place(event.raw)}"
    return f"{made}{by}{broke} ← {event.event_type} {event.event_id}{bronze}{raw}"


def _numbers(root: Tree, numbers: Sequence[TouchedNumber], limit: int | None) -> None:
    if not numbers:
        root.add(_line("no cuenta en ninguna cifra"))
    runs: dict[str, list[TouchedNumber]] = {}
    for number in numbers:
        runs.setdefault(number.run_id, []).append(number)
    for run_id, counted in runs.items():
        served = ", servidas ahora" if counted[0].served else ""
        branch = root.add(_line(f"cifras de {run_id}{served} ({len(counted)})"))
        tables: dict[str, list[TouchedNumber]] = {}
        for number in counted:
            tables.setdefault(number.table, []).append(number)
        for table, rows in tables.items():
            below = branch.add(_line(f"{table} ({len(rows)})"))
            for row in _some(below, rows, limit):
                without = ", sin el radicado" if row.effect is Effect.TAKEN_OUT else ""
                below.add(_line(f"{_key(row.key)}: {row.measure} = {row.value}{without}"))


def _some(branch: Tree, rows: Sequence[_Row], limit: int | None) -> Iterable[_Row]:
    """Yield the first rows, and say last how many were left out."""
    yield from rows[:limit]
    left = 0 if limit is None else len(rows) - limit
    if left > 0:
        branch.add(_line(f"y {left} más (--all las muestra)"))


def _answer(answer: Answer) -> str:
    prompt = "sin prompt" if answer.prompt == _NO_PROMPT else f"prompt {answer.prompt}"
    read = "" if answer.read_event is None else f" · leyó {answer.read_event}"
    return (
        f"{answer.task}={answer.label} {answer.score:.2f} {answer.decision} · "
        f"modelo {answer.model} · {prompt} · {answer.bundle_id} · {answer.run_id}{read}"
    )


def _label(label: HumanLabel) -> str:
    return (
        f"{label.task}={label.label} por {label.reviewer} el {_moment(label.at)}, "
        f"guía {label.guideline_version}, etiqueta {label.label_id[:12]}, corrida {label.run_id}"
    )


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _key(key: Mapping[str, Any]) -> str:
    return " · ".join(str(value) for value in key.values())


def _versions(versions: Mapping[str, int | None]) -> str:
    return " · ".join(
        f"{table} (aún sin filas)" if version is None else f"{table}@{version}"
        for table, version in versions.items()
    )


def _at(version: int | None) -> str:
    return "" if version is None else f"@{version}"


def _choices(open_keys: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name}: {', '.join(values)}" for name, values in open_keys.items())


def _tree(title: str) -> Tree:
    return Tree(Text(title, style="bold"))


def _line(text: str) -> Text:
    return Text(text)
