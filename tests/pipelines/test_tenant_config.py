from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import yaml

from features.embed import EMBEDDING_MODEL, QUERY_PROMPT, EmbeddingChoice
from labeling.budget import LabelBudget
from labeling.masking import Masking, Pii
from labeling.policy import ReviewPolicy
from lakehouse.control.tenants import TenantConfig
from lakehouse.data.maintenance import TidyPolicy
from lakehouse.errors import ConfigurationError
from lakehouse.tenancy import TenantContext
from models.gates import GatePolicy, read_policy
from pipelines.sla_terms import SlaTerms
from pipelines.tenant_config import (
    default_config,
    gates_of,
    gates_said,
    read_config,
    review_of,
    tasks_of,
    terms_of,
    upkeep_of,
)
from pipelines.upkeep import UpkeepPolicy

NORTE = TenantContext.parse("norte")


def chosen(embedding: object) -> set[EmbeddingChoice]:
    tasks = tasks_of({**default_config(), "embedding": embedding}, NORTE)
    return {task.embedding for task in tasks}


def test_a_tenant_that_names_no_embedding_model_uses_the_packaged_one() -> None:
    tasks = tasks_of(default_config(), NORTE)
    assert {task.embedding for task in tasks} == {EmbeddingChoice(EMBEDDING_MODEL, QUERY_PROMPT)}


def test_a_named_embedding_model_brings_the_prompt_registered_with_it() -> None:
    assert chosen({"model": "propio"}) == {EmbeddingChoice("propio", "propio-query")}
    assert chosen({"model": EMBEDDING_MODEL}) == {EmbeddingChoice()}


def test_its_prompt_may_be_named_too() -> None:
    assert chosen({"model": "propio", "prompt": "otro"}) == {EmbeddingChoice("propio", "otro")}


@pytest.mark.parametrize("embedding", [{}, {"model": ""}, {"model": "m", "promt": "p"}, "propio"])
def test_an_embedding_that_cannot_be_read_is_refused(embedding: object) -> None:
    with pytest.raises(ConfigurationError, match="embedding"):
        chosen(embedding)


def test_terms_are_the_defaults_with_what_the_tenant_says_and_who_said_so() -> None:
    values = {**default_config(), "sla": {"business_days": {"queja": 15, "tutela": 2}}}
    terms = terms_of(TenantConfig(4, values))
    assert terms.days == {
        "peticion": 15,
        "queja": 15,
        "reclamo": 8,
        "sugerencia": 20,
        "tutela": 2,
    }
    assert str(terms).startswith("v4: peticion 15, queja 15")
    assert terms_of(None) == terms_of(TenantConfig(1, {"tasks": values["tasks"]})) == SlaTerms()


def test_terms_survive_the_plan_and_an_old_plan_was_made_under_the_defaults() -> None:
    terms = SlaTerms({"queja": 15}, version=4)
    assert SlaTerms.planned({"sla": msgspec.to_builtins(terms)}) == terms
    assert SlaTerms.planned({"versions": {}}) == SlaTerms()


@pytest.mark.parametrize("days", [0, -1, 1.5, 900])
def test_a_term_that_is_not_a_number_of_days_is_refused(days: float) -> None:
    values = {**default_config(), "sla": {"business_days": {"queja": days}}}
    with pytest.raises(ConfigurationError, match=r"sla\.business_days\.queja"):
        terms_of(TenantConfig(1, values))


def test_upkeep_is_as_the_tenant_says_and_else_as_by_default() -> None:
    assert upkeep_of(None) == upkeep_of(TenantConfig(1, default_config())) == UpkeepPolicy()
    said = {"retention_days": 7, "checkpoint_every": 10, "runs_readable_days": 14}
    policy = upkeep_of(TenantConfig(2, {**default_config(), "upkeep": said}))
    assert policy == UpkeepPolicy(
        TidyPolicy(checkpoint_every=10, retention=timedelta(days=7)), pinned_for=timedelta(days=14)
    )


