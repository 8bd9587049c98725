"""What a process judged of a run's rows while it staged them: they need not be read back for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from contracts.contract import Contract
from contracts.quality import TableAudit
from lakehouse.data.tables import Staged, TableRef


@dataclass(slots=True)
class Audits:
    """Audits of tables, begun. One is good for what it looked at, and is asked once."""

    _begun: dict[TableRef, _Begun] = field(default_factory=dict)

    def add(self, contract: Contract, rows: pa.Table, staged: Staged) -> None:
        """Look at the rows of a part that was just staged."""
        begun = self._begun.setdefault(contract.table, _Begun(contract, TableAudit(contract)))
        begun.repeated = begun.repeated or staged.part in begun.parts
        begun.parts[staged.part] = staged
        begun.audit.add(rows)

    def take(self, contract: Contract, staged: Sequence[Staged]) -> tuple[TableAudit, list[Staged]]:
        """Give up the audit of what waits to be published, and the parts it has yet to look at.

        Where another process staged some of a table those are left; where a part was staged again,
        or by another contract, all of them.
        """
        begun = self._begun.pop(contract.table, None)
        waiting = {part.part: part for part in staged}
        if begun is None or begun.contract is not contract or begun.is_not_of(waiting):
            return TableAudit(contract), list(staged)
        return begun.audit, [part for name, part in waiting.items() if name not in begun.parts]


@dataclass(slots=True)
class _Begun:
    contract: Contract
    audit: TableAudit
    parts: dict[str, Staged] = field(default_factory=dict)
    repeated: bool = False

    def is_not_of(self, waiting: dict[str, Staged]) -> bool:
        return self.repeated or any(waiting.get(name) != part for name, part in self.parts.items())
