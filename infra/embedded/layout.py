"""Where the supervisor keeps things below the state folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The folder our packages are imported from."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one state folder. `home` is absolute, so that a change of directory is harmless."""

    home: Path

    @classmethod
    def of(cls, home: Path) -> Layout:
        """Resolve `home`, so that one folder has one name."""
        return cls(home.expanduser().resolve())

    @property
    def secrets(self) -> Path:
        """Passwords and keys, readable by the owner only."""
        return self.home / "secrets.json"

    @property
    def services(self) -> Path:
        """Ports chosen earlier, kept for the next start."""
        return self.home / "services.json"

    @property
    def run(self) -> Path:
        """What only matters while a supervisor lives."""
        return self.home / "run"

    @property
    def plan(self) -> Path:
        """What the supervisor was asked to run."""
        return self.run / "plan.json"

    @property
    def state(self) -> Path:
        """How each service fares; only to be believed while `lock` is held."""
        return self.run / "state.json"

    @property
    def lock(self) -> Path:
        """Held by a living supervisor: the kernel lets go of it however the process ends."""
        return self.run / "supervisor.lock"

    @property
    def start_lock(self) -> Path:
        """Held while somebody starts or stops, so that two commands take turns."""
        return self.run / "start.lock"

    @property
    def logs(self) -> Path:
        """One log a service, and the supervisor's."""
        return self.home / "logs"

    def log(self, service: str) -> Path:
        """The log of one service."""
        return self.logs / f"{service}.log"

    def create(self) -> None:
        """Make the folders. What runs and what it says is for the owner's eyes only."""
        self.home.mkdir(parents=True, exist_ok=True)
        for private in (self.run, self.logs):
            private.mkdir(mode=0o700, exist_ok=True)
