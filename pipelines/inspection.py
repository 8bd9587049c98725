"""One table looked at closely: its state, its layout, and what its columns hold."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.contract import Contract
from lakehouse.control.catalogue import TableEntry
from lakehouse.data.as_of import AsOf
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from pipelines.catalogue import entry_of, sql_name, versions_at
from pipelines.profile import ColumnProfile, profile
from pipelines.sql import SqlPorts


@dataclass(frozen=True, slots=True)
class Inspection:
    """One version of a table and what was found in it."""

    entry: TableEntry
    partitions: tuple[str, ...]
    properties: tuple[tuple[str, str], ...]
    columns: tuple[ColumnProfile, ...]


def inspect(
    contract: Contract, tenant: TenantContext, ports: SqlPorts, *, as_of: AsOf | None = None
) -> Inspection:
    """Look at a table, at a point in time where one is given. Raises `InputError` for none."""
    table, at = contract.table, None
    if as_of is not None:
        at = versions_at(as_of, [table], tenant, store=ports.store, log=ports.log)[table]
    state = ports.store.state(table, tenant, at=at)
    rows = None if state is None else ports.store.dataset(table, tenant, at=state.version)
    if state is None or rows is None:
        msg = (
            f"tenant '{tenant.tenant_id}' has no {sql_name(table)} yet; "
            f"`plata run --tenant {tenant.tenant_id}` writes it"
        )
        raise InputError(msg)
    columns = tuple(profile(contract, rows, ports.engine))
    return Inspection(entry_of(contract, state), state.partitions, state.properties, columns)
