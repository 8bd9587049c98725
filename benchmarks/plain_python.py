"""The peer: Raw to Gold as one writes it from the domain's description, in plain Python and JSONL.

    python -m benchmarks.plain_python EVENTS.jsonl FOLDER [--lean]

Standard library only, but for the holidays. Bronze checks every line and writes rows and
quarantine; Silver groups what it wrote into tickets, runs the state machine and writes its tables;
the rules answer each ticket's type and priority; Gold counts the figures. Every layer is JSON
lines, and all of a layer is in memory at once, so memory grows with the file. Prints seconds a
step, processor time and peak memory as JSON.

A run that can be trusted has more to do, and does it: it says where each line begins and what its
hash is, judges every table by the domain's checks before it is written, compares Gold with Silver,
and writes a manifest with the hash of the file it read and of each table it wrote. `--lean` leaves
that out, and with it the measures of Gold beyond counts and means.
"""

from __future__ import annotations

import hashlib
import json
import re
import statistics
import sys
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import holidays

from benchmarks.memory import own_peak

Row = dict[str, Any]
Seconds = dict[str, float]

TERMS = {"peticion": 15, "queja": 10, "reclamo": 8, "sugerencia": 20}
TYPES = {"P": "peticion", "Q": "queja", "R": "reclamo", "S": "sugerencia"}
PRIORITIES = {"alta", "media", "baja"}
CHANNELS = {"email", "webform", "chat", "call", "other_digital"}
TRANSITIONS = {
    ("RECEIVED", "RADICATED"),
    ("RADICATED", "CLASSIFIED"),
    ("CLASSIFIED", "ASSIGNED"),
    ("ASSIGNED", "IN_PROGRESS"),
    ("IN_PROGRESS", "RESPONDED"),
    ("RESPONDED", "CLOSED"),
    ("CLOSED", "ARCHIVED"),
    ("IN_PROGRESS", "ON_HOLD"),
    ("ON_HOLD", "IN_PROGRESS"),
    ("CLOSED", "REOPENED"),
    ("REOPENED", "IN_PROGRESS"),
}
STATES = {state for pair in TRANSITIONS for state in pair}
TERMINAL = {"CLOSED", "ARCHIVED"}
CLOCK_RUNS = {"RADICATED", "CLASSIFIED", "ASSIGNED", "IN_PROGRESS", "RESPONDED", "REOPENED"}
KEYWORDS = {
    "tipo": {
        "peticion": ["solicito", "solicitud", "requiero", "informacion", "certificacion"],
        "queja": ["queja", "maltrato", "funcionario", "irrespeto"],
        "reclamo": ["reclamo", "incumplimiento", "cobro", "factura", "error"],
        "sugerencia": ["sugiero", "propuesta", "mejorar", "idea"],
    },
    "prioridad": {
        "alta": ["urgente", "riesgo", "fraude", "tutela"],
        "media": ["pronto", "reitero", "molestia"],
        "baja": ["informativo", "sugerencia"],
    },
}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
DAY = 86_400
BOGOTA = timedelta(hours=-5)


@dataclass(frozen=True)
class Rules:
    """What the rows of a table have to keep."""

    key: tuple[str, ...]
    filled: tuple[str, ...] = ()
    allowed: dict[str, set[str]] = field(default_factory=dict)
    least: dict[str, float] = field(default_factory=dict)


