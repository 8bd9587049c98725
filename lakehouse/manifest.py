"""What a finished run read, wrote and pinned: enough to run it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lakehouse.data.tables import Snapshot
from lakehouse.run import RunContext


@dataclass(frozen=True, slots=True)
class FileInput:
    """A Raw file a run read. `sha256` is of its bytes."""

    path: str
    sha256: str
    events: int


@dataclass(frozen=True, slots=True)
class RunManifest:
    """The account of one run. `pins` maps what was asked for to the exact version it meant."""

    run: RunContext
    files: tuple[FileInput, ...] = ()
    inputs: tuple[Snapshot, ...] = ()
    outputs: tuple[Snapshot, ...] = ()
    pins: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

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
            "counts": dict(self.counts),
            "seconds": {step: round(took, 3) for step, took in self.seconds.items()},
        }
