"""Settings: all that differs between two places Plata runs in, read once from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

STATE_FOLDER = ".plata"


def state_folder(start: Path) -> Path:
    """Find the state folder in `start` or above it, as git finds its own; else `start/.plata`."""
    for folder in (start, *start.parents):
        if (folder / STATE_FOLDER).is_dir():
            return folder / STATE_FOLDER
    return start / STATE_FOLDER


def _of_aws(name: str) -> Any:
    """Declare a setting that is called as AWS calls it, without our prefix."""
    return Field(default=None, validation_alias=AliasChoices(name, name.lower()))


class LlmEndpoint(BaseModel):
    """Where an LLM answers, and what it is asked to bear; see `models.chat.CallLimits`.

    `url` ends where `/chat/completions` begins. `key_variable` names the environment variable that
    holds the key: the key itself stands in no setting.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(pattern=r"^https?://")
    key_variable: str | None = None
    concurrency: int = Field(default=4, ge=1, le=256)
    attempts: int = Field(default=4, ge=1, le=20)
    timeout: float = Field(default=30.0, gt=0)
    deadline: float = Field(default=120.0, gt=0)
    rest: float = Field(default=60.0, gt=0)


class Settings(BaseSettings):
    """Where things are. A service that has a URL here is external: the supervisor leaves it be."""

    model_config = SettingsConfigDict(env_prefix="PLATA_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=lambda: state_folder(Path.cwd()))
    """State folder: data of the local services, generated passwords, caches, reports."""
    data: Path = Path("../shared/data")
    """Folder of the third-party data sets, which stay outside the repository."""
    lake_uri: str | None = None
    """Root of the lake, a folder or `s3://bucket/prefix`; `<home>/lake` when not given."""
    aws_endpoint_url: str | None = _of_aws("AWS_ENDPOINT_URL")
    aws_region: str | None = _of_aws("AWS_REGION")
    aws_access_key_id: str | None = _of_aws("AWS_ACCESS_KEY_ID")
    aws_secret_access_key: SecretStr | None = _of_aws("AWS_SECRET_ACCESS_KEY")
    aws_session_token: SecretStr | None = _of_aws("AWS_SESSION_TOKEN")
    """Whose bucket, where the lake is one, under the names AWS's own tools read."""
    postgres_url: SecretStr | None = None
    mlflow_url: str | None = None
    review: Literal["argilla", "postgres"] = "argilla"
    """Where people review: in Argilla's page, or at the terminal with nothing but Postgres."""
    argilla_url: str | None = None
    argilla_api_key: SecretStr | None = None
    argilla_env: Path | None = None
    """Environment of the local Argilla server; `.venv-argilla` beside ours when not given."""
    argilla_dataset_size: int = Field(default=5_000, ge=1)
    """Records after which a task's next case goes to another dataset of Argilla."""
    prefect_api_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "PREFECT_API_URL", "PLATA_PREFECT_API_URL", "prefect_api_url"
        ),
    )
    dask_address: str | None = None
    llm: dict[str, LlmEndpoint] = Field(default_factory=dict)
    """Endpoints of LLMs by the name models know them by, as JSON."""
    workers: int = Field(default=2, ge=1)
    """Worker processes of the local Dask cluster, one thread each."""
    log_level: str = "WARNING"

    @classmethod
    def alone(cls, home: Path, **given: Any) -> Settings:
        """Return the settings of a machine with nothing external, whatever the environment says.

        The lake and every service are in `home`; `given` are settings of any other name.
        """
        external = ("postgres_url", "mlflow_url", "argilla_url", "argilla_api_key")
        nothing = dict.fromkeys(("lake_uri", *external, "prefect_api_url", "dask_address"))
        return cls(home=home, **{**nothing, "review": "argilla", **given})

    @property
    def lake(self) -> str:
        """The lake's root as an absolute folder or a URI."""
        if self.lake_uri is None:
            return str(self.home.absolute() / "lake")
        return self.lake_uri if "://" in self.lake_uri else str(Path(self.lake_uri).absolute())

    @property
    def lake_options(self) -> dict[str, str]:
        """What a client of the bucket is told; empty where the lake is a folder."""
        if not self.lake.startswith("s3://"):
            return {}
        named = {
            "AWS_ENDPOINT_URL": self.aws_endpoint_url,
            "AWS_REGION": self.aws_region,
            "AWS_ACCESS_KEY_ID": self.aws_access_key_id,
            "AWS_SECRET_ACCESS_KEY": _revealed(self.aws_secret_access_key),
            "AWS_SESSION_TOKEN": _revealed(self.aws_session_token),
        }
        options = {name: value for name, value in named.items() if value is not None}
        if (self.aws_endpoint_url or "").startswith("http://"):
            options["AWS_ALLOW_HTTP"] = "true"
        # A commit is a file that must not be there yet: S3 keeps that promise, if it is asked to.
        return {**options, "AWS_CONDITIONAL_PUT": "etag"}


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
