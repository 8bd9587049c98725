"""How what is to be judged is named."""

from __future__ import annotations

import pytest

from lakehouse.errors import InputError
from models.routing import RoutingPolicy
from models.task import Task
from pipelines.challenger import address

TASK = Task("tipo", {"p": "P", "q": "Q"}, "text", "norte.tipo", "z", RoutingPolicy(0.8))


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("7", "models:/norte.tipo/7"),
        ("@baseline", "models:/norte.tipo@baseline"),
        ("otro.tipo/12", "models:/otro.tipo/12"),
        ("norte.tipo@champion", "models:/norte.tipo@champion"),
        ("models:/a/1", "models:/a/1"),
        ("prompts:/a@champion", "prompts:/a@champion"),
    ],
)
def test_a_version_is_written_in_short_or_in_full(asked: str, meant: str) -> None:
    assert address(asked, TASK) == meant


@pytest.mark.parametrize("asked", ["", "norte.tipo", "norte.tipo/x", "v7", "norte/tipo/7"])
def test_what_names_nothing_is_refused_with_how_to_write_it(asked: str) -> None:
    with pytest.raises(InputError, match=r"write 7, @baseline, norte\.tipo/7"):
        address(asked, TASK)
