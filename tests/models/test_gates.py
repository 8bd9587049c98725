"""The gates of a promotion, from policy and measures alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.errors import ConfigurationError, InputError
from models.gates import (
    GatePolicy,
    Measures,
    SliceMeasures,
    TaskContract,
    TaskMeasures,
    Verdict,
    contract_changes,
    judge,
    read_policy,
)

POLICY = read_policy()
BETTER = TaskMeasures(
    task="tipo",
    challenger="models:/norte.tipo/2",
    champion="models:/norte.tipo/1",
    texts=200,
    macro_f1=0.81,
    champion_macro_f1=0.75,
    lift_low=0.02,
    lift_high=0.10,
    p_better=0.001,
    ece=0.04,
    seconds=30.0,
    champion_seconds=25.0,
    cost=1.5,
)
ASKED = Measures(tasks=(BETTER,), asked_by="ana", approved_by="luis")


def verdict_of(policy: GatePolicy = POLICY, **changes: Any) -> Verdict:
    return judge(policy, replace(ASKED, tasks=(replace(BETTER, **changes),)))


def failed(verdict: Verdict) -> list[str]:
    return [gate.name for gate in verdict.failed]


def test_a_better_challenger_passes_every_gate_of_the_packaged_policy() -> None:
    found = judge(POLICY, ASKED)
    assert found.passed
    assert [gate.name for gate in found.gates] == [
        "evaluated",
        "contract",
        "approver",
        "tipo: texts",
        "tipo: lift",
        "tipo: significance",
        "tipo: slices",
        "tipo: calibration",
        "tipo: latency",
    ]


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"texts": 99}, "tipo: texts"),
        ({"macro_f1": 0.74}, "tipo: lift"),
        ({"p_better": 0.051}, "tipo: significance"),
        ({"ece": 0.151}, "tipo: calibration"),
        ({"ece": float("nan")}, "tipo: calibration"),
        ({"seconds": 251.0}, "tipo: latency"),
    ],
)
def test_a_gate_that_is_not_passed_is_named(changes: dict[str, Any], gate: str) -> None:
    found = verdict_of(**changes)
    assert not found.passed
    assert failed(found) == [gate]


def test_a_lift_just_large_enough_passes() -> None:
    policy = GatePolicy(lift_at_least=0.1)
    assert verdict_of(policy, macro_f1=0.4, champion_macro_f1=0.3).passed


def test_a_slow_challenger_under_the_floor_is_quick_enough() -> None:
    assert verdict_of(seconds=119.0, champion_seconds=0.2).passed
    assert failed(verdict_of(seconds=121.0, champion_seconds=0.2)) == ["tipo: latency"]


def test_a_cost_is_judged_only_where_there_is_a_price() -> None:
    policy = replace(POLICY, cost_at_most=1.0)
    assert failed(verdict_of(policy)) == ["tipo: cost"]
    assert verdict_of(policy, cost=None).passed


@pytest.mark.parametrize(
    ("part", "passed"),
    [
        (SliceMeasures("canal=chat", 60, 0.70, 0.80, 0.03), False),
        (SliceMeasures("canal=chat", 60, 0.70, 0.80, 0.20), True),
        (SliceMeasures("canal=chat", 60, 0.76, 0.80, 0.03), True),
        (SliceMeasures("canal=chat", 19, 0.20, 0.80, 0.001), True),
    ],
)
def test_a_slice_is_worse_when_it_loses_too_much_and_not_by_chance(
    part: SliceMeasures, passed: bool
) -> None:
    found = verdict_of(slices=(part,))
    assert found.passed is passed
    (told,) = (gate.found for gate in found.gates if gate.name == "tipo: slices")
    assert told == ("none worse" if passed else "canal=chat 0.800 → 0.700 (60 texts, p 0.030)")


def test_a_challenger_that_is_only_cheaper_is_judged_by_what_it_may_lose() -> None:
    policy = GatePolicy(loss_at_most=0.01)
    assert verdict_of(policy, lift_low=-0.009).passed
    assert failed(verdict_of(policy, lift_low=-0.011)) == ["tipo: loss"]


def test_a_change_that_nobody_measured_is_not_judged_but_refused() -> None:
    found = judge(POLICY, replace(ASKED, unmeasured=("prioridad",)))
    assert failed(found) == ["evaluated"]
    assert "prioridad" in found.failed[0].found
    assert "plata evaluate" in found.failed[0].why


def test_nothing_asked_lets_what_was_measured_pass() -> None:
    assert [gate.name for gate in judge(GatePolicy(), ASKED).gates] == ["evaluated"]


@pytest.mark.parametrize(
    ("approvers", "four_eyes", "approved_by", "passed"),
    [
        ((), False, "luis", True),
        ((), False, None, False),
        ((), True, "ana", False),
        ((), True, "luis", True),
        (("eva",), False, "luis", False),
        (("luis", "eva"), True, "luis", True),
    ],
)
def test_who_may_approve(
    approvers: tuple[str, ...], four_eyes: bool, approved_by: str | None, passed: bool
) -> None:
    policy = GatePolicy(approvers=approvers, four_eyes=four_eyes)
    assert judge(policy, replace(ASKED, approved_by=approved_by)).passed is passed


def test_a_changed_contract_is_told_in_words() -> None:
    tipo = TaskContract("tipo", ("peticion", "queja"), "text")
    after = TaskContract("tipo", ("queja", "reclamo"), "subject_and_text", ("text", "image"))
    assert contract_changes([tipo], [after]) == (
        "tipo: label 'peticion' goes",
        "tipo: label 'reclamo' comes",
        "tipo: is asked about 'subject_and_text', was 'text'",
        "tipo: reads 'image', which the rows of a run do not have",
    )
    assert contract_changes([tipo], []) == ("task 'tipo' goes",)
    assert contract_changes([], [tipo]) == ("task 'tipo' comes",)
    found = judge(POLICY, replace(ASKED, contract_changes=contract_changes([tipo], [])))
    assert failed(found) == ["contract"]


def test_labels_in_another_order_and_vectors_read_besides_change_no_contract() -> None:
    rules = TaskContract("tipo", ("peticion", "queja"), "text")
    model = TaskContract("tipo", ("queja", "peticion"), "text", ("text", "embedding"))
    assert contract_changes([rules], [model]) == ()


def test_a_policy_file_replaces_the_packaged_one(tmp_path: Path) -> None:
    file = tmp_path / "gates.yaml"
    file.write_text("lift_at_least: 0.02\nslice_loss_at_most: null\n", encoding="utf-8")
    assert read_policy(file) == GatePolicy(lift_at_least=0.02)


@pytest.mark.parametrize(
    ("content", "error", "found"),
    [
        ("lift: 0.1", ConfigurationError, r"has lift; it may have: texts_at_least"),
        ("p_at_most: 1.5", ConfigurationError, r"<= 1.*p_at_most"),
        ("[]", ConfigurationError, "Expected `object`"),
        ("p_at_most: 0.05\nloss_at_most: 0.01", ConfigurationError, "give one of the two"),
        ("a: [", InputError, "no gate policy can be read from"),
    ],
)
def test_a_policy_that_cannot_be_used_is_refused_in_one_line(
    content: str, error: type[Exception], found: str, tmp_path: Path
) -> None:
    file = tmp_path / "gates.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(error, match=found) as raised:
        read_policy(file)
    assert "\n" not in str(raised.value)


def test_a_policy_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"read from '.*absent\.yaml'"):
        read_policy(tmp_path / "absent.yaml")


shares = st.floats(0, 1)
tasks = st.builds(
    TaskMeasures,
    task=st.sampled_from(["tipo", "prioridad"]),
    challenger=st.just("models:/a/2"),
    champion=st.just("models:/a/1"),
    texts=st.integers(0, 500),
    macro_f1=shares,
    champion_macro_f1=shares,
    lift_low=st.floats(-1, 1),
    lift_high=st.floats(-1, 1),
    p_better=shares,
    ece=shares,
    seconds=st.floats(0, 1e4),
    champion_seconds=st.floats(0, 1e4),
    cost=st.none() | st.floats(0, 1e4),
    slices=st.lists(
        st.builds(SliceMeasures, st.text(), st.integers(0, 99), shares, shares, shares), max_size=3
    ).map(tuple),
)
measured = st.builds(
    Measures,
    tasks=st.lists(tasks, max_size=3).map(tuple),
    unmeasured=st.lists(st.text(min_size=1), max_size=2).map(tuple),
    contract_changes=st.lists(st.text(min_size=1), max_size=2).map(tuple),
    asked_by=st.sampled_from(["ana", "luis"]),
    approved_by=st.sampled_from(["ana", "luis", None]),
)
policies = st.builds(
    GatePolicy,
    texts_at_least=st.none() | st.integers(0, 500),
    lift_at_least=st.none() | shares,
    p_at_most=st.none() | shares,
    slice_loss_at_most=st.none() | shares,
    ece_at_most=st.none() | shares,
    seconds_ratio_at_most=st.none() | st.floats(0, 100),
    seconds_floor=st.floats(0, 100),
    cost_at_most=st.none() | st.floats(0, 100),
    same_contract=st.booleans(),
    approvers=st.sampled_from([None, (), ("ana",)]),
    four_eyes=st.booleans(),
)


@given(policies, measured)
def test_a_verdict_is_passed_when_each_of_its_gates_is(
    policy: GatePolicy, measures: Measures
) -> None:
    found = judge(policy, measures)
    assert found.passed == all(gate.passed for gate in found.gates) == (not found.failed)
    assert judge(policy, measures) == found


@given(policies, measured)
def test_all_survives_being_written_as_json(policy: GatePolicy, measures: Measures) -> None:
    def through(value: Any) -> Any:
        return json.loads(json.dumps(value))

    verdict = judge(policy, measures)
    assert GatePolicy.of(through(policy.as_dict())) == policy
    assert Measures.of(through(measures.as_dict())) == measures
    assert Verdict.of(through(verdict.as_dict())) == verdict


@given(policies, measured, shares, st.floats(0, 0.5))
def test_a_better_challenger_never_fails_a_gate_a_worse_one_passed(
    policy: GatePolicy, measures: Measures, lift: float, more: float
) -> None:
    def with_lift(value: float) -> Measures:
        better = tuple(
            replace(task, macro_f1=task.champion_macro_f1 + value, p_better=0.5 - value / 4)
            for task in measures.tasks
        )
        return replace(measures, tasks=better)

    assert set(failed(judge(policy, with_lift(lift + more)))) <= set(
        failed(judge(policy, with_lift(lift)))
    )


@given(policies, measured)
def test_gates_that_are_left_out_let_no_less_pass(policy: GatePolicy, measures: Measures) -> None:
    fewer = replace(policy, lift_at_least=None, approvers=None)
    assert judge(policy, measures).passed <= judge(fewer, measures).passed
