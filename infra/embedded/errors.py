"""What can go wrong with the local services, in words an operator can act on."""

from __future__ import annotations

from pathlib import Path

from lakehouse.errors import PlataError, Terminal, Transient


class ServiceFailedError(PlataError, Transient):
    """A service did not come up, or went down too often."""

    def __init__(self, service: str, cause: str, gist: str) -> None:
        said = f" Its log ends: {gist}." if gist else ""
        super().__init__(f"{service} {cause}.{said} See `plata logs {service}`.")
        self.service = service


class SupervisorError(PlataError, Transient):
    """The supervisor itself did not start, or does not stop."""


class UnknownServiceError(PlataError, Terminal):
    """A name that is none of the services."""

    @classmethod
    def among(cls, name: str, known: tuple[str, ...]) -> UnknownServiceError:
        """Say which services there are."""
        return cls(f"there is no service '{name}'; the services are: {', '.join(known)}")


class StateFileError(PlataError, Terminal):
    """A file of the state folder cannot be read."""

    @classmethod
    def of(cls, path: Path, cause: str) -> StateFileError:
        """Name the file and the way out."""
        return cls(f"{path} is damaged ({cause}); run `plata down`, remove it and run `plata up`")


class UnreachableDataError(PlataError, Terminal):
    """The account that must run Postgres cannot reach a folder it needs."""

    @classmethod
    def of(cls, path: Path, account: str) -> UnreachableDataError:
        """Name the folder and the account."""
        return cls(
            f"Postgres runs as '{account}', who cannot reach its data in {path}; let others pass "
            "through the folders above it (chmod o+x), or move PLATA_HOME"
        )


class EnvironmentBuildError(PlataError, Transient):
    """Argilla's own Python environment could not be built."""
