"""Folders on this machine that are either whole or not there."""

from __future__ import annotations

import shutil
from pathlib import Path


def put_in_place(made: Path, folder: Path) -> None:
    """Rename a finished folder to where it belongs, beside it on one disk.

    Another process may have been quicker, with the same content: then its folder stays.
    """
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(made)
