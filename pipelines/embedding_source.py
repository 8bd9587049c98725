"""Where an embedding model comes from: the package that carries e5, a folder, or a hub."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from features.e5_package import unpacked
from features.embed import EMBEDDING_MODEL
from lakehouse.errors import InputError

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")

Tell = Callable[[str], None]


def name_of(source: str | None) -> str:
    """Return the name a model is registered under unless another is given.

    >>> name_of("sentence-transformers/LaBSE"), name_of("/modelos/propio/")
    ('LaBSE', 'propio')
    """
    return EMBEDDING_MODEL if source is None else Path(source).name


@contextmanager
def folder_of(source: str | None, home: Path, tell: Tell) -> Iterator[Path]:
    """Lend the folder of a model: the packaged one's where `source` is None.

    A hub's model is saved into a folder that goes at the end: register it before. Raises
    `InputError` where there is no such model.
    """
    if source is None:
        yield unpacked(home, tell)
    elif Path(source).is_dir():
        yield Path(source).absolute()
    elif _HUB_NAME.fullmatch(source):
        from features.sentence_embedder import save_from_hub

        tell(f"asking the hub for '{source}'")
        with tempfile.TemporaryDirectory(prefix="plata-hub-") as made:
            save_from_hub(source, Path(made))
            yield Path(made)
    else:
        msg = (
            f"'{source}' is not a folder; expected one that sentence-transformers opens, or a "
            "hub's name such as 'intfloat/multilingual-e5-base'"
        )
        raise InputError(msg)
