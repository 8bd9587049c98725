"""The gates of a promotion: what a challenger must show before it takes the champion's place.

A policy says what is asked, measures say what was found, and `judge` compares them, a line a gate.
Nothing here measures or promotes: the same policy and measures always give the same verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from lakehouse.errors import ConfigurationError, InputError

SLICE_RISK = 0.05
"""How likely equal models may look as unequal as they do in a slice before it counts as worse."""

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Amount = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What is asked of a challenger; None leaves a gate out. `defaults/gates.yaml` tells of each.

    `p_at_most` and `loss_at_most` are two answers to one question (is it better? is it not much
    worse?), so a policy gives one of them at most.
    """

    texts_at_least: Count | None = None
    lift_at_least: Share | None = None
    p_at_most: Share | None = None
    loss_at_most: Share | None = None
    slice_loss_at_most: Share | None = None
    slice_texts_at_least: Count = 20
    ece_at_most: Share | None = None
    seconds_ratio_at_most: Amount | None = None
    seconds_floor: Amount = 0.0
    cost_at_most: Amount | None = None
    same_contract: bool = False
    approvers: tuple[str, ...] | None = None
    four_eyes: bool = False

    def __post_init__(self) -> None:
        if self.loss_at_most is not None and (self.lift_at_least, self.p_at_most) != (None, None):
            msg = (
                "the policy gives loss_at_most beside lift_at_least or p_at_most; give one of the "
                "two: a challenger that must be better, or one that may be a little worse"
            )
            raise ConfigurationError(msg)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def of(cls, values: object) -> GatePolicy:
        """Read what `as_dict` wrote, or a policy file holds. Raises `ConfigurationError`."""
        try:
            given = msgspec.convert(values, dict[str, Any])
            _refuse_unknown(given, cls)
            return msgspec.convert(given, cls)
        except msgspec.ValidationError as error:
            msg = f"the gate policy cannot be used: {error}"
            raise ConfigurationError(msg) from error


def read_policy(path: Path | None = None) -> GatePolicy:
    """Read a policy file, the packaged one where none is given."""
    source = resources.files("models").joinpath("defaults", "gates.yaml") if path is None else path
    try:
        values = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"no gate policy can be read from '{path}': {' '.join(str(error).split())}"
        raise InputError(msg) from error
    return GatePolicy.of(values)


@dataclass(frozen=True, slots=True)
class SliceMeasures:
    """One slice, such as `canal=chat`: accuracies on the same texts.

    `p_worse` is the chance that equal models look at least as unfavourable to the challenger.
    """

    name: str
    texts: int
    accuracy: float
    champion_accuracy: float
    p_worse: float


@dataclass(frozen=True, slots=True)
class TaskMeasures:
    """A task's challenger beside its champion, on the same texts, which neither learned from.

    `lift_low` and `lift_high` bound the lift of macro-F1 with 95 % confidence; `p_better` is the
    chance of such a lift between equals. Seconds are processor time, cost is in the tenant's unit,
    both for a thousand texts; cost is None where the tenant gives no price.
    """

    task: str
    challenger: str
    champion: str
    texts: int
    macro_f1: float
    champion_macro_f1: float
    lift_low: float
    lift_high: float
    p_better: float
    ece: float
    seconds: float
    champion_seconds: float
    cost: float | None = None
    slices: tuple[SliceMeasures, ...] = ()

    @property
    def lift(self) -> float:
        """How much macro-F1 the challenger adds."""
        return self.macro_f1 - self.champion_macro_f1

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def of(cls, values: object) -> TaskMeasures:
        """Read what `as_dict` wrote."""
        return msgspec.convert(values, cls)


@dataclass(frozen=True, slots=True)
class TaskContract:
    """What others rely on in a task. `inputs` are the columns a row must have to be answered."""

    task: str
    labels: tuple[str, ...]
    text_field: str
    inputs: tuple[str, ...] = ("text",)