@pytest.mark.parametrize("wrong", [{"retention_days": 0}, {"checkpoint_every": 51}, {"vacuum": 1}])
def test_upkeep_that_would_take_what_readers_need_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=f"upkeep.{next(iter(wrong))}"):
        upkeep_of(TenantConfig(1, {**default_config(), "upkeep": wrong}))


def test_a_tenant_says_how_its_cases_are_reviewed() -> None:
    said = {"overlap_share": 0.1, "overlap_reviewers": 3, "mask": ["correo", "teléfono"]}
    masking = Masking(frozenset({Pii.CORREO, Pii.TELEFONO}))
    found = review_of(TenantConfig(2, {**default_config(), "review": said}))
    assert found == ReviewPolicy(0.1, 3, masking)


def test_one_person_answers_and_everything_is_covered_where_a_tenant_says_nothing() -> None:
    assert review_of(None) == review_of(TenantConfig(1, default_config())) == ReviewPolicy()
    partly = {**default_config(), "review": {"overlap_share": 0.1}}
    assert review_of(TenantConfig(1, partly)) == ReviewPolicy(overlap_share=0.1)


def test_a_tenant_says_how_many_labels_its_people_can_give_in_a_week() -> None:
    said = {"weekly_labels": 60, "audit_share": 0.5, "active_share": 0.1}
    found = review_of(TenantConfig(2, {**default_config(), "review": said}))
    assert found.budget == LabelBudget(60, 0.5, 0.2, 0.1)
    more = {"weekly_labels": 60, "audit_share": 0.9}
    with pytest.raises(ConfigurationError, match=r"review: .* add up to more than 1"):
        review_of(TenantConfig(2, {**default_config(), "review": more}))


@pytest.mark.parametrize(
    "review",
    [
        {"overlap_share": 2},
        {"overlap_reviewers": 1},
        {"mask": ["nombre"]},
        {"maks": []},
        {"weekly_labels": 0},
    ],
)
def test_a_review_that_cannot_be_is_refused(review: object) -> None:
    with pytest.raises(ConfigurationError, match=r"review\."):
        review_of(TenantConfig(1, {**default_config(), "review": review}))


def test_the_gates_of_a_promotion_are_the_tenants_own_else_the_packaged(tmp_path: Path) -> None:
    file = tmp_path / "norte.yaml"
    own = {**default_config(), "gates": {"loss_at_most": 0.01, "approvers": ["ana"]}}
    file.write_text(yaml.safe_dump(own), encoding="utf-8")
    config = TenantConfig(4, read_config(file))
    assert gates_of(config) == GatePolicy(loss_at_most=0.01, approvers=("ana",))
    assert gates_said(config) == "the tenant's configuration, version 4"
    for none in (None, TenantConfig(1, default_config())):
        assert gates_of(none) == read_policy()
        assert gates_said(none) == "the packaged policy"


@pytest.mark.parametrize(
    ("gates", "found"),
    [
        ({"lift": 0.1}, "gates: .*has lift; it may have: texts_at_least"),
        ({"p_at_most": 1.5}, r"gates: .*<= 1.*p_at_most"),
        ({"p_at_most": 0.05, "loss_at_most": 0.01}, "gates: .*give one of the two"),
        ("gates.yaml", "gates: .*dictionary"),
    ],
)
def test_gates_that_cannot_be_asked_are_refused_where_they_stand(gates: object, found: str) -> None:
    with pytest.raises(ConfigurationError, match=found) as raised:
        tasks_of({**default_config(), "gates": gates}, NORTE)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["tipo.2", "tipo (2 personas)", "a/b", "", "2tipo"])
def test_a_task_is_named_by_letters_digits_and_hyphens(name: str) -> None:
    (task, *_) = default_config()["tasks"].values()
    with pytest.raises(ConfigurationError, match=r"tasks\.[^:]*: String should match pattern"):
        tasks_of({"tasks": {name: task}}, NORTE)
    assert [t.name for t in tasks_of({"tasks": {"categoría-2_b": task}}, NORTE)] == [
        "categoría-2_b"
    ]
