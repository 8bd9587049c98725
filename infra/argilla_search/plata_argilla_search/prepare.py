"""Make Argilla's tables and its owner: `python -m plata_argilla_search.prepare`.

Does in one process what `argilla_server database migrate` and `users create_default` do in two,
and leaves the version as a comment on the database, so that later starts can skip it.
"""

from __future__ import annotations

import asyncio
import os

import alembic.config
from argilla_server._version import __version__
from argilla_server.contexts import accounts
from argilla_server.database import ALEMBIC_CONFIG_FILE, AsyncSessionLocal
from argilla_server.models import User, UserRole
from sqlalchemy import text


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
    """Write on the database which version prepared it."""
    async with AsyncSessionLocal() as session:
        name = (await session.execute(text("SELECT quote_ident(current_database())"))).scalar_one()
        # COMMENT takes no parameters; the version is the package's own.
        await session.execute(text(f"COMMENT ON DATABASE {name} IS '{version}'"))
        await session.commit()


async def main() -> None:
    """Read the owner from the environment: a command line is for everybody to read."""
    names = ("PLATA_OWNER", "PLATA_OWNER_PASSWORD", "PLATA_OWNER_API_KEY")
    await ensure_owner(*(os.environ[name] for name in names))
    await leave_version(__version__)


if __name__ == "__main__":
    alembic.config.main(argv=["-c", ALEMBIC_CONFIG_FILE, "upgrade", "head"])
    asyncio.run(main())
