from __future__ import annotations

from dataclasses import replace

from registry.bundles import Bundle, TaskPins
from registry.refs import ModelRef, PromptRef

TIPO = TaskPins(
    task="tipo",
    labels=("p", "q"),
    text_field="text",
    champion=ModelRef("norte.tipo", "2", "c2"),
    baseline=ModelRef("norte.tipo", "1", "c1"),
    zero_shot=PromptRef("norte.tipo.zero-shot", "1", "d1"),
    accept_at=0.8,
    audit_share=0.05,
)
BUNDLE = Bundle(ModelRef("e5", "1", "a1"), PromptRef("e5-query", "1", "b1"), (TIPO,), 20260101)


def with_task(**changes: object) -> Bundle:
    return replace(BUNDLE, tasks=(replace(TIPO, **changes),))  # type: ignore[arg-type]


def test_a_bundle_keeps_the_name_that_rows_written_long_ago_carry() -> None:
    assert BUNDLE.bundle_id == "bundle-bafae4ec2027"


def test_whatever_can_change_an_answer_changes_the_name() -> None:
    others = [
        replace(BUNDLE, embedding=ModelRef("e5", "1", "a2")),
        replace(BUNDLE, embedding_prompt=PromptRef("e5-query", "2", "b1")),
        replace(BUNDLE, seed=1),
        with_task(champion=ModelRef("norte.tipo", "3", "c2")),
        with_task(champion_prompt=PromptRef("norte.tipo.zero-shot", "1", "d1")),
        with_task(baseline=ModelRef("norte.tipo", "1", "c0")),
        with_task(zero_shot=PromptRef("norte.tipo.zero-shot", "2", "d2")),
        with_task(accept_at=0.9),
        with_task(audit_share=0.1),
        with_task(text_field="subject_and_text"),
    ]
    assert len({BUNDLE.bundle_id, *(b.bundle_id for b in others)}) == len(others) + 1


def test_a_bundle_is_read_as_it_was_written() -> None:
    bundle = with_task(champion_prompt=PromptRef("norte.tipo.llm", "4", "e4"))
    assert Bundle.of(bundle.as_dict()) == bundle


def test_a_bundle_written_before_champions_had_prompts_is_read() -> None:
    values = BUNDLE.as_dict()
    (task,) = values["tasks"]
    del task["champion_prompt"]
    assert Bundle.of(values) == BUNDLE


def test_a_bundle_is_read_by_people_as_what_each_part_meant() -> None:
    assert BUNDLE.pins() == {
        "embedding": "models:/e5/1",
        "embedding.prompt": "prompts:/e5-query/1",
        "seed": "20260101",
        "tipo.champion": "models:/norte.tipo/2",
        "tipo.baseline": "models:/norte.tipo/1",
        "tipo.zero_shot": "prompts:/norte.tipo.zero-shot/1",
        "tipo.routing": "accept_at=0.8 audit=0.05",
    }
    assert BUNDLE.digests()["tipo.champion"] == "c2"


def test_answers_keep_their_name_where_only_what_stands_beside_them_changes() -> None:
    own = BUNDLE.answers_id("tipo")
    same = [
        replace(BUNDLE, seed=1),
        with_task(baseline=ModelRef("norte.tipo", "1", "c0")),
        with_task(accept_at=0.9, audit_share=0.1),
        with_task(labels=("q", "p")),
    ]
    others = [
        replace(BUNDLE, embedding=ModelRef("e5", "1", "a2")),
        replace(BUNDLE, embedding_prompt=PromptRef("e5-query", "2", "b1")),
        with_task(champion=ModelRef("norte.tipo", "3", "c2")),
        with_task(champion_prompt=PromptRef("norte.tipo.zero-shot", "1", "d1")),
        with_task(text_field="subject_and_text"),
        with_task(labels=("p", "q", "r")),
    ]
    assert {bundle.answers_id("tipo") for bundle in same} == {own}
    assert len({own, *(bundle.answers_id("tipo") for bundle in others)}) == len(others) + 1
