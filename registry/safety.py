"""What a model folder may hold: formats that are data, each checked before anything opens it.

Nothing here imports, unpickles or runs what a file names. Whoever registers, fetches or opens a
folder asks `check_folder` first; whoever opens one of the registry's, `check_registered`.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from registry.errors import ArtifactError
from registry.formats import (
    check_json,
    check_parquet,
    check_pieces,
    check_safetensors,
    check_text,
    check_yaml,
)
from registry.mlmodel import MODEL_FILE, check_mlmodel
from registry.onnx_file import check_onnx
from registry.refs import folder_digest
from registry.skops_file import check_skops

_MOST_FILES = 1_000
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ODD = re.compile(r"[\x00-\x1f\\:]")
_TENSORS = {".data", ".onnx_data"}
"""What a graph may keep outside its own file; nothing else reads them."""


def check_folder(folder: Path) -> None:
    """Raise `ArtifactError` unless every file is of a kind that runs nothing, and is sound.

    One line names the file and what is wrong with it. Reads each file once; opens no model.
    """
    files = list(_files(folder))
    tensors: set[Path] = set()
    for path in files:
        if path.suffix in _TENSORS:
            continue
        try:
            if path.suffix == ".onnx":
                tensors |= check_onnx(path, folder)
            else:
                _check_of(path)(path)
        except ArtifactError as error:
            raise _refused(path, folder, str(error)) from error
        except (OSError, RecursionError) as error:
            raise _refused(path, folder, f"cannot be read: {error}") from error
    for path in files:
        if path.suffix in _TENSORS and path not in tensors:
            raise _refused(path, folder, "belongs to no graph")


def check_registered(folder: Path) -> None:
    """Check a folder about to be opened; one that a digest names must have that digest.

    The registry keeps what it fetches under its digest, and a run's plan pins digests: so a worker,
    who is handed a path, opens what was promoted or nothing.
    """
    if _DIGEST.fullmatch(folder.name) and folder_digest(folder) != folder.name:
        msg = (
            f"the model files in '{folder}' are not those their digest names: somebody changed "
            "them. Remove the folder, and the next run fetches it again"
        )
        raise ArtifactError(msg)
    check_folder(folder)


def _files(folder: Path) -> Iterator[Path]:
    """List the files of a folder; a link, a device and a name that deceives are refused."""
    found = 0
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise _refused(path, folder, "is a link, and may lead anywhere")
        if _ODD.search(path.name):
            raise _refused(path, folder, "has a name with characters that paths treat specially")
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise _refused(path, folder, "is not a file")
        found += 1
        if found > _MOST_FILES:
            raise _refused(path, folder, f"is one of more than {_MOST_FILES:,} files")
        yield path


def _check_of(path: Path) -> Callable[[Path], None]:
    check = _NAMED.get(path.name) or _CHECKS.get(path.suffix)
    if check is None:
        kind = _RUNS.get(path.suffix, "is of a kind that is not known to be only data")
        raise ArtifactError(kind)
    return check


_CHECKS: Mapping[str, Callable[[Path], None]] = {
    ".csv": check_text,
    ".json": check_json,
    ".md": check_text,
    ".model": check_pieces,
    ".parquet": check_parquet,
    ".safetensors": check_safetensors,
    ".skops": check_skops,
    ".txt": check_text,
    ".yaml": check_yaml,
    ".yml": check_yaml,
}

_NAMED = {MODEL_FILE: check_mlmodel, "registered_model_meta": check_yaml}
"""MLflow's own files, which have no ending."""

_PICKLED = "is a pickle, and opening one runs whatever it says"
_TORCH = f"may be of torch's own format, which {_PICKLED}; save it as safetensors"
_RUNS = {
    **dict.fromkeys((".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill"), _PICKLED),
    **dict.fromkeys((".bin", ".pt", ".pth", ".ckpt"), _TORCH),
    **dict.fromkeys((".npy", ".npz"), "may hold a pickle"),
    **dict.fromkeys((".py", ".pyc", ".so", ".dll", ".dylib", ".sh"), "is a program"),
    **dict.fromkeys((".h5", ".keras"), "may hold layers that are programs"),
}


def _refused(path: Path, folder: Path, reason: str) -> ArtifactError:
    shown = path.relative_to(folder).as_posix().encode("unicode_escape").decode()
    return ArtifactError(
        f"'{shown}' {reason}; a model folder holds safetensors, ONNX, skops, JSON, YAML, Parquet "
        "and plain text, see docs/bring-your-model.md"
    )