EVENT = ("event_id", "ticket_id", "ts", "day")
KINDS = set(TYPES.values()) | {"sin_tipo"}
RULES = {
    "pqrs_events": Rules(
        ("event_id",),
        (*EVENT, "event_type", "raw_file", "raw_line", "raw_offset", "content_hash"),
        {
            "source_channel": CHANNELS,
            "pqrs_code": set(TYPES),
            "priority": PRIORITIES,
            "role": {"citizen", "agent"},
            "status_from": STATES,
            "status_to": STATES,
            "actor_role": {"system", "agent"},
        },
        {"raw_line": 1, "raw_offset": 0, "text_len": 1, "size_kb": 0},
    ),
    "quarantine": Rules(("raw_line",), ("raw_line", "raw_offset", "content_hash", "reason")),
    "tickets": Rules(
        ("ticket_id",),
        (*EVENT, "created_at", "external_id", "source_channel"),
        {"source_channel": CHANNELS, "pqrs_type": set(TYPES.values()), "priority": PRIORITIES},
    ),
    "messages": Rules(
        ("event_id",), (*EVENT, "role", "text"), {"role": {"citizen", "agent"}}, {"text_len": 1}
    ),
    "attachments": Rules(
        ("event_id",), (*EVENT, "file_type"), {"source_channel": CHANNELS}, {"size_kb": 0}
    ),
    "status_events": Rules(
        ("event_id",),
        (*EVENT, "status_from", "status_to"),
        {"status_from": STATES, "status_to": STATES, "actor_role": {"system", "agent"}},
    ),
    "status_quarantine": Rules(("event_id",), (*EVENT, "rule")),
    "kpi_volume_daily": Rules(
        ("day", "source_channel", "pqrs_type"), (), {"pqrs_type": KINDS}, {"tickets": 0}
    ),
    "kpi_backlog_daily": Rules(
        ("day", "pqrs_type", "geo_region"), (), {"pqrs_type": KINDS}, {"open_tickets": 0}
    ),
    "kpi_sla_daily": Rules(
        ("day", "pqrs_type"), (), {"pqrs_type": KINDS}, {"settled": 0, "within": 0, "overdue": 0}
    ),
    "kpi_first_response_daily": Rules(
        ("day", "pqrs_type"), (), {"pqrs_type": KINDS}, {"tickets": 0, "mean_days": 0}
    ),
    "kpi_close_time_daily": Rules(
        ("day", "pqrs_type"), (), {"pqrs_type": KINDS}, {"tickets": 0, "mean_days": 0}
    ),
    "tickets_snapshot": Rules(
        ("ticket_id",),
        ("ticket_id", "day", "state", "is_open"),
        {"state": STATES},
        {"elapsed_days": 0, "overdue_days": 0},
    ),
    "status_flow": Rules(
        ("day", "status_from", "status_to"),
        (),
        {"status_from": STATES, "status_to": STATES},
        {"changes": 0},
    ),
}


class BrokenError(ValueError):
    """What is wrong with a line."""


def _require(good: bool, reason: str) -> None:
    if not good:
        raise BrokenError(reason)


def _text(data: Row, name: str, *, required: bool = False) -> str | None:
    value = data.get(name)
    if value is None and not required:
        return None
    _require(isinstance(value, str) and (value != "" or not required), f"data.{name}")
    return str(value)


def _one_of(data: Row, name: str, known: Iterable[str], *, required: bool = False) -> str | None:
    value = data.get(name)
    if value is None and not required:
        return None
    _require(isinstance(value, str) and value in known, f"data.{name}")
    return str(value)


def _ticket(data: Row) -> Row:
    code = _one_of(data, "pqrs_type", TYPES)
    return {
        "external_id": _text(data, "external_id", required=True),
        "source_channel": _one_of(data, "source_channel", CHANNELS, required=True),
        "pqrs_code": code,
        "priority": _one_of(data, "priority", PRIORITIES),
        "geo_region": _text(data, "geo_region"),
        "geo_municipio": _text(data, "geo_municipio"),
        "dane_city_code": _text(data, "dane_city_code"),
        "subject": _text(data, "subject"),
    }


def _message(data: Row) -> Row:
    text = _text(data, "text", required=True) or ""
    _require(bool(text.strip()), "data.text is blank")
    length = data.get("text_len")
    _require(length is None or (isinstance(length, int) and length >= 0), "data.text_len")
    role = _one_of(data, "role", ("citizen", "agent"), required=True)
    return {"role": role, "text": text, "text_len": len(text)}


def _status(data: Row) -> Row:
    return {
        "status_from": _one_of(data, "status_from", STATES, required=True),
        "status_to": _one_of(data, "status_to", STATES, required=True),
        "actor_role": _one_of(data, "actor_role", ("system", "agent")),
        "reason": _text(data, "reason"),
    }


def _attachment(data: Row) -> Row:
    size = data.get("size_kb")
    good = isinstance(size, int | float) and not isinstance(size, bool) and size >= 0
    _require(good, "data.size_kb")
    return {
        "file_type": _text(data, "file_type", required=True),
        "size_kb": float(size or 0),
        "source_channel": _one_of(data, "source_channel", CHANNELS),
    }


READERS = {
    "TICKET_CREATED": _ticket,
    "MESSAGE_ADDED": _message,
    "STATUS_CHANGED": _status,
    "ATTACHMENT_ADDED": _attachment,
}


