"""The catalogue kept equal to the lake, and points in time resolved against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches

from contracts.contract import Contract
from contracts.tables import BRONZE, GOLD, SIDE, SILVER
from lakehouse.control.catalogue import TableCatalogue, TableEntry
from lakehouse.control.runs import RunLog
from lakehouse.data.as_of import AsOf, NotThereYetError
from lakehouse.data.history import TableHistory, TableState
from lakehouse.data.tables import TableRef
from lakehouse.errors import InputError
from lakehouse.run import RunId
from lakehouse.tenancy import TenantContext

CONTRACTS: Mapping[TableRef, Contract] = {
    contract.table: contract for contract in (*BRONZE, *SILVER, *SIDE, *GOLD)
}


def find_contract(name: str) -> Contract:
    """Return the contract of a table written `silver.tickets` or `silver_tickets`.

    Raises `InputError` that names the nearest tables.
    """
    known = {str(table): contract for table, contract in CONTRACTS.items()}
    wanted = name.strip().lower().replace(".", "_", 1)
    if wanted in known:
        return known[wanted]
    raise unknown_table(name, [sql_name(table) for table in CONTRACTS])


def unknown_table(name: str, known: Sequence[str]) -> InputError:
    """Say that there is no such table, and which come near."""
    by_end = {one.split(".")[-1]: one for one in known}
    near = get_close_matches(name.lower(), known, n=3, cutoff=0.6) or [
        by_end[end] for end in get_close_matches(name.lower().split(".")[-1], by_end, n=3)
    ]
    hint = f"did you mean {', '.join(near)}?" if near else "see `plata tables list`"
    return InputError(f"there is no table '{name}'; {hint}")


def sql_name(table: TableRef) -> str:
    """Write a table's name as SQL and people do."""
    return f"{table.layer}.{table.entity}"


def measure(
    tenant: TenantContext, store: TableHistory, *, versions: Mapping[TableRef, int] | None = None
) -> list[TableEntry]:
    """Look at every table the tenant has in the lake, or at the given versions of some."""
    wanted = CONTRACTS if versions is None else versions
    at = {} if versions is None else versions
    found = []
    for table in wanted:
        state = store.state(table, tenant, at=at.get(table))
        if state is not None:
            found.append(entry_of(CONTRACTS[table], state))
    return found


def refresh_catalogue(
    tenant: TenantContext, *, store: TableHistory, catalogue: TableCatalogue
) -> list[TableEntry]:
    """Write down what the lake says of the tenant's tables."""
    entries = measure(tenant, store)
    catalogue.replace(entries, tenant)
    return entries


def versions_at(
    as_of: AsOf,
    tables: Sequence[TableRef],
    tenant: TenantContext,
    *,
    store: TableHistory,
    log: RunLog,
) -> dict[TableRef, int]:
    """Say which version of each table `as_of` means.

    Raises `InputError` where a table was not there yet, where the run is not known or has not
    ended, and where one version number is asked of several tables.
    """
    if as_of.version is not None and len(tables) > 1:
        raise _of_one_table(as_of, tables)
    outputs = _outputs(as_of, tenant, log)
    return {t: as_of.version_of(t, store.commits(t, tenant), outputs) for t in tables}


def tables_at(
    as_of: AsOf, tenant: TenantContext, *, store: TableHistory, log: RunLog
) -> dict[TableRef, int]:
    """Say which version of each table there was at `as_of`; leave out what was not there yet.

    Raises `InputError` for a version number, which is of one table only.
    """
    if as_of.version is not None:
        raise _of_one_table(as_of, list(CONTRACTS))
    outputs = _outputs(as_of, tenant, log)
    found = {}
    for table in CONTRACTS:
        with suppress(NotThereYetError):
            commits = store.commits(table, tenant)
            found[table] = as_of.version_of(table, commits, outputs)
    return found


def run_at(
    as_of: AsOf, table: TableRef, tenant: TenantContext, *, store: TableHistory, log: RunLog
) -> RunId:
    """Say which run had written to a table last at `as_of`. Raises as `versions_at` does."""
    version = versions_at(as_of, [table], tenant, store=store, log=log)[table]
    commits = [c for c in store.commits(table, tenant) if c.version <= version]
    written = [commit.run_id for commit in commits if commit.run_id is not None]
    if not written:
        msg = f"no run that is still in its log had written {sql_name(table)} at {as_of.text}"
        raise NotThereYetError(msg)
    return written[-1]


def _of_one_table(as_of: AsOf, tables: Sequence[TableRef]) -> InputError:
    names = ", ".join(sql_name(table) for table in tables[:3])
    return InputError(
        f"version {as_of.version} is of one table, and these are several ({names} …): "
        "give a run id, a day or a moment"
    )


def _outputs(as_of: AsOf, tenant: TenantContext, log: RunLog) -> Mapping[str, int]:
    """Return the versions a run's manifest names: what it left, and what it read beside."""
    if as_of.run_id is None:
        return {}
    record = log.find(tenant, as_of.run_id)
    if record is None:
        msg = (
            f"tenant '{tenant.tenant_id}' has no run '{as_of.run_id}'; "
            f"see `plata runs list --tenant {tenant.tenant_id}`"
        )
        raise InputError(msg)
    if record.manifest is None:
        msg = f"run {as_of.run_id} is {record.status} and left no manifest, so no state to go to"
        raise InputError(msg)
    return {**record.manifest.get("inputs", {}), **record.manifest.get("outputs", {})}


def entry_of(contract: Contract, state: TableState) -> TableEntry:
    """Join what the lake says of a table with what its contract promises."""
    return TableEntry(
        layer=contract.table.layer.value,
        table=contract.table.entity,
        location=state.location,
        contract_version=contract.version,
        owner=contract.owner,
        version=state.version,
        rows=state.rows,
        files=state.files,
        size_bytes=state.size_bytes,
        written_at=state.written_at,
        newest_day=state.newest_day,
        last_run=state.last_run,
    )
