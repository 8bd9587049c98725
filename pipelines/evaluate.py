"""Evaluate a task's answers: on labels of a file and on people's, beside the champion's answers.

Only texts that neither model learned from are judged. What is found is shown in the registry and
kept for the gates of a promotion.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakehouse.compute.batches import Cluster
from lakehouse.control.evaluations import EvaluationLog, EvaluationRecord
from lakehouse.control.llm_ledger import LlmLedger
from lakehouse.data.tables import TableStore
from lakehouse.errors import InputError
from lakehouse.run import RunContext
from models.external import ONNX, SKLEARN
from models.folder import LLM, family_of, read_config
from models.gates import TaskMeasures
from models.judged import Judged, judged
from models.learned import LEARNED_FILE, Digests, read_learned
from models.learning_curve import CurvePoint, learning_curve
from models.task import Task
from pipelines.contest import Asking, counted_as_wrong, pins_of
from pipelines.enrich import ModelSteps
from pipelines.evaluation_page import as_markdown
from pipelines.judged_texts import (
    ALL_THERE_IS,
    HELD_OUT,
    JudgedTexts,
    Within,
    from_file,
    from_people,
)
from pipelines.labelled_texts import LabelsFile
from pipelines.tenant_config import CostConfig
from pipelines.train import Tell, say_nothing
from registry.bundles import Bundle
from registry.experiments import EvaluationRun, Experiments
from registry.refs import ModelRef, Registry

EVALUATE_KIND = "evaluate"
FEWEST_JUDGED = 20
"""Texts under which a set is not judged: any figure of so few would be believed too much."""

_TRAINED = frozenset({"linear", ONNX, SKLEARN})
"""Families that learned from labelled texts, ours or somebody's."""
_PER = 1_000
_HOUR = 3_600.0


@dataclass(frozen=True, slots=True)
class EvaluationPorts:
    """What an evaluation works with. `cluster` None computes in this process."""

    store: TableStore
    registry: Registry
    experiments: Experiments
    log: EvaluationLog
    models: ModelSteps
    cluster: Cluster | None = None
    ledger: LlmLedger | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be found out. `champion` is None where the challenger is to be judged alone.

    `file` and `people` say on which labels, `within` on which of people's; `curve` asks for the
    learning curve besides.
    """

    task: Task
    challenger: Bundle
    champion: Bundle | None
    file: LabelsFile | None = None
    people: bool = False
    within: Within = ALL_THERE_IS
    curve: bool = False
    price: CostConfig | None = None


@dataclass(frozen=True, slots=True)
class Effort:
    """What a thousand texts take: processor time, and money where there is a price."""

    seconds: float
    cost: float | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What was found. `left_out` counts by set and reason; `notes` say what a reader must know.

    `measures` are what gates read, None where there was no champion beside or no fair set.
    """

    evaluation_id: str
    task: str
    challenger: ModelRef
    champion: ModelRef | None
    bundle_id: str
    sets: tuple[Judged, ...]
    left_out: Mapping[str, Mapping[str, int]]
    unanswered: Mapping[str, int]
    notes: tuple[str, ...]
    effort: Effort
    champion_effort: Effort | None
    curve: tuple[CurvePoint, ...]
    measures: TaskMeasures | None

    @property
    def main(self) -> Judged:
        """The set the report is headed by: the first there is."""
        return self.sets[0]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "evaluation_id": self.evaluation_id,
            "task": self.task,
            "challenger": self.challenger.uri,
            "champion": None if self.champion is None else self.champion.uri,
            "bundle_id": self.bundle_id,
            "sets": [found.as_dict() for found in self.sets],
            "left_out": {name: dict(counts) for name, counts in self.left_out.items()},
            "unanswered": dict(self.unanswered),
            "notes": list(self.notes),
            "per_thousand": _effort_values(self.effort),
            "champion_per_thousand": None
            if self.champion_effort is None
            else _effort_values(self.champion_effort),
            "learning_curve": [
                {
                    "texts": point.texts,
                    "macro_f1": point.macro_f1,
                    "low": point.interval.low,
                    "high": point.interval.high,
                }
                for point in self.curve
            ],
            "measures": None if self.measures is None else self.measures.as_dict(),
        }

    def metrics(self) -> dict[str, float]:
        """Return the numbers by name: those of the main set, the others under their set's name."""
        found = dict(self.main.metrics())
        for other in self.sets[1:]:
            found |= {f"{other.name}/{name}": value for name, value in other.metrics().items()}
        found["seconds_per_thousand"] = self.effort.seconds
        if self.effort.cost is not None:
            found["cost_per_thousand"] = self.effort.cost
        return found


