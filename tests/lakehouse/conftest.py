"""A lake of one's own, once as a folder and once as a bucket."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from lakehouse.data.storage import LakeRoot


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> LakeRoot:
    """The root of an empty lake."""
    if request.param == "folder":
        return LakeRoot(str(tmp_path / "un lago con ñ"))
    settings = request.getfixturevalue("s3_settings")
    return LakeRoot(f"{settings.lake}/{uuid4().hex}", settings.lake_options)
