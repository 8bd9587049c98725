"""A training set from the label ledger: what was known of a task at one moment, told apart by time.

A model learns from tickets of before a day and is judged on those of that day and later, as it will
be once it decides. Nothing that came to be known after the moment is read, so that the same moment
gives the same texts at any later time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.tables import LABELS, MESSAGES, TICKETS
from features.text import folded
from labeling.ledger import AUDIT
from lakehouse.control.runs import RunLog
from lakehouse.data.as_of import AsOf
from lakehouse.data.history import VersionedTableStore
from lakehouse.data.tables import TableStore
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from models.task import Task
from pipelines.answered import asked_text
from pipelines.labelled_texts import LabelledTexts, LabelsFile, read_labels, require_enough
from pipelines.past_tickets import NOW, past_tickets, silver_versions
from pipelines.standing_labels import standing_labels
from pipelines.training_set import HELD_OUT_SHARE, TrainingSet

WANTED_TO_JUDGE = 100
"""Drawn tickets the gates of a promotion ask for; at most half of all are kept aside for them."""
FEWEST_TO_JUDGE = 20
REFERENCE_TEXTS = 500

_READ = (LABELS, MESSAGES, TICKETS)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What was known at a moment: the versions of Silver's tables, and labels given by then."""

    as_of: datetime
    versions: Mapping[str, int | None]

    @classmethod
    def at(
        cls,
        as_of: str,
        tenant: TenantContext,
        *,
        store: VersionedTableStore,
        log: RunLog,
        now: datetime,
    ) -> Knowledge:
        """Read `now`, a day or a moment. Raises `InputError` where there were no tickets yet."""
        moment = now if as_of == NOW else AsOf.parse(as_of).moment
        if moment is None:
            msg = f"'{as_of}' is no moment; expected {NOW}, 2026-01-02 or 2026-01-02T15:30"
            raise InputError(msg)
        found = silver_versions(as_of, tenant, store=store, log=log)
        wanted = (str(contract.table) for contract in _READ)
        return cls(moment.astimezone(UTC), {name: found[name] for name in wanted})

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"as_of": self.as_of.isoformat(), "versions": dict(self.versions)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Knowledge:
        """Read what `as_dict` wrote."""
        return cls(datetime.fromisoformat(values["as_of"]), values["versions"])


@dataclass(frozen=True, slots=True)
class LedgerTexts:
    """A training set of the ledger, with the day from which tickets judge.

    `labels` counts the labels that stood, `fair` the drawn ones among those that judge.
    """

    given: TrainingSet
    since: date
    labels: int
    fair: int


def standing_at(
    task: str, tenant: TenantContext, store: TableStore, known: Knowledge
) -> pl.DataFrame:
    """Return the labels that stood of each ticket; see `standing_labels`."""
    at = known.versions[str(LABELS.table)]
    rows = standing_labels(task, tenant, store, as_of=known.as_of, at=at)
    found = pl.DataFrame(pl.from_arrow(rows))
    return found.clear() if at is None else found


