"""A skops file against our own list of types: never the file's, and narrower than skops's.

What skops would build is written in `schema.json` of a zip. Every node of it must be a pair of
loader and type from the list; methods, functions and partials are on no list. Trees are not
either: their arrays are indexes that scikit-learn follows without looking.
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.lib import format as npy

from registry.errors import ArtifactError
from registry.formats import read_json

_SCHEMA = "schema.json"
_PROTOCOLS = {2}
_MOST_BYTES = 1 << 30
_MOST_SCHEMA = 128 << 20
_MARK = b"PK\x03\x04"

_NUMBERS = tuple(
    f"numpy.{name}"
    for name in ("float32", "float64", "int32", "int64", "uint8", "bool", "bool_", "str_")
)
_PLAIN = ("str", "int", "float", "bool", "NoneType")
TRUSTED_ESTIMATORS = (
    "sklearn.calibration.CalibratedClassifierCV",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.decomposition._truncated_svd.TruncatedSVD",
    "sklearn.feature_extraction.text.CountVectorizer",
    "sklearn.feature_extraction.text.HashingVectorizer",
    "sklearn.feature_extraction.text.TfidfTransformer",
    "sklearn.feature_extraction.text.TfidfVectorizer",
    "sklearn.linear_model._logistic.LogisticRegression",
    "sklearn.linear_model._stochastic_gradient.SGDClassifier",
    "sklearn.naive_bayes.BernoulliNB",
    "sklearn.naive_bayes.ComplementNB",
    "sklearn.naive_bayes.GaussianNB",
    "sklearn.naive_bayes.MultinomialNB",
    "sklearn.pipeline.FeatureUnion",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing._data.MaxAbsScaler",
    "sklearn.preprocessing._data.MinMaxScaler",
    "sklearn.preprocessing._data.Normalizer",
    "sklearn.preprocessing._data.StandardScaler",
    "sklearn.preprocessing._label.LabelBinarizer",
    "sklearn.preprocessing._label.LabelEncoder",
    "sklearn.svm._classes.LinearSVC",
)
_TRUSTED = {
    *(("ObjectNode", name) for name in TRUSTED_ESTIMATORS),
    *(("NdArrayNode", name) for name in ("numpy.ndarray", *_NUMBERS)),
    *(("TypeNode", name) for name in _NUMBERS),
    *(("TypeNode", f"builtins.{name}") for name in _PLAIN),
    *(("JsonNode", f"builtins.{name}") for name in _PLAIN),
    ("DictNode", "builtins.dict"),
    ("ListNode", "builtins.list"),
    ("SetNode", "builtins.set"),
    ("TupleNode", "builtins.tuple"),
    ("LossNode", "sklearn._loss._loss.CyHalfBinomialLoss"),
    ("LossNode", "sklearn._loss._loss.CyHalfMultinomialLoss"),
    ("SparseMatrixNode", "scipy.sparse._csr.csr_matrix"),
}


def check_skops(path: Path) -> None:
    """Refuse a zip that is not one of skops's, and a type that is not on our list."""
    with path.open("rb") as file:
        if file.read(len(_MARK)) != _MARK:
            msg = "is not skops: it does not begin as a zip"
            raise ArtifactError(msg)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive)
            _check_nodes(read_json(archive.read(_SCHEMA)))
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        msg = f"is not skops: {' '.join(str(error).split())[:160]}"
        raise ArtifactError(msg) from error


def _check_members(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    if names.count(_SCHEMA) != 1 or len(set(names)) != len(names):
        msg = f"is not skops: it must hold one {_SCHEMA}, and no name twice"
        raise ArtifactError(msg)
    if sum(member.file_size for member in members) > _MOST_BYTES:
        msg = f"swells to more than {_MOST_BYTES >> 20:,} MB"
        raise ArtifactError(msg)
    if archive.getinfo(_SCHEMA).file_size > _MOST_SCHEMA:
        msg = f"has a {_SCHEMA} of more than {_MOST_SCHEMA >> 20:,} MB"
        raise ArtifactError(msg)
    for member in members:
        _check_member(archive, member)


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    name = member.filename
    if name == _SCHEMA:
        return
    if stat.S_ISLNK(member.external_attr >> 16) or any(mark in name for mark in ("/", "\\", "..")):
        msg = f"holds '{name}', a place outside of itself"
        raise ArtifactError(msg)
    if name.endswith(".npz"):
        return  # scipy reads it, and without pickles
    if not name.endswith(".npy"):
        msg = f"holds '{name}', which is neither numbers nor {_SCHEMA}"
        raise ArtifactError(msg)
    with archive.open(member) as numbers:
        version = npy.read_magic(numbers)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        if read(numbers)[2].hasobject:
            msg = f"holds '{name}', an array that is a pickle"
            raise ArtifactError(msg)


def _check_nodes(schema: Any) -> None:
    if not isinstance(schema, dict) or schema.get("protocol") not in _PROTOCOLS:
        msg = "is of another protocol of skops than the one that is read; save it with skops 0.9+"
        raise ArtifactError(msg)
    for node in _nodes(schema):
        kind = f"{node.get('__module__')}.{node.get('__class__')}"
        if (node.get("__loader__"), kind) not in _TRUSTED:
            msg = (
                f"builds '{kind}' ({node.get('__loader__')}), which is not on Plata's list of "
                "types; export the model to ONNX"
            )
            raise ArtifactError(msg)


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """List every node, wherever it hangs: what has any of the words by which skops knows one."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if "__loader__" in one or "__class__" in one or "__module__" in one:
                yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
