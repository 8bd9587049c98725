from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from features.embed import (
    EmbeddingSpace,
    as_lists,
    as_matrix,
    embed_step,
    encode_once,
    filled,
    open_embedder,
)
from features.tiny import write_tiny_model
from lakehouse.compute.batches import map_batches
from registry.errors import ArtifactError, PromptError
from registry.refs import ModelRef, PromptRef


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ["query", ":", "agua", "luz", "calle", "factura"]
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model", words)


def vectors(folder: Path, *texts: str | None) -> np.ndarray:
    return open_embedder(folder).encode(pa.array(texts, pa.string()))


def test_vectors_have_length_one(folder: Path) -> None:
    lengths = np.linalg.norm(vectors(folder, "agua", "luz y calle", "", None), axis=1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-5)


def test_a_text_has_the_same_vector_whatever_stands_beside_it(folder: Path) -> None:
    alone = vectors(folder, "agua")[0]
    beside = vectors(folder, "una calle larga " * 40, "agua", "luz")[1]
    assert (alone == beside).all()


def test_no_texts_give_no_vectors(folder: Path) -> None:
    assert vectors(folder).shape == (0, 32)


def test_a_text_longer_than_the_model_reads_is_cut(folder: Path) -> None:
    long, longer = vectors(folder, "agua " * 512, "agua " * 2000)
    assert (long == longer).all()


def test_the_step_adds_a_vector_to_every_row_and_keeps_their_order(folder: Path) -> None:
    rows = pa.table({"ticket_id": ["a", "b", "c"], "text": ["agua", None, "agua"]})
    arguments = {"folder": str(folder), "template": "query: {{text}}"}
    done = map_batches(rows, embed_step, arguments, batch_rows=2)
    assert done["ticket_id"].to_pylist() == ["a", "b", "c"]
    assert done.schema.field("embedding").type == pa.list_(pa.float32())
    found = as_matrix(done["embedding"])
    assert (found[0] == found[2]).all()
    assert (found == vectors(folder, "query: agua", "query: ", "query: agua")).all()


def test_the_step_keeps_its_shape_without_rows(folder: Path) -> None:
    rows = pa.table({"text": pa.array([], pa.string())})
    arguments = {"folder": str(folder), "template": "query: {{text}}"}
    done = map_batches(rows, embed_step, arguments)
    assert (len(done), done.column_names) == (0, ["text", "embedding"])


def test_equal_texts_are_encoded_once() -> None:
    class Counting:
        dimensions = 2
        seen: list[str]

        def encode(self, texts: pa.Array) -> np.ndarray:
            self.seen = texts.to_pylist()
            return np.array([[float(len(text)), 0.0] for text in self.seen], np.float32)

    counting = Counting()
    found = encode_once(counting, pa.array(["a", "bb", "a", None, "bb"]))
    assert found[:, 0].tolist() == [1.0, 2.0, 1.0, 0.0, 2.0]
    assert counting.seen == ["a", "bb", ""]


def test_lists_and_matrices_are_two_forms_of_the_same() -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(3, 2)
    column = pa.chunked_array([as_lists(matrix[:1]), as_lists(matrix[1:])])
    assert (as_matrix(column) == matrix).all()


@pytest.mark.parametrize("template", ["query:", "{{text}} y {{text}}", "query: {text}"])
def test_a_prompt_that_does_not_hold_the_text_once_is_refused(template: str) -> None:
    with pytest.raises(PromptError, match="holds"):
        filled(template, pa.array(["agua"]))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model_int8.onnx").write_bytes(b"no graph")
    with pytest.raises(ArtifactError, match="is not ONNX"):
        open_embedder(tmp_path)


def test_another_version_is_another_space() -> None:
    prompt = PromptRef("e5-query", "1", "aa")
    spaces = {
        EmbeddingSpace.of(ModelRef("e5", "1", "00"), prompt, 384).space_id,
        EmbeddingSpace.of(ModelRef("e5", "2", "00"), prompt, 384).space_id,
        EmbeddingSpace.of(
            ModelRef("e5", "1", "00"), PromptRef("e5-query", "2", "aa"), 384
        ).space_id,
    }
    assert len(spaces) == 3


def test_serving_a_graph_loads_no_training_library(folder: Path) -> None:
    code = (
        "import sys, pyarrow as pa; from pathlib import Path; from features.embed import *;"
        f"open_embedder(Path({str(folder)!r})).encode(pa.array(['agua']));"
        "print(*{'torch', 'transformers', 'sentence_transformers', 'sklearn'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""