def read_ledger(
    task: Task,
    tenant: TenantContext,
    store: TableStore,
    known: Knowledge,
    *,
    file: LabelsFile | None = None,
) -> LedgerTexts:
    """Gather what a model of the task is to learn from and be judged on, and check that it may.

    The labels of `file` are learned from besides; of a text that is in both, the ledger's counts.
    A held-out text that is also learned from is dropped. Raises `InputError` with what was found,
    what is expected and what to do where there is too little.
    """
    labels = standing_at(task.name, tenant, store, known)
    tickets = _asked(past_tickets(known.versions, tenant, store), task)
    labelled = labels.drop("day").join(tickets.filter(pl.col("asked") != ""), on="ticket_id")
    rows = labelled.filter(pl.col("label").is_in(task.labels)).sort("day", "ticket_id")
    since = _cut(rows, task, tenant)
    base = None if file is None else read_labels(file, task)
    parts = _Parts.of(rows, since, base)
    texts, truth, aside = parts.arrays(task)
    fair = len(parts.late.filter(reason=AUDIT))
    _require(truth[~aside], fair, task, tenant, since)
    learned = {folded(text) for text in texts[: int((~aside).sum())]}
    recent = tickets.filter(pl.col("day") >= since).sort("text_sha256", "ticket_id")
    reference = [text for text in recent["asked"] if text and folded(text) not in learned]
    source = f"{LABELS.table} of {tenant.tenant_id}"
    given = TrainingSet(
        texts=texts,
        truth=truth,
        aside=aside,
        name=source if file is None else f"{source} and {file.path.name}",
        digest=parts.digest(),
        split=f"as later in time: tickets of {since} and after",
        note="" if file is None else file.note,
        dropped={"unknown_label": len(labelled) - len(rows), **parts.dropped},
        origin=_origin(known, parts),
        reference=tuple(reference[:REFERENCE_TEXTS]),
        choose_apart=True,
    )
    return LedgerTexts(given, since, labels=len(labels), fair=fair)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is learned from, of a file and of the ledger, and what judges; no text is in two."""

    early: pl.DataFrame
    late: pl.DataFrame
    base: LabelledTexts | None
    of_base: tuple[int, ...]
    dropped: Mapping[str, int]

    @classmethod
    def of(cls, rows: pl.DataFrame, since: date, base: LabelledTexts | None) -> _Parts:
        """Tell rows apart by their day; of a text said twice the first one is kept."""
        rows = rows.with_columns(
            pl.Series("folded", [folded(text) for text in rows["asked"]], dtype=pl.String)
        )
        early = rows.filter(pl.col("day") < since)
        late = rows.filter(pl.col("day") >= since)
        in_base = () if base is None else tuple(folded(text) for text in base.texts)
        seen = pl.col("folded").is_in({*early["folded"], *in_base})
        unseen = late.filter(~seen)
        first, judging = _once(early), _once(unseen)
        known = set(early["folded"])
        of_base = tuple(place for place, text in enumerate(in_base) if text not in known)
        dropped = {
            "repeated": len(early) + len(unseen) - len(first) - len(judging),
            "seen_in_training": len(late) - len(unseen),
        }
        if base is not None:
            dropped["repeated"] += base.repeated
            dropped |= {"blank": base.blank, "in_the_ledger": len(in_base) - len(of_base)}
        return cls(first, judging, base, of_base, dropped)

    def arrays(self, task: Task) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.bool_]]:
        """Return texts, the positions of their labels, and which of them judge: the last ones."""
        places = {label: place for place, label in enumerate(task.labels)}
        texts = [] if self.base is None else [self.base.texts[place] for place in self.of_base]
        truth = [] if self.base is None else [int(self.base.truth[place]) for place in self.of_base]
        for rows in (self.early, self.late):
            texts += rows["asked"].to_list()
            truth += [places[label] for label in rows["label"]]
        aside = np.arange(len(texts)) >= len(texts) - len(self.late)
        return tuple(texts), np.array(truth, np.int64), aside

    def digest(self) -> str:
        """Name the labels that are used, by the facts they come from."""
        facts = sorted([*self.early["label_id"], *self.late["label_id"]])
        parts = [*facts, "" if self.base is None else self.base.sha256]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _once(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.unique("folded", keep="first", maintain_order=True)


def _asked(tickets: pl.DataFrame, task: Task) -> pl.DataFrame:
    """Add what the task's model reads of each ticket."""
    asked = asked_text(tickets.to_arrow(), task.text_field).to_pylist()
    return tickets.with_columns(pl.Series("asked", asked, dtype=pl.String).fill_null(""))


def _cut(rows: pl.DataFrame, task: Task, tenant: TenantContext) -> date:
    """Choose the day from which tickets judge: so that about as many drawn ones do as are wanted.

    That is a quarter of them, and where that is less than the gates ask for, up to half.
    """
    fair = rows.filter(reason=AUDIT)
    wanted = max(HELD_OUT_SHARE * len(fair), min(WANTED_TO_JUDGE, len(fair) / 2))
    from_then: dict[date, int] = {}
    for day in rows["day"].unique().sort()[1:]:
        from_then[day] = len(fair.filter(pl.col("day") >= day))
    if not from_then or not len(fair):
        days = rows["day"].n_unique()
        msg = (
            f"the ledger of '{tenant.tenant_id}' has {len(rows)} labels of task '{task.name}' on "
            f"tickets of {days} {'day' if days == 1 else 'days'}, {len(fair)} of them drawn for "
            f"audit; a model is judged on drawn tickets of later days than it learned from, at "
            f"least {FEWEST_TO_JUDGE}. {_LABEL_MORE.format(tenant=tenant.tenant_id)}"
        )
        raise InputError(msg)
    return min(from_then, key=lambda day: (abs(from_then[day] - wanted), day))


_LABEL_MORE = (
    "Have more labelled (`plata review push --tenant {tenant}`, `plata review pull --tenant "
    "{tenant}`)"
)


def _require(
    learned: NDArray[np.int64], fair: int, task: Task, tenant: TenantContext, since: date
) -> None:
    more = _LABEL_MORE.format(tenant=tenant.tenant_id)
    source = f"what '{tenant.tenant_id}' has to learn from for '{task.name}', before {since},"
    remedy = f"{more[0].lower()}{more[1:]}, or add labels of a file with --labels"
    require_enough(learned, task, source, remedy)
    if fair < FEWEST_TO_JUDGE:
        msg = (
            f"of the tickets since {since} that '{tenant.tenant_id}' drew for audit, {fair} have a "
            f"label of task '{task.name}' and are not learned from; at least {FEWEST_TO_JUDGE} are "
            f"needed to judge a model fairly. {more}, or raise audit_share"
        )
        raise InputError(msg)


def _origin(known: Knowledge, parts: _Parts) -> dict[str, str]:
    """Say what a card and the registry tell of where the texts came from."""
    found = {"as_of": known.as_of.isoformat()}
    found["labelled_by_people"] = str(len(parts.early) + len(parts.late))
    found |= {f"version_of_{name}": str(version) for name, version in known.versions.items()}
    return found if parts.base is None else {**found, "labels_file_sha256": parts.base.sha256}
