"""Run the notebook against the local services and keep what it printed (`make notebook`).

It runs in the folder it is written to, which is this one unless another is named. The time each
cell took is left out: what is kept differs only where the answers do.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

NOTEBOOK = Path(__file__).with_name("promote-a-model.ipynb")


def execute(folder: Path) -> None:
    """Run every cell in `folder` and write the notebook there; a cell that fails ends it."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with TemporaryDirectory() as sockets:  # it is spoken to through files: no port is opened
        speak = {"transport": "ipc", "ip": f"{sockets}/kernel"}
        NotebookClient(
            notebook,
            startup_timeout=300,
            timeout=600,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            config=Config({"KernelManager": speak}),
            record_timing=False,
        ).execute()
    nbformat.write(notebook, folder / NOTEBOOK.name)


if __name__ == "__main__":
    execute(Path(sys.argv[1]) if len(sys.argv) > 1 else NOTEBOOK.parent)
