"""Bring the control schema up to date: numbered SQL files, forward only, each once."""

from __future__ import annotations

from importlib import resources

from lakehouse.control.postgres import Postgres

_LOCK = 7_203_114_411
"""Advisory lock, any constant: two programs that migrate at once take turns."""


def migrations() -> list[tuple[str, str]]:
    """Return (name, SQL) of every migration, in order."""
    folder = resources.files("lakehouse.control").joinpath("migrations")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(file.name.removesuffix(".sql"), file.read_text(encoding="utf-8")) for file in files]


def migrate(url: str) -> list[str]:
    """Apply what is missing, all or nothing; return the names applied. Twice applies nothing."""
    with Postgres(url).administer() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        connection.execute("CREATE SCHEMA IF NOT EXISTS meta")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS meta.migrations "
            "(name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {row[0] for row in connection.execute("SELECT name FROM meta.migrations").fetchall()}
        missing = [(name, sql) for name, sql in migrations() if name not in done]
        for name, sql in missing:
            connection.execute(sql.encode())
            connection.execute("INSERT INTO meta.migrations (name) VALUES (%s)", [name])
    return [name for name, _ in missing]