def read_event(line: bytes, tenant: str, latest: datetime) -> Row:
    """Check one line against the Raw contract. Raises `BrokenError`."""
    try:
        event = json.loads(line)
    except ValueError:
        raise BrokenError("not JSON") from None
    _require(isinstance(event, dict), "not an object")
    for name in ("event_id", "ticket_id"):
        value = event.get(name)
        _require(isinstance(value, str) and UUID.fullmatch(value) is not None, name)
    kind = event.get("event_type")
    _require(kind in READERS, "event_type")
    _require(event.get("schema_version", "1") == "1", "schema_version")
    _require(event.get("tenant_id") in (None, tenant), "tenant_id")
    try:
        ts = datetime.fromisoformat(event.get("ts"))
    except (TypeError, ValueError):
        raise BrokenError("ts") from None
    _require(ts.tzinfo is not None and EARLIEST <= ts <= latest, "ts")
    _require(isinstance(event.get("data"), dict), "data")
    return {
        "event_id": event["event_id"],
        "ticket_id": event["ticket_id"],
        "event_type": kind,
        "ts": ts.astimezone(UTC).isoformat(),
        "day": ts.astimezone(UTC).date().isoformat(),
        "schema_version": "1",
        **READERS[kind](event["data"]),
    }


class Calendar:
    """Business time of Colombia, in seconds."""

    def __init__(self, first: date, last: date) -> None:
        free = holidays.country_holidays("CO", years=range(first.year, last.year + 1))
        self._passed: dict[date, tuple[int, bool]] = {}
        passed, day = 0, first
        while day <= last:
            is_open = day.weekday() < 5 and day not in free
            self._passed[day] = (passed, is_open)
            passed += DAY if is_open else 0
            day += timedelta(days=1)

    def at(self, moment: datetime) -> int:
        """Return the business seconds that had passed."""
        local = moment + BOGOTA
        passed, is_open = self._passed[local.date()]
        inside = local.hour * 3600 + local.minute * 60 + local.second if is_open else 0
        return passed + inside