def evaluate_answers(
    question: Question, run: RunContext, ports: EvaluationPorts, *, tell: Tell = say_nothing
) -> tuple[EvaluationReport, str]:
    """Judge, show in the registry, keep; return what was found and the page where it is seen.

    Raises `InputError` where there is nothing fair to judge on.
    """
    question = _told_apart(question)
    tell("reading the labels", 0, 0)
    sets, notes = _fair_sets(question, run, ports)
    asking = Asking(run, ports.store, ports.registry, ports.models, ports.cluster)
    found: list[Judged] = []
    unanswered: dict[str, int] = {}
    for one in sets:
        answers = _answered(question.challenger, question.task, one, asking, tell)
        filled, unanswered[one.name] = counted_as_wrong(answers, one.truth)
        before = None
        if question.champion is not None:
            others = _answered(question.champion, question.task, one, asking, tell)
            before, _ = counted_as_wrong(others, one.truth)
        found.append(
            judged(
                one.name,
                one.truth,
                filled,
                before,
                labels=question.task.labels,
                slices=one.slices,
                seed=run.seed,
            )
        )
    tell("measuring processor time", 0, 0)
    texts = sets[0].texts
    effort = _effort(question.challenger, question, texts, asking, ports, run)
    champion_effort = (
        None
        if question.champion is None
        else _effort(question.champion, question, texts, asking, ports, run)
    )
    curve = _curve(question, sets, asking, tell) if question.curve else ()
    report = EvaluationReport(
        evaluation_id=run.run_id,
        task=question.task.name,
        challenger=pins_of(question.challenger, question.task.name).champion,
        champion=_champion(question),
        bundle_id=question.challenger.bundle_id,
        sets=tuple(found),
        left_out={one.name: one.left_out for one in sets},
        unanswered=unanswered,
        notes=tuple(notes),
        effort=effort,
        champion_effort=champion_effort,
        curve=curve,
        measures=_measures(question, found, effort, champion_effort),
    )
    tell("drawing and keeping what was found", 0, 0)
    page = _shown(report, question, sets, run, ports)
    ports.log.record(run.tenant, _record(report, question, page, run))
    return report, page


def _told_apart(question: Question) -> Question:
    """Judge alone a challenger that answers as the champion does: there is nothing to compare."""
    name, champion = question.task.name, question.champion
    if champion is None or champion.answers_id(name) != question.challenger.answers_id(name):
        return question
    return replace(question, champion=None)


def _fair_sets(
    question: Question, run: RunContext, ports: EvaluationPorts
) -> tuple[list[JudgedTexts], list[str]]:
    """Return the sets to judge on, without what either model learned from, and what to know."""
    notes: list[str] = []
    sets: list[JudgedTexts] = []
    if question.file is not None:
        sets.append(from_file(question.file, question.task))
    if question.people:
        sets += from_people(question.task, run.tenant, ports.store, question.within)
    sides = [("challenger", question.challenger)]
    if question.champion is not None:
        sides.append(("champion", question.champion))
    for side, bundle in sides:
        model = pins_of(bundle, question.task.name).champion
        digests = _learned_by(model, sets, ports.registry, notes)
        sets = [one.without(digests, f"learned by the {side}") for one in sets]
    kept = [one for one in sets if len(one.texts) >= FEWEST_JUDGED]
    few = [_too_few(one) for one in sets if len(one.texts) < FEWEST_JUDGED]
    if not kept:
        found = "; ".join(few) or f"nobody has labelled tickets of task '{question.task.name}' yet"
        msg = (
            f"there is nothing fair to judge on: {found}. At least {FEWEST_JUDGED} labelled texts "
            "are needed that neither model learned from; give others with --labels"
        )
        raise InputError(msg)
    return kept, [*notes, *few]


