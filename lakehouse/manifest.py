"""What a finished run read, wrote and pinned: enough to run it again."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from lakehouse.control.llm_ledger import Spending
from lakehouse.data.content import Content
from lakehouse.data.tables import Snapshot
from lakehouse.run import RunContext


@dataclass(frozen=True, slots=True)
class FileInput:
    """A Raw file a run read. `sha256` is of its bytes."""

    path: str
    sha256: str
    events: int


@dataclass(frozen=True, slots=True)
class Environment:
    """What the code ran on, as far as it can decide what a row says: Python, and what we import.

    Only the distributions Plata itself asks for, without the builds of a platform (`+cpu`): the
    same lock gives the same digest on every machine.
    """

    python: str
    distributions: Mapping[str, str]

    @classmethod
    @cache
    def here(cls) -> Environment:
        """Look at this process, once: what it imports does not change under it."""
        asked = (re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in requires("plata") or ())
        found = {name.lower(): _version(name) for name in asked}
        return cls(platform.python_version(), {name: v for name, v in found.items() if v})

    @property
    def digest(self) -> str:
        """The environment as 16 hexadecimal digits."""
        text = json.dumps([self.python, sorted(self.distributions.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, the digest among them."""
        return {
            "digest": self.digest,
            "python": self.python,
            "distributions": dict(sorted(self.distributions.items())),
        }


def _version(name: str) -> str | None:
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class RunManifest:
    """The account of one run. `pins` maps what was asked for to the exact version it meant.

    `digests` are of the pinned models and prompts. `contents` are of the run's own rows, by table.
    `spent` is what endpoints of LLMs charge for it.
    """

    run: RunContext
    files: tuple[FileInput, ...] = ()
    inputs: tuple[Snapshot, ...] = ()
    outputs: tuple[Snapshot, ...] = ()
    pins: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    contents: Mapping[str, Content] = field(default_factory=dict)
    environment: Environment | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    spent: tuple[Spending, ...] = ()

    def as_json(self) -> str:
        """Write the manifest with sorted keys, so that equal runs give equal text."""
        return json.dumps(self.as_dict(), sort_keys=True, ensure_ascii=False, default=str)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values; tables by name, times in ISO 8601."""
        return {
            "run_id": self.run.run_id,
            "tenant_id": self.run.tenant.tenant_id,
            "seed": self.run.seed,
            "started_at": self.run.started_at.isoformat(),
            "code_version": self.run.code_version,
            "files": [asdict(file) for file in self.files],
            "inputs": {str(s.table): s.version for s in self.inputs},
            "outputs": {str(s.table): s.version for s in self.outputs},
            "pins": dict(self.pins),
            "digests": dict(self.digests),
            "counts": dict(self.counts),
            "contents": {table: content.digest for table, content in self.contents.items()},
            "environment": None if self.environment is None else self.environment.as_dict(),
            "spent": [spending.as_dict() for spending in self.spent],
            "seconds": {step: round(took, 3) for step, took in self.seconds.items()},
        }
