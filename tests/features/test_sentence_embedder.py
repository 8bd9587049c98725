"""An ordinary sentence-transformers folder, without a graph of ours."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pyarrow as pa
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from features.embed import embed_step, open_embedder, own_template
from features.sentence_embedder import SentenceTransformerEmbedder, save_from_hub
from features.tiny import write_tiny_model
from lakehouse.compute.batches import map_batches
from lakehouse.errors import InputError
from pipelines.train import register_embedding_model
from registry.memory import MemoryRegistry

WORDS = ["query", ":", "agua", "luz", "calle"]


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ordinary")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(write_tiny_model(place / "tiny", WORDS) / "tokenizer.json"),
        unk_token="<unk>",
        pad_token="<unk>",
    )
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    bert = BertModel(BertConfig(vocab_size=len(WORDS) + 1, num_hidden_layers=1, **sizes))
    bert.save_pretrained(place / "bert")
    tokenizer.save_pretrained(place / "bert")
    reader = Transformer(str(place / "bert"))
    whole = SentenceTransformer(
        modules=[reader, Pooling(reader.get_embedding_dimension())],
        prompts={"query": "pregunta: "},
        default_prompt_name="query",
        device="cpu",
    )
    whole.save(str(place / "model"), create_model_card=False)
    return place / "model"


def test_a_folder_without_a_graph_is_opened_with_sentence_transformers(ordinary: Path) -> None:
    embedder = open_embedder(ordinary)
    assert isinstance(embedder, SentenceTransformerEmbedder)
    assert embedder.dimensions == 16
    vectors = embedder.encode(pa.array(["agua", None, "luz calle"]))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert embedder.encode(pa.array([], pa.string())).shape == (0, 16)


def test_the_model_s_own_prompt_is_not_added_to_a_text_that_comes_filled_in(
    ordinary: Path,
) -> None:
    plain = SentenceTransformer(str(ordinary), device="cpu")
    plain.default_prompt_name = None
    ours = open_embedder(ordinary).encode(pa.array(["agua"]))
    np.testing.assert_allclose(ours, plain.encode(["agua"], normalize_embeddings=True), atol=1e-5)


def test_it_is_registered_with_its_own_prompt_and_served_from_the_registry(ordinary: Path) -> None:
    registry = MemoryRegistry()
    ref = register_embedding_model(registry, ordinary, name="propio")
    prompt = registry.resolve_prompt("propio-query")
    assert registry.template(prompt) == own_template(ordinary) == "pregunta: {{text}}"
    arguments = {"folder": str(registry.fetch(ref)), "template": registry.template(prompt)}
    rows = map_batches(pa.table({"text": ["agua", "luz"]}), embed_step, arguments)
    assert [len(vector) for vector in rows["embedding"].to_pylist()] == [16, 16]


def test_a_folder_that_holds_no_model_is_not_registered(tmp_path: Path) -> None:
    registry = MemoryRegistry()
    with pytest.raises(InputError, match="is not a folder that sentence-transformers opens") as e:
        register_embedding_model(registry, tmp_path, name="nada")
    assert "\n" not in str(e.value)
    assert registry.models() == []


def test_a_hub_that_cannot_be_reached_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"on a hub that can be reached from here") as error:
        save_from_hub("plata-tests/no-hay", tmp_path)
    assert "\n" not in str(error.value)