def _too_few(one: JudgedTexts) -> str:
    reasons = ", ".join(f"{n} {reason}" for reason, n in one.left_out.items() if n)
    found = f"'{one.name}' ({one.source}) has {len(one.texts)} texts to judge on"
    return f"{found}, left out: {reasons}" if reasons else found


def _learned_by(
    model: ModelRef, sets: Sequence[JudgedTexts], registry: Registry, notes: list[str]
) -> Digests | None:
    """Return what a model learned from. Refuses a model that cannot tell, on its own file."""
    folder = registry.fetch(model)
    digests = read_learned(folder)
    if digests is not None or family_of(folder) not in _TRAINED:
        return digests
    (info,) = (i for i in registry.models() if (i.name, i.version) == (model.name, model.version))
    own = info.tags.get("plata.data.digest")
    for one in sets:
        if one.digest == own:
            msg = (
                f"{model.uri} was trained on '{one.source}' itself and does not say on which of "
                f"its texts (it has no {LEARNED_FILE}); train it again, or give other labels"
            )
            raise InputError(msg)
    notes.append(
        f"{model.uri} does not say which texts it learned from (it has no {LEARNED_FILE}): if "
        "some of these are among them, it is flattered"
    )
    return None


def _answered(
    bundle: Bundle, task: Task, one: JudgedTexts, asking: Asking, tell: Tell
) -> NDArray[np.float64]:
    model = pins_of(bundle, task.name).champion
    total = len(one.texts)
    asking.vectors(bundle, one.texts, progress=_counted("embedding the texts", total, tell))
    doing = f"asking {model.uri} ({one.name})"
    return asking.probabilities(bundle, task, one.texts, progress=_counted(doing, total, tell))


def _counted(what: str, total: int, tell: Tell) -> Callable[[int], None]:
    done = [0]

    def progress(rows: int) -> None:
        done[0] += rows
        tell(what, done[0], total)

    return progress


def _effort(
    bundle: Bundle,
    question: Question,
    texts: tuple[str, ...],
    asking: Asking,
    ports: EvaluationPorts,
    run: RunContext,
) -> Effort:
    seconds = asking.seconds(bundle, question.task, texts)
    model = pins_of(bundle, question.task.name).champion
    charged, currency = _charged(model, question.task, ports, run)
    price = question.price
    if price is None:
        return Effort(seconds, charged, currency)
    if currency not in (None, price.currency):
        return Effort(seconds, charged, currency)
    computed = seconds / _HOUR * price.per_compute_hour
    return Effort(seconds, computed + (charged or 0.0), price.currency)


def _charged(
    model: ModelRef, task: Task, ports: EvaluationPorts, run: RunContext
) -> tuple[float | None, str | None]:
    """Return what an endpoint charges for a thousand texts, by what it charged in this run."""
    folder = ports.registry.fetch(model)
    if ports.ledger is None or family_of(folder) != LLM:
        return None, None
    asked = read_config(folder).get("model")
    for spent in ports.ledger.spent(run.tenant, run.run_id):
        if (spent.task, spent.model) == (task.name, asked) and spent.calls:
            return float(spent.cost) / spent.calls * _PER, spent.currency
    return None, None


def _curve(
    question: Question, sets: Sequence[JudgedTexts], asking: Asking, tell: Tell
) -> tuple[CurvePoint, ...]:
    """Fit the challenger's kind of model again on growing parts of what it learned from."""
    from models.linear import Features

    pins = pins_of(question.challenger, question.task.name)
    folder = asking.registry.fetch(pins.champion)
    digests = read_learned(folder)
    if question.file is None or digests is None or sets[0].name != HELD_OUT:
        msg = (
            f"a learning curve is drawn of a trained model on the file it learned from, given with "
            f"--labels; {pins.champion.uri} is of the family '{family_of(folder)}'"
        )
        raise InputError(msg)
    whole = from_file(question.file, question.task)
    rows = pa.table(
        {
            "text": pa.array(whole.texts, pa.string()),
            "embedding": asking.vectors(
                question.challenger,
                whole.texts,
                progress=_counted("embedding the texts", len(whole.texts), tell),
            ),
        }
    )
    fair = np.isin(np.array(whole.texts), np.array(sets[0].texts))
    known = ~np.isin(np.array(whole.texts), np.array(whole.without(digests, "").texts))
    return learning_curve(
        rows.filter(pa.array(known)),
        whole.truth[known],
        rows.filter(pa.array(fair)),
        whole.truth[fair],
        labels=question.task.labels,
        features=Features(read_config(folder)["features"]),
        seed=question.challenger.seed,
        told=lambda done, total: tell("drawing the learning curve", done, total),
    )


