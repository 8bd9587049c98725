"""What went wrong with the shape of data."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.errors import PlataError, Terminal


class ContractViolationError(PlataError, Terminal):
    """A table does not have the shape its contract promises."""

    @classmethod
    def of(cls, contract: str, problems: Sequence[str]) -> ContractViolationError:
        """List every problem at once, so that one round of mending is enough."""
        return cls(f"contract {contract} is broken: " + "; ".join(problems))


class ContractFileError(PlataError, Terminal):
    """A contract's file does not say what a contract must say."""

    @classmethod
    def of(cls, where: str, problem: str) -> ContractFileError:
        """Name the file and the place in it."""
        return cls(f"contract file {where}: {problem}")


class UnknownContractError(PlataError, Terminal):
    """No contract has that name and version."""