OFFERED = frozenset({"text", "embedding"})
"""The columns a run's rows have."""


def contract_changes(
    before: Sequence[TaskContract], after: Sequence[TaskContract]
) -> tuple[str, ...]:
    """Say in words what those who rely on the tasks would notice; the order of labels is nothing.

    >>> tipo = TaskContract("tipo", ("peticion", "queja"), "text")
    >>> contract_changes([tipo], [TaskContract("tipo", ("queja",), "text")])
    ("tipo: label 'peticion' goes",)
    """
    known, wanted = ({task.task: task for task in tasks} for tasks in (before, after))
    changes = [f"task '{name}' goes" for name in known if name not in wanted]
    changes += [f"task '{name}' comes" for name in wanted if name not in known]
    for name in known:
        if name in wanted:
            changes += _changes(known[name], wanted[name])
    return tuple(changes)


@dataclass(frozen=True, slots=True)
class Measures:
    """All that is known of a challenger. `unmeasured` are tasks it answers otherwise, unevaluated.

    `asked_by` wants the promotion and `approved_by` agrees; None where nobody was named.
    """

    tasks: tuple[TaskMeasures, ...] = ()
    unmeasured: tuple[str, ...] = ()
    contract_changes: tuple[str, ...] = ()
    asked_by: str = ""
    approved_by: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def of(cls, values: object) -> Measures:
        """Read what `as_dict` wrote."""
        return msgspec.convert(values, cls)


