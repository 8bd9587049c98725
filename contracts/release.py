"""`python -m contracts.release`: record the released forms, and write the page of contracts.

Run it at the root of a checkout. It refuses where a released contract changed in a way that needs
a new version.
"""

from __future__ import annotations

import sys
from pathlib import Path

from contracts.contract import Contract
from contracts.diff import incompatible
from contracts.errors import ContractViolationError
from contracts.odcs import load, shipped
from contracts.page import write_page
from contracts.released import RELEASED, read_form, released_file, write_form
from lakehouse.data.tables import Layer
from lakehouse.errors import PlataError

PAGE = Path("docs/contracts.md")

_LAYERS = tuple(Layer)


def all_contracts() -> list[Contract]:
    """Return every contract that ships, Bronze first, each with all of its versions."""
    found = [load(name, version) for name, version in shipped()]
    return sorted(found, key=lambda c: (_LAYERS.index(c.table.layer), c.table.entity, c.version))


def newest(contracts: list[Contract]) -> list[Contract]:
    """Keep the newest version of each table."""
    return list({contract.table: contract for contract in contracts}.values())


def release(root: Path) -> list[Path]:
    """Write forms and page below `root`; return the files that changed.

    Raises `ContractViolationError` that lists what would break those who rely on a contract.
    """
    contracts = all_contracts()
    texts = {root / PAGE: write_page(newest(contracts))}
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
        follows = f"contracts/v{contract.version + 1}/{contract.table}.yaml"
        problems = [*map(str, found), f"leave this version as it was and write {follows}"]
        raise ContractViolationError.of(str(contract), problems)


if __name__ == "__main__":
    try:
        for changed in release(Path()):
            sys.stdout.write(f"wrote {changed}\n")
    except PlataError as error:
        sys.exit(f"error: {error}")
