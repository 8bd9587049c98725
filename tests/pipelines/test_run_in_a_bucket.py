"""A run whose lake is a bucket leaves the rows of a run whose lake is a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pyarrow.fs as pafs

from lakehouse.data.delta import DeltaTableStore
from lakehouse.data.delta_maintenance import DeltaTableMaintenance
from lakehouse.data.storage import FileStore, LakeRoot
from lakehouse.settings import Settings
from pipelines.run import run_tenant


def test_a_run_in_a_bucket_leaves_the_same_tables(
    killable: ModuleType, server: str, prepared: Path, whole: Any, s3_settings: Settings
) -> None:
    url, lake = killable.copied(server, prepared, "bucket")
    bucket = LakeRoot(f"{s3_settings.lake}/{uuid4().hex}", s3_settings.lake_options)
    copy(LakeRoot(str(lake)), bucket)
    ports = replace(
        killable.ports_at(url, lake),
        store=DeltaTableStore(bucket),
        files=FileStore(bucket),
        maintenance=DeltaTableMaintenance(bucket),
    )
    run_tenant(killable.NORTE, killable.tasks(), ports, at=killable.SECOND)
    back = lake.with_name("back")
    back.mkdir()
    copy(bucket, LakeRoot(str(back)))
    assert killable.tables(url, back) == whole.found


def copy(source: LakeRoot, target: LakeRoot) -> None:
    """Copy a whole lake: a Delta table names its files by where they lie inside its folder."""
    here, there = source.filesystem(), target.filesystem()
    pafs.copy_files(
        here.base_path,
        there.base_path,
        source_filesystem=here.base_fs,
        destination_filesystem=there.base_fs,
    )
