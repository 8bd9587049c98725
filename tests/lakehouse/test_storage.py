"""Files under a tenant's prefix are whole or absent, and stay inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pyarrow.fs as pafs
import pytest

from lakehouse.data.storage import FileStore, LakeRoot, read_if_there
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext

NORTE, SUR = TenantContext.parse("norte"), TenantContext.parse("sur")


@pytest.fixture
def files(lake: LakeRoot) -> FileStore:
    return FileStore(lake)


def test_a_file_reads_back_as_it_was_written(files: FileStore, tmp_path: Path) -> None:
    original = tmp_path / "events.jsonl"
    original.write_bytes("{}\n¿señal?".encode())
    files.write(NORTE, "raw/a/events.jsonl", original)
    files.write(NORTE, "raw/a/manifest.json", b"{}")
    assert files.read(NORTE, "raw/a/events.jsonl") == original.read_bytes()
    assert files.read(NORTE, "raw/a/manifest.json") == b"{}"


def test_a_file_of_one_tenant_is_absent_for_another(files: FileStore) -> None:
    files.write(NORTE, "raw/a.json", b"{}")
    assert files.exists(NORTE, "raw/a.json")
    assert not files.exists(SUR, "raw/a.json")


def test_no_draft_stays_behind(files: FileStore, lake: LakeRoot) -> None:
    files.write(NORTE, "raw/a.json", b"one")
    files.write(NORTE, "raw/a.json", b"two")
    (only,) = lake.filesystem().get_file_info(pafs.FileSelector("norte/raw"))
    assert only.base_name == "a.json"
    assert files.read(NORTE, "raw/a.json") == b"two"


@pytest.mark.parametrize("path", ["../sur/raw/a.json", "/etc/passwd", "raw/../../sur/a", ""])
def test_a_path_out_of_the_tenants_prefix_is_refused(files: FileStore, path: str) -> None:
    with pytest.raises(InputError, match="inside a tenant's prefix"):
        files.write(NORTE, path, b"{}")


class Hurried:
    """A file system in which somebody deletes each file right after it was opened."""

    def __init__(self, whole: pafs.FileSystem) -> None:
        self.whole = whole

    def open_input_stream(self, path: str) -> Any:
        stream = self.whole.open_input_stream(path)
        self.whole.delete_file(path)
        return stream

    def get_file_info(self, path: str) -> Any:
        return self.whole.get_file_info(path)


def test_a_file_that_goes_while_it_is_read_was_there_or_was_not(
    files: FileStore, lake: LakeRoot
) -> None:
    files.write(NORTE, "raw/note.json", b"{}")
    hurried = cast(pafs.FileSystem, Hurried(lake.filesystem()))
    assert read_if_there(hurried, "norte/raw/note.json") in (b"{}", None)
    assert read_if_there(lake.filesystem(), "norte/raw/note.json") is None
