"""Make Argilla's tables, ours and the owner: `python -m plata_argilla_search.prepare`.

Does in one process what `argilla_server database migrate` and `users create_default` do in two.
What we keep beside Argilla's tables is taken away before its migrations, so that nothing of ours
stands in their way, and made anew after them. The version is left as a comment on the database, so
that later starts can skip all this.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import alembic.config
from argilla_server._version import __version__
from argilla_server.contexts import accounts
from argilla_server.database import ALEMBIC_CONFIG_FILE, AsyncSessionLocal, sync_engine
from argilla_server.models import User, UserRole
from sqlalchemy import text

from plata_argilla_search.tables import SCHEMA

SCHEMA_FILE = Path(__file__).with_name("schema.sql")
_ADVICE = {
    # Plans are made for the values of a question: of one dataset's words some are on every second
    # record and some on three. Compiling takes longer than the questions do.
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    "random_page_cost": "1.1",
    "work_mem": "32MB",
}


def version() -> str:
    """Name what prepares the database: Argilla's version and the content of our schema."""
    return f"{__version__}+{hashlib.sha256(SCHEMA_FILE.read_bytes()).hexdigest()[:12]}"


def migrate() -> None:
    """Bring Argilla's tables up to date, then make ours from what they hold."""
    with sync_engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
    alembic.config.main(argv=["-c", ALEMBIC_CONFIG_FILE, "upgrade", "head"])
    with sync_engine.begin() as connection:
        connection.exec_driver_sql(SCHEMA_FILE.read_text(encoding="utf-8"))


async def ensure_owner(username: str, password: str, api_key: str) -> None:
    """Create the owner, or give an existing one the log-in of this installation."""
    async with AsyncSessionLocal() as session:
        hashed = accounts.hash_password(password)
        found = await accounts.get_user_by_username(session, username)
        if found is None:
            await User.create(
                session,
                first_name=username,
                username=username,
                role=UserRole.owner,
                api_key=api_key,
                password_hash=hashed,
                workspaces=[],
            )
        else:
            await found.update(session, api_key=api_key, password_hash=hashed)


async def leave_version(version: str) -> None:
    """Advise the planner, and write on the database which version prepared it."""
    async with AsyncSessionLocal() as session:
        name = (await session.execute(text("SELECT quote_ident(current_database())"))).scalar_one()
        # Neither statement takes parameters; the values are our own.
        for setting, value in _ADVICE.items():
            await session.execute(text(f"ALTER DATABASE {name} SET {setting} = '{value}'"))
        await session.execute(text(f"COMMENT ON DATABASE {name} IS '{version}'"))
        await session.commit()


async def main() -> None:
    """Read the owner from the environment: a command line is for everybody to read."""
    names = ("PLATA_OWNER", "PLATA_OWNER_PASSWORD", "PLATA_OWNER_API_KEY")
    await ensure_owner(*(os.environ[name] for name in names))
    await leave_version(version())


if __name__ == "__main__":
    migrate()
    asyncio.run(main())
