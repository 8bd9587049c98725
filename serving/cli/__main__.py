"""`python -m serving.cli` is `plata`."""

from __future__ import annotations

from serving.cli.app import main

main()