@dataclass(frozen=True, slots=True)
class Gate:
    """One line of a verdict. `name` is such as `tipo: lift`; `why` says what the gate is for."""

    name: str
    passed: bool
    found: str
    expected: str
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every gate that was asked, in the order they were."""

    gates: tuple[Gate, ...]

    @property
    def passed(self) -> bool:
        """Whether every gate is passed."""
        return all(gate.passed for gate in self.gates)

    @property
    def failed(self) -> tuple[Gate, ...]:
        """The gates that were not."""
        return tuple(gate for gate in self.gates if not gate.passed)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"passed": self.passed, "gates": msgspec.to_builtins(self.gates)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Verdict:
        """Read what `as_dict` wrote; whether it is passed is read from the gates."""
        return cls(msgspec.convert(values["gates"], tuple[Gate, ...]))


def judge(policy: GatePolicy, measures: Measures) -> Verdict:
    """Hold the measures against the policy; every gate is told, also after one that failed."""
    gates = list(_of_the_whole(policy, measures))
    for task in measures.tasks:
        gates += _of_a_task(policy, task)
    return Verdict(tuple(gates))


def _of_the_whole(policy: GatePolicy, measures: Measures) -> Iterator[Gate]:
    waiting = measures.unmeasured
    yield Gate(
        "evaluated",
        not waiting,
        f"no comparison with the champion of {', '.join(waiting)}" if waiting else "every change",
        "every task that would be answered otherwise",
        "nobody knows yet what it would do; `plata evaluate` measures it"
        if waiting
        else "what was not measured cannot be judged",
    )
    if policy.same_contract:
        changes = "; ".join(measures.contract_changes)
        why = "tables, reviewers and dashboards rely on labels, inputs and text field"
        yield Gate("contract", not changes, changes or "no change", "no change", why)
    if policy.approvers is not None:
        yield _approval(policy, policy.approvers, measures)


def _approval(policy: GatePolicy, approvers: tuple[str, ...], measures: Measures) -> Gate:
    someone = measures.approved_by
    allowed = someone is not None and (not approvers or someone in approvers)
    alone = policy.four_eyes and someone == measures.asked_by
    expected = f"one of {', '.join(approvers)}" if approvers else "a name"
    if policy.four_eyes:
        expected += f", not {measures.asked_by or 'who asks'}"
    why = "someone answers for the decision"
    return Gate("approver", allowed and not alone, someone or "nobody", expected, why)


def _of_a_task(policy: GatePolicy, task: TaskMeasures) -> Iterator[Gate]:
    def gate(name: str, passed: bool, found: str, expected: str, why: str) -> Gate:
        return Gate(f"{task.task}: {name}", passed, found, expected, why)

    if (fewest := policy.texts_at_least) is not None:
        why = "few texts prove little either way"
        yield gate("texts", task.texts >= fewest, f"{task.texts}", f"at least {fewest}", why)
    if (least := policy.lift_at_least) is not None:
        why = f"macro-F1 {task.macro_f1:.3f} against {task.champion_macro_f1:.3f} of the champion"
        passed = _at_least(task.lift, least)
        yield gate("lift", passed, f"{task.lift:+.3f}", f"at least {least:+.3f}", why)
    if (most := policy.p_at_most) is not None:
        why = "the chance of such a lift between two equally good models"
        passed = task.p_better <= most
        yield gate("significance", passed, f"p {task.p_better:.4f}", f"at most {most:g}", why)
    if (most := policy.loss_at_most) is not None:
        why = "the lower end of the lift's 95 % interval: what may be lost at worst"
        passed = _at_least(task.lift_low, -most)
        yield gate("loss", passed, f"{task.lift_low:+.3f}", f"at least {-most:+.3f}", why)
    if (most := policy.slice_loss_at_most) is not None:
        worse = [s for s in task.slices if _is_worse(s, most, policy.slice_texts_at_least)]
        found = "; ".join(map(_told, worse)) or "none worse"
        why = "a gain for most must not be paid by a few"
        yield gate("slices", not worse, found, f"none loses more than {most:g} of accuracy", why)
    if (most := policy.ece_at_most) is not None:
        why = "routing believes the scores (expected calibration error)"
        yield gate("calibration", task.ece <= most, f"{task.ece:.3f}", f"at most {most:g}", why)
    if (most := policy.seconds_ratio_at_most) is not None:
        limit = max(most * task.champion_seconds, policy.seconds_floor)
        why = f"processor time for 1,000 texts; the champion's is {task.champion_seconds:.2f} s"
        found, expected = f"{task.seconds:.2f} s", f"at most {limit:.2f} s"
        yield gate("latency", task.seconds <= limit, found, expected, why)
    if (most := policy.cost_at_most) is not None and task.cost is not None:
        why = "of 1,000 texts, in the tenant's own unit"
        yield gate("cost", task.cost <= most, f"{task.cost:.4g}", f"at most {most:g}", why)


def _is_worse(part: SliceMeasures, most: float, fewest: int) -> bool:
    lost = part.champion_accuracy - part.accuracy
    return part.texts >= fewest and not _at_least(-lost, -most) and part.p_worse <= SLICE_RISK


def _told(part: SliceMeasures) -> str:
    return (
        f"{part.name} {part.champion_accuracy:.3f} → {part.accuracy:.3f} "
        f"({part.texts} texts, p {part.p_worse:.3f})"
    )


def _at_least(found: float, least: float) -> bool:
    """Compare, forgiving the last digits that a difference of shares loses."""
    return found >= least - 1e-12


def _changes(before: TaskContract, after: TaskContract) -> Iterator[str]:
    for label in before.labels:
        if label not in after.labels:
            yield f"{before.task}: label '{label}' goes"
    for label in after.labels:
        if label not in before.labels:
            yield f"{before.task}: label '{label}' comes"
    if before.text_field != after.text_field:
        yield f"{before.task}: is asked about '{after.text_field}', was '{before.text_field}'"
    for column in after.inputs:
        if column not in OFFERED:
            yield f"{before.task}: reads '{column}', which the rows of a run do not have"


def _refuse_unknown(given: Mapping[str, Any], kind: type[GatePolicy]) -> None:
    known = [field.name for field in fields(kind)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        msg = f"the gate policy has {', '.join(unknown)}; it may have: {', '.join(known)}"
        raise ConfigurationError(msg)
