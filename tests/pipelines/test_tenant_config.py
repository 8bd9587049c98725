from __future__ import annotations

import pytest

from features.embed import EMBEDDING_MODEL, QUERY_PROMPT, EmbeddingChoice
from lakehouse.errors import ConfigurationError
from lakehouse.tenancy import TenantContext
from pipelines.tenant_config import default_config, tasks_of

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
