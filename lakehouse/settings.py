"""Settings: all that differs between two places Plata runs in, read once from the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

STATE_FOLDER = ".plata"


def state_folder(start: Path) -> Path:
    """Find the state folder in `start` or above it, as git finds its own; else `start/.plata`."""
    for folder in (start, *start.parents):
        if (folder / STATE_FOLDER).is_dir():
            return folder / STATE_FOLDER
    return start / STATE_FOLDER


class Settings(BaseSettings):
    """Where things are. A service that has a URL here is external: the supervisor leaves it be."""

    model_config = SettingsConfigDict(env_prefix="PLATA_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=lambda: state_folder(Path.cwd()))
    """State folder: data of the local services, generated passwords, caches, reports."""
    data: Path = Path("../shared/data")
    """Folder of the third-party data sets, which stay outside the repository."""
    lake_uri: str | None = None
    """Root of the lake, a folder or `s3://bucket/prefix`; `<home>/lake` when not given."""
    postgres_url: SecretStr | None = None
    mlflow_url: str | None = None
    argilla_url: str | None = None
    argilla_api_key: SecretStr | None = None
    argilla_env: Path | None = None
    """Environment of the local Argilla server; `.venv-argilla` beside ours when not given."""
    prefect_api_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "PREFECT_API_URL", "PLATA_PREFECT_API_URL", "prefect_api_url"
        ),
    )
    dask_address: str | None = None
    workers: int = Field(default=2, ge=1)
    """Worker processes of the local Dask cluster, one thread each."""
    log_level: str = "WARNING"

    @property
    def lake(self) -> str:
        """The lake's root as an absolute folder or a URI."""
        if self.lake_uri is None:
            return str(self.home.absolute() / "lake")
        return self.lake_uri if "://" in self.lake_uri else str(Path(self.lake_uri).absolute())
