"""`python -m contracts.release`: record the released forms, and write the page of contracts.

Raw's JSON Schema is written too, from the types that read its lines. Run it at the root of
a checkout. It refuses where a released contract changed in a way that needs a new version.
"""

from __future__ import annotations

import sys
from pathlib import Path

from contracts.contract import Contract
from contracts.diff import incompatible
from contracts.errors import ContractViolationError
from contracts.odcs import load, shipped
from contracts.page import write_page
from contracts.raw_schema import RAW_EVENT, SCHEMA_FILE, load_raw, write_schema
from contracts.released import RELEASED, read_form, released_file, write_form
from lakehouse.data.tables import Layer
from lakehouse.errors import PlataError

PAGE = Path("docs/contracts.md")

_LAYERS = tuple(Layer)


def all_contracts() -> list[Contract]:
    """Return every contract that ships, Raw's first, each with all of its versions."""
    found = [load_raw(), *(load(name, version) for name, version in shipped())]
    return sorted(found, key=lambda c: (_LAYERS.index(c.table.layer), c.table.entity, c.version))


def find_contract(name: str, version: int | None = None) -> Contract:
    """Return a table's contract or Raw's, its newest version unless one is named.

    Raises `UnknownContractError`.
    """
    return load_raw(version) if name == str(RAW_EVENT) else load(name, version)


def newest(contracts: list[Contract]) -> list[Contract]:
    """Keep the newest version of each table."""
    return list({contract.table: contract for contract in contracts}.values())


def release(root: Path) -> list[Path]:
    """Write forms, page and Raw's schema below `root`; return the files that changed.

    Raises `ContractViolationError` that lists what would break those who rely on a contract.
    """
    contracts = all_contracts()
    texts = {root / PAGE: write_page(newest(contracts)), root / SCHEMA_FILE: write_schema()}
    for contract in contracts:
        if contract.status == RELEASED:
            _require_compatible(contract, root)
            texts[root / released_file(contract)] = write_form(contract)
    written = []
    for file, text in texts.items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            written.append(file)
    return written


def _require_compatible(contract: Contract, root: Path) -> None:
    file = root / released_file(contract)
    if not file.exists():
        return
    found = incompatible(read_form(file.read_text(encoding="utf-8")), contract)
    if found:
        ending = "schema.json" if contract.table == RAW_EVENT else "yaml"
        follows = f"contracts/v{contract.version + 1}/{contract.table}.{ending}"
        problems = [*map(str, found), f"leave this version as it was and write {follows}"]
        raise ContractViolationError.of(str(contract), problems)


if __name__ == "__main__":
    try:
        for changed in release(Path()):
            sys.stdout.write(f"wrote {changed}\n")
    except PlataError as error:
        sys.exit(f"error: {error}")