def _champion(question: Question) -> ModelRef | None:
    champion = question.champion
    return None if champion is None else pins_of(champion, question.task.name).champion


def _measures(
    question: Question,
    found: Sequence[Judged],
    effort: Effort,
    champion_effort: Effort | None,
) -> TaskMeasures | None:
    """Shape what gates read: of the file, else of the audited; the doubtful favour a challenger."""
    fair = [one for one in found if one.name != "doubt"]
    if not fair or question.champion is None or champion_effort is None:
        return None
    one = fair[0]
    assert one.champion is not None
    assert one.comparison is not None
    name = question.task.name
    return TaskMeasures(
        task=name,
        challenger=pins_of(question.challenger, name).champion.uri,
        champion=pins_of(question.champion, name).champion.uri,
        texts=one.texts,
        macro_f1=one.challenger.macro_f1,
        champion_macro_f1=one.champion.macro_f1,
        lift_low=one.comparison.interval.low,
        lift_high=one.comparison.interval.high,
        p_better=one.comparison.p_better,
        ece=one.challenger.ece,
        seconds=effort.seconds,
        champion_seconds=champion_effort.seconds,
        cost=effort.cost,
        slices=one.slice_measures(),
    )


def _shown(
    report: EvaluationReport,
    question: Question,
    sets: Sequence[JudgedTexts],
    run: RunContext,
    ports: EvaluationPorts,
) -> str:
    """Draw, and hand everything to the registry."""
    from models.figures import draw_calibration, draw_confusion, draw_curve, draw_slices

    first = sets[0]
    titles = question.task.titles
    with tempfile.TemporaryDirectory(prefix="plata-evaluate-") as made:
        figures: dict[str, Path] = {}

        def place(name: str) -> Path:
            figures[name] = Path(made) / name
            return figures[name]

        for one in report.sets:
            draw_confusion(one.challenger, titles, place(f"{one.name}-confusion.png"))
            draw_calibration(one.challenger, place(f"{one.name}-calibration.png"))
            draw_slices(one.slices, place(f"{one.name}-slices.png"))
        if report.curve:
            draw_curve(report.curve, place("learning-curve.png"))
        return ports.experiments.log_evaluation(
            EvaluationRun(
                experiment=question.task.model,
                name=run.run_id,
                model=report.challenger,
                summary=as_markdown(report.as_dict(), titles),
                report=json.dumps(report.as_dict(), ensure_ascii=False, indent=1),
                metrics=report.metrics(),
                parameters={
                    "task": report.task,
                    "challenger": report.challenger.uri,
                    "champion": "none" if report.champion is None else report.champion.uri,
                    "bundle": report.bundle_id,
                    "seed": str(run.seed),
                    "code_version": run.code_version,
                },
                figures=figures,
                data={
                    "name": first.source,
                    "digest": first.digest,
                    "texts": str(len(first.texts)),
                    **{reason: str(count) for reason, count in first.left_out.items()},
                },
            )
        )


def _record(
    report: EvaluationReport, question: Question, page: str, run: RunContext
) -> EvaluationRecord:
    champion = question.champion
    name = question.task.name
    return EvaluationRecord(
        evaluation_id=run.run_id,
        task=name,
        answers_id=question.challenger.answers_id(name),
        champion_answers_id=None if champion is None else champion.answers_id(name),
        bundle_id=report.bundle_id,
        model=report.challenger.uri,
        champion=None if report.champion is None else report.champion.uri,
        judged_on=report.main.name,
        texts=report.main.texts,
        page=page,
        measured_at=run.started_at,
        measures=None if report.measures is None else report.measures.as_dict(),
        report=report.as_dict(),
    )


def _effort_values(effort: Effort) -> dict[str, Any]:
    return {"seconds": effort.seconds, "cost": effort.cost, "currency": effort.currency}