class Pipeline:
    """One file from Raw to Gold."""

    def __init__(self, events: Path, folder: Path, *, lean: bool = False) -> None:
        self._events = events
        self._folder = folder
        self._lean = lean
        self._results: list[Row] = []
        self._contents: dict[str, str] = {}
        self._raw = ""
        self._tenant = "norte"
        self._run = f"run-{int(time.time())}"
        self.counts: Counter[str] = Counter()

    def run(self) -> Seconds:
        """Perform every step; return the seconds of each."""
        took: Seconds = {}
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, step in (
            ("bronze", self._bronze),
            ("silver", self._silver),
            ("rules", self._rules),
            ("gold", self._gold),
            ("plan, manifest", self._manifest),
        ):
            began = time.perf_counter()
            step()
            took[name] = time.perf_counter() - began
        return took

    def _write(self, name: str, rows: Iterable[Row]) -> None:
        if not self._lean and name in RULES:
            rows = list(rows)
            self._judge(name, rows, RULES[name])
        content = 0
        with (self._folder / f"{name}.jsonl").open("w", encoding="utf-8") as sink:
            for row in rows:
                fenced = {"tenant_id": self._tenant, "run_id": self._run, **row}
                line = json.dumps(fenced, ensure_ascii=False) + "\n"
                sink.write(line)
                self.counts[name] += 1
                if not self._lean:  # a sum, so that the order of rows makes no difference
                    content += int.from_bytes(hashlib.sha256(line.encode()).digest()[:16], "big")
        self._contents[name] = f"{content % 2**128:032x}"

    def _judge(self, name: str, rows: list[Row], rules: Rules) -> None:
        """Check a table before it is written. Raises where it breaks a rule."""
        empty, foreign, below = 0, 0, 0
        keys = set()
        for row in rows:
            for column in rules.filled:
                if row.get(column) is None:
                    empty += 1
            for column, allowed in rules.allowed.items():
                value = row.get(column)
                if value is not None and value not in allowed:
                    foreign += 1
            for column, least in rules.least.items():
                value = row.get(column)
                if value is not None and value < least:
                    below += 1
            keys.add(tuple(row.get(column) for column in rules.key))
        found = {
            "required values filled": empty,
            "values allowed": foreign,
            "values in range": below,
            "key unique": len(rows) - len(keys),
        }
        self._record(name, found)

    def _record(self, name: str, found: dict[str, int]) -> None:
        """Keep the results of checks, each the number of rows that fail it."""
        self._results += [
            {"table": name, "check": check, "observed": count, "passed": count == 0}
            for check, count in found.items()
        ]
        failed = [check for check, count in found.items() if count]
        if failed:
            raise RuntimeError(f"{name}: {', '.join(failed)}")

    def _manifest(self) -> None:
        """Say what was read and written, and what the checks found."""
        if self._lean:
            return
        manifest = {
            "run_id": self._run,
            "python": sys.version,
            "files": [{"path": self._events.name, "sha256": self._raw}],
            "counts": dict(self.counts),
            "contents": self._contents,
            "quality": self._results,
        }
        text = json.dumps(manifest, ensure_ascii=False, indent=2)
        (self._folder / "manifest.json").write_text(text, encoding="utf-8")

    def _bronze(self) -> None:
        seen: set[str] = set()
        good, bad = [], []
        latest = datetime.now(UTC) + timedelta(days=1)
        raw, offset = hashlib.sha256(), 0
        with self._events.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                place: Row = {"raw_file": self._events.name, "raw_line": number}
                if not self._lean:
                    raw.update(line)
                    digest = hashlib.sha256(line.rstrip(b"\n")).hexdigest()[:32]
                    place |= {"raw_offset": offset, "content_hash": digest}
                    offset += len(line)
                if line.isspace():
                    continue
                try:
                    row = read_event(line, self._tenant, latest)
                    _require(row["event_id"] not in seen, "duplicate event_id")
                except BrokenError as error:
                    bad.append({**place, "reason": str(error)})
                    continue
                seen.add(row["event_id"])
                good.append({**row, **place})
        self._raw = raw.hexdigest()
        self._write("pqrs_events", good)
        self._write("quarantine", bad)

    def _silver(self) -> None:
        by_kind: dict[str, list[Row]] = defaultdict(list)
        with (self._folder / "pqrs_events.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                by_kind[row["event_type"]].append(row)
        self._tickets: dict[str, Row] = {}
        for row in by_kind["TICKET_CREATED"]:
            code = row.pop("pqrs_code")
            ticket = {**row, "created_at": row["ts"], "pqrs_type": TYPES.get(code or "")}
            self._tickets.setdefault(row["ticket_id"], ticket)
        self._messages = sorted(by_kind["MESSAGE_ADDED"], key=lambda row: row["ts"])
        self._changes = self._valid(by_kind["STATUS_CHANGED"])
        self._write("tickets", self._tickets.values())
        self._write("messages", self._messages)
        self._write("attachments", by_kind["ATTACHMENT_ADDED"])
        self._write("status_events", (row for rows in self._changes.values() for row in rows))

    def _valid(self, changes: list[Row]) -> dict[str, list[Row]]:
        by_ticket: dict[str, list[Row]] = defaultdict(list)
        for row in changes:
            by_ticket[row["ticket_id"]].append(row)
        wrong = []
        for ticket, rows in by_ticket.items():
            rows.sort(key=lambda row: row["ts"])
            state, kept = "RECEIVED", []
            for row in rows:
                pair = (row["status_from"], row["status_to"])
                if pair in TRANSITIONS and row["status_from"] == state:
                    state = row["status_to"]
                    kept.append(row)
                else:
                    wrong.append({**row, "rule": f"{pair[0]} to {pair[1]} from {state}"})
            by_ticket[ticket] = kept
        self._write("status_quarantine", wrong)
        return by_ticket

    def _rules(self) -> None:
        first: dict[str, str] = {}
        for message in self._messages:
            if message["role"] == "citizen":
                first.setdefault(message["ticket_id"], message["text"])
        answers = []
        for ticket, text in first.items():
            plain = unicodedata.normalize("NFD", text.lower())
            words = Counter(re.findall(r"[a-z]+", re.sub(r"[\u0300-\u036f]", "", plain)))
            for task, labels in KEYWORDS.items():
                hits = {label: sum(words[w] for w in wanted) for label, wanted in labels.items()}
                total = sum(hits.values())
                best = max(hits, key=lambda label: hits[label])
                score = hits[best] / total if total else 0.0
                answers.append(
                    {"ticket_id": ticket, "task": task, "predicted_label": best, "score": score}
                )
        self._write("classifications", answers)

    def _gold(self) -> None:
        tickets = self._tickets
        moments = {
            row["event_id"]: datetime.fromisoformat(row["ts"])
            for rows in self._changes.values()
            for row in rows
        }
        created = {key: datetime.fromisoformat(row["created_at"]) for key, row in tickets.items()}
        if not created:
            return
        ends = [*moments.values(), *created.values()]
        calendar = Calendar(min(ends).date() - timedelta(days=1), max(ends).date())
        self._answered: dict[str, str] = {}
        for message in () if self._lean else self._messages:
            if message["role"] == "agent":
                self._answered.setdefault(message["ticket_id"], message["ts"])
        self._volume()
        self._backlog(moments)
        self._sla(calendar, moments, max(ends))
        self._first_response(calendar, created)
        self._close_time(calendar, created, moments)
        self._flow(calendar, created, moments)

    def _volume(self) -> None:
        counted = Counter(
            (row["day"], row["source_channel"], row["pqrs_type"] or "sin_tipo")
            for row in self._tickets.values()
        )
        if counted.total() != len(self._tickets):
            raise RuntimeError("volume does not agree with Silver")
        self._write(
            "kpi_volume_daily",
            (
                {"day": day, "source_channel": channel, "pqrs_type": kind, "tickets": count}
                for (day, channel, kind), count in sorted(counted.items())
            ),
        )

    def _backlog(self, moments: dict[str, datetime]) -> None:
        changes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for ticket, row in self._tickets.items():
            key = (row["pqrs_type"] or "sin_tipo", row["geo_region"] or "sin_region")
            changes[key][row["day"]] += 1
            closed = False
            for change in self._changes.get(ticket, ()):
                ends = change["status_to"] in TERMINAL
                if ends != closed:
                    changes[key][change["day"]] += -1 if ends else 1
                    closed = ends
        days = {day for counts in changes.values() for day in counts}
        first, last = date.fromisoformat(min(days)), date.fromisoformat(max(days))
        rows = []
        for (kind, region), counts in sorted(changes.items()):
            held, day = 0, first
            while day <= last:
                held += counts[day.isoformat()]
                if held:
                    rows.append(
                        {
                            "day": day.isoformat(),
                            "pqrs_type": kind,
                            "geo_region": region,
                            "open_tickets": held,
                        }
                    )
                day += timedelta(days=1)
        self._write("kpi_backlog_daily", rows)

    def _sla(self, calendar: Calendar, moments: dict[str, datetime], now: datetime) -> None:
        settled: dict[tuple[str, str], list[float]] = defaultdict(list)
        snapshot = []
        for ticket, row in self._tickets.items():
            elapsed, begun, state, until = 0, 0, "RECEIVED", now
            for change in self._changes.get(ticket, ()):
                moment = moments[change["event_id"]]
                at = calendar.at(moment)
                if state in CLOCK_RUNS:
                    elapsed += at - begun
                begun, state, until = at, change["status_to"], moment
            if state in CLOCK_RUNS:
                elapsed += calendar.at(now) - begun
            over = elapsed / DAY - TERMS.get(row["pqrs_type"], 10**6)
            if state in TERMINAL or over > 0:
                day = until.date().isoformat()
                settled[day, row["pqrs_type"] or "sin_tipo"].append(over)
            told = {
                "ticket_id": ticket,
                "day": row["day"],
                "pqrs_type": row["pqrs_type"],
                "source_channel": row["source_channel"],
                "geo_region": row["geo_region"],
                "state": state,
                "elapsed_days": elapsed / DAY,
                "overdue": over > 0,
            }
            snapshot.append(told if self._lean else {**told, **self._standing(ticket, state, over)})
        self._write("tickets_snapshot", snapshot)
        self._write(
            "kpi_sla_daily",
            (
                {
                    "day": day,
                    "pqrs_type": kind,
                    "settled": len(overs),
                    "within": sum(days <= 0 for days in overs),
                    "within_share": sum(days <= 0 for days in overs) / len(overs),
                    "overdue": sum(days > 0 for days in overs),
                    "mean_overdue_days": _mean([days for days in overs if days > 0]),
                }
                for (day, kind), overs in sorted(settled.items())
            ),
        )
        if not self._lean:
            late = sum(row["overdue"] for row in snapshot)
            overdue = sum(days > 0 for overs in settled.values() for days in overs)
            self._record("kpi_sla_daily", {"overdue agree with the snapshot": overdue - late})
            missing = len(snapshot) - len(self._tickets)
            self._record("tickets_snapshot", {"one row a ticket of Silver": missing})

    def _standing(self, ticket: str, state: str, over: float) -> Row:
        """Say of a ticket when it was radicated, answered, closed and reopened."""
        row, changes = self._tickets[ticket], self._changes.get(ticket, [])
        answers = [change["ts"] for change in changes if change["status_to"] == "RESPONDED"]
        if ticket in self._answered:
            answers.append(self._answered[ticket])
        closings = [change["ts"] for change in changes if change["status_to"] == "CLOSED"]
        is_open = state not in TERMINAL
        return {
            "priority": row["priority"],
            "geo_municipio": row["geo_municipio"],
            "dane_city_code": row["dane_city_code"],
            "is_open": is_open,
            "created_at": row["created_at"],
            "radicated_at": changes[0]["ts"] if changes else None,
            "first_response_at": min(answers, default=None),
            "closed_at": closings[-1] if closings and not is_open else None,
            "state_since": changes[-1]["ts"] if changes else row["created_at"],
            "reopened": sum(change["status_to"] == "REOPENED" for change in changes),
            "sla_term_days": TERMS.get(row["pqrs_type"]),
            "overdue_days": max(over, 0.0),
        }

    def _first_response(self, calendar: Calendar, created: dict[str, datetime]) -> None:
        waited: dict[tuple[str, str], list[float]] = defaultdict(list)
        answered = set()
        for message in self._messages:
            ticket = message["ticket_id"]
            if message["role"] != "agent" or ticket in answered or ticket not in created:
                continue
            answered.add(ticket)
            passed = calendar.at(datetime.fromisoformat(message["ts"]))
            kind = self._tickets[ticket]["pqrs_type"] or "sin_tipo"
            waited[message["day"], kind].append((passed - calendar.at(created[ticket])) / DAY)
        self._write("kpi_first_response_daily", _means(waited, lean=self._lean))

    def _close_time(
        self, calendar: Calendar, created: dict[str, datetime], moments: dict[str, datetime]
    ) -> None:
        took: dict[tuple[str, str], list[float]] = defaultdict(list)
        for ticket, rows in self._changes.items():
            closings = [row for row in rows if row["status_to"] == "CLOSED"]
            if closings and ticket in created:
                passed = calendar.at(moments[closings[-1]["event_id"]])
                kind = self._tickets[ticket]["pqrs_type"] or "sin_tipo"
                days = (passed - calendar.at(created[ticket])) / DAY
                took[closings[-1]["day"], kind].append(days)
        self._write("kpi_close_time_daily", _means(took, lean=self._lean))

    def _flow(
        self, calendar: Calendar, created: dict[str, datetime], moments: dict[str, datetime]
    ) -> None:
        spent: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for ticket, rows in self._changes.items():
            since = created.get(ticket)
            for row in rows:
                waited = spent[row["day"], row["status_from"], row["status_to"]]
                moment = moments[row["event_id"]]
                if self._lean or since is None:
                    waited.append(0.0)
                else:
                    waited.append(max(calendar.at(moment) - calendar.at(since), 0) / DAY)
                since = moment
        found = [
            {"day": day, "status_from": before, "status_to": after, "changes": len(waited)}
            | ({} if self._lean else {"mean_days": _mean(waited)})
            for (day, before, after), waited in sorted(spent.items())
        ]
        if not self._lean:
            there = sum(len(rows) for rows in self._changes.values())
            counted = sum(len(waited) for waited in spent.values())
            self._record("status_flow", {"changes agree with Silver": there - counted})
        self._write("status_flow", found)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _means(found: dict[tuple[str, str], list[float]], *, lean: bool) -> Iterable[Row]:
    for (day, kind), values in sorted(found.items()):
        row = {"day": day, "pqrs_type": kind, "tickets": len(values), "mean_days": _mean(values)}
        yield row if lean else {**row, **_quantiles(values)}


def _quantiles(values: list[float]) -> Row:
    most = values[0]
    if len(values) > 1:
        most = statistics.quantiles(values, n=10, method="inclusive")[-1]
    return {"median_days": statistics.median(values), "p90_days": most}


def main(arguments: list[str]) -> None:
    """Run one file; print what it took."""
    lean = "--lean" in arguments
    events, folder = (Path(argument) for argument in arguments if argument != "--lean")
    pipeline = Pipeline(events, folder, lean=lean)
    began = time.process_time()
    seconds = pipeline.run()
    spent = time.process_time() - began
    print(json.dumps({"seconds": seconds, "cpu": spent, "memory": own_peak()}))


if __name__ == "__main__":
    main(sys.argv[1:])
