"""The packaged embedding model: unpacked once, whole, and served near its full precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from features import e5_package
from features.e5_package import MODEL_NAME, unpacked
from features.embed import PIECES_FILE, open_embedder
from features.onnx_embedder import MAX_TOKENS, tokenizer_of
from lakehouse.errors import ConfigurationError
from pipelines.demo_corpus import corpus
from registry.refs import folder_digest

TEXTS = [
    "query: Solicito copia del certificado de residencia de mi mamá.",
    "query: El funcionario de la ventanilla 3 me gritó delante de todos.",
    "query: Me cobraron dos veces el acueducto en la factura de octubre.",
    "query: Propongo que abran la biblioteca los domingos: ¡sería buenísimo!",
    "query: Hay un hueco en la vía hace tres meses y nadie lo arregla.",
    "query: No hay agua en el barrio desde ayer; tenemos niños y ancianos.",
    "query: ¿Cuáles son los requisitos para la pensión?",
    "query: gracias",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    left = home / "models" / f".{MODEL_NAME}.1"
    left.mkdir(parents=True)
    (left / "half.safetensors").write_text("a killed call left this")
    unpacked(home)
    return home


def test_the_folder_is_made_once_and_what_a_killed_call_left_is_gone(home: Path) -> None:
    told: list[str] = []
    folder = unpacked(home, told.append)
    assert told == []
    assert [path.name for path in folder.parent.iterdir()] == [MODEL_NAME]


def test_unpacking_gives_the_same_bytes_every_time(home: Path, tmp_path: Path) -> None:
    assert folder_digest(unpacked(tmp_path)) == folder_digest(unpacked(home))


def test_the_served_graph_is_near_the_full_precision_model(home: Path) -> None:
    from features.sentence_embedder import SentenceTransformerEmbedder

    folder = unpacked(home)
    texts = pa.array(TEXTS)
    full = SentenceTransformerEmbedder(folder)
    served = open_embedder(folder)
    cosine = (full.encode(texts) * served.encode(texts)).sum(axis=1)
    assert full.dimensions == served.dimensions == 384
    assert cosine.min() >= 0.99, cosine


def test_like_requests_are_nearer_than_unlike_ones(home: Path) -> None:
    given = pa.array(
        [
            "query: Me cobraron de más en el recibo del agua",
            "query: La factura del acueducto llegó con un valor errado",
            "query: Propongo sembrar árboles en el parque",
        ]
    )
    vectors = open_embedder(unpacked(home)).encode(given)
    near = vectors @ vectors.T
    assert near[0, 1] > near[0, 2]
    np.testing.assert_allclose(np.diag(near), 1.0, atol=1e-5)


def test_a_file_that_is_not_the_one_expected_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "e5-small-q4.bin"
    other.write_bytes(b"something else")
    monkeypatch.setattr(e5_package, "packaged_file", lambda: other)
    with pytest.raises(ConfigurationError, match="has SHA-256"):
        unpacked(tmp_path / "home")


def test_both_forms_of_the_tokenizer_give_the_same_numbers(home: Path) -> None:
    folder = unpacked(home)
    numbers = tokenizer_of(folder, PIECES_FILE)
    fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
    fast.enable_truncation(MAX_TOKENS)
    texts = [f"query: {request['texto']}" for request in corpus()]
    texts += [
        "query: ",
        "query:  dos  espacios ",
        "query: ½ ﬁn ＡＢＣ\t→ 🚰",
        "query: " + "agua " * 900,
    ]
    assert [numbers(text) for text in texts] == [fast.encode(text).ids for text in texts]
