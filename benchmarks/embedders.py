"""Texts a second of one core: Plata's embedder against the usual ways to run the same model.

    python -m benchmarks.embedders --texts 60 --repeats 5

All read the same texts in turns. What is divided by is processor time and not the clock, so that
neighbours on the machine weigh little, and threads that only wait for each other are paid for.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from rich.table import Table
from sentence_transformers import SentenceTransformer

from benchmarks.texts import distinct_texts
from features.e5_package import unpacked
from features.embed import GRAPH_FILE, PIECES_FILE, QUERY_TEMPLATE, filled
from features.onnx_embedder import OnnxEmbedder
from serving.cli.output import emit

Encode = Callable[[pa.Array], NDArray[np.float32]]

OURS = "Plata: ONNX, 8 bits, a text at a time, 1 thread"
FULL = "ONNX, full precision, a text at a time, 1 thread"
DEFAULT = "SentenceTransformer.encode, defaults"
ALONE = "SentenceTransformer.encode, 1 thread"

_FULL_GRAPH = "onnx/model_full.onnx"
_CORPUS = 840


@dataclass(frozen=True, slots=True)
class Line:
    """One way. `ratio` is Plata's speed over its speed; cosines are to the model as it comes."""

    way: str
    texts_per_core_second: float
    ratio: float
    mean_cosine: float
    least_cosine: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, then print."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="plata-bench-") as home:
        ways = opened(unpacked(Path(home)))
        lines = measure(ways, texts=options.texts, repeats=options.repeats)
    emit([asdict(line) for line in lines], as_json=options.json, table=lambda: _drawn(lines))


def opened(folder: Path) -> Mapping[str, Encode]:
    """Open the model in every way."""
    write_full_graph(folder)
    model = SentenceTransformer(str(folder), device="cpu")
    threads = torch.get_num_threads()

    def by_transformers(count: int) -> Encode:
        def encode(texts: pa.Array) -> NDArray[np.float32]:
            torch.set_num_threads(count)
            return np.asarray(model.encode(texts.to_pylist(), show_progress_bar=False))

        return encode

    return {
        OURS: OnnxEmbedder(folder, GRAPH_FILE, PIECES_FILE).encode,
        FULL: OnnxEmbedder(folder, _FULL_GRAPH, PIECES_FILE).encode,
        DEFAULT: by_transformers(threads),
        ALONE: by_transformers(1),
    }


def measure(ways: Mapping[str, Encode], *, texts: int, repeats: int) -> tuple[Line, ...]:
    """Let every way read the same texts, in turns."""
    step = max(_CORPUS // texts, 1)
    asked = filled(QUERY_TEMPLATE, pa.array(distinct_texts(texts * step, batch="e")[::step]))
    vectors = {way: encode(asked) for way, encode in ways.items()}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, encode in ways.items():
            began = time.process_time()
            encode(asked)
            seconds[way].append(time.process_time() - began)
    return tuple(
        _line(way, len(asked) / statistics.median(seconds[way]), seconds, vectors) for way in ways
    )


def _line(
    way: str,
    speed: float,
    seconds: Mapping[str, list[float]],
    vectors: Mapping[str, NDArray[np.float32]],
) -> Line:
    pairs = zip(seconds[way], seconds[OURS], strict=True)
    ratio = statistics.median(its / ours for its, ours in pairs)
    cosines = (vectors[way] * vectors[ALONE]).sum(axis=1)
    return Line(way, speed, ratio, float(cosines.mean()), float(cosines.min()))


def write_full_graph(folder: Path) -> None:
    """Write the served graph once more with its products in full precision.

    The weights stay rounded to eight bits: their values do not change how long a product takes.
    """
    model = onnx.load(folder / GRAPH_FILE)
    graph = model.graph
    known = {constant.name: constant for constant in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "DynamicQuantizeMatMul":
            nodes.append(node)
            continue
        value, levels, scales, _, bias = node.input
        weights = numpy_helper.to_array(known[levels]) * numpy_helper.to_array(known[scales])
        known[levels].CopyFrom(numpy_helper.from_array(weights.astype(np.float32), levels))
        product = f"{node.output[0]}.product"
        nodes.append(helper.make_node("MatMul", [value, levels], [product]))
        nodes.append(helper.make_node("Add", [product, bias], list(node.output)))
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, folder / _FULL_GRAPH)


def _drawn(lines: Sequence[Line]) -> Table:
    table = Table(title="Embedding on one core", title_justify="left", header_style="bold")
    table.add_column("way")
    for name in ("texts/s of a core", "Plata is", "cosine, mean", "least"):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(
            line.way,
            f"{line.texts_per_core_second:,.1f}",
            f"{line.ratio:.2f} ×",
            f"{line.mean_cosine:.4f}",
            f"{line.least_cosine:.4f}",
        )
    return table


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(prog="benchmarks.embedders", description=__doc__)
    parser.add_argument("--texts", type=int, default=60, help="texts a turn (60)")
    parser.add_argument("--repeats", type=int, default=5, help="turns (5)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
