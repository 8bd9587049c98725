"""Real services for tests: one Postgres for all, and everything else only for those that ask."""

from __future__ import annotations

import fcntl
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pyarrow.fs as pafs
import pytest
from hypothesis import settings
from pydantic import SecretStr

from features.embed import EMBEDDING_MODEL, QUERY_PROMPT, QUERY_TEMPLATE
from infra.embedded.control import remove_data, start
from infra.embedded.endpoints import Endpoints
from lakehouse.control.migrate import migrate
from lakehouse.data.storage import LakeRoot
from lakehouse.settings import Settings
from registry.memory import MemoryRegistry
from registry.refs import ModelPackage

# An example that takes long on a busy machine is no failure.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@dataclass(frozen=True, slots=True)
class PlataServices:
    """The addresses of one session's services, and their state folder."""

    home: Path
    endpoints: Endpoints

    @property
    def settings(self) -> Settings:
        """Return settings that lead to these services and to nothing of the developer's."""
        return Settings.alone(self.home)

    @property
    def postgres_url(self) -> str:
        return self.endpoints.postgres_url

    @property
    def mlflow_url(self) -> str:
        return self.endpoints.mlflow_url

    @property
    def prefect_api_url(self) -> str:
        return self.endpoints.prefect_api_url

    @property
    def argilla_url(self) -> str:
        return self.endpoints.argilla_url

    @property
    def argilla_api_key(self) -> str:
        return self.endpoints.argilla_api_key

    @property
    def dask_address(self) -> str:
        return self.endpoints.dask_address


@pytest.fixture(scope="session")
def killable() -> ModuleType:
    """The program of runs with quick models, which tests import and also start to be killed."""
    return _loaded("killable", Path(__file__).parent / "pipelines" / "killable.py")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a fresh state folder, with a space in its name; all it starts goes away."""
    home = tmp_path / "mi casa" / "estado"
    try:
        yield Settings.alone(home)
    finally:
        remove_data(home)


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder whose services are stopped and whose data go away with the session."""
    home = tmp_path_factory.mktemp("plata") / "state"
    try:
        yield home
    finally:
        remove_data(home)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def unopened(tmp_path: Path) -> MemoryRegistry:
    """A registry with an embedding model and its prompt, for what resolves them and opens none."""
    folder, registry = tmp_path / "embedding", MemoryRegistry()
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    package = ModelPackage(EMBEDDING_MODEL, folder, "embedding", card="")
    registry.promote_model(EMBEDDING_MODEL, registry.register_model(package).version)
    prompt = registry.register_prompt(QUERY_PROMPT, QUERY_TEMPLATE, note="")
    registry.promote_prompt(prompt.name, prompt.version)
    return registry


@pytest.fixture(scope="session")
def postgres_url(session_home: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated control database on a real Postgres.

    Workers start theirs one after the other: two at once would choose the same free port.
    """
    of_all_workers = tmp_path_factory.getbasetemp().parent / "starting"
    with of_all_workers.open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        endpoints = start(Settings.alone(session_home), frozenset({"postgres"}))
    migrate(endpoints.postgres_url)
    return endpoints.postgres_url


@pytest.fixture(scope="session")
def plata_services(session_home: Path, postgres_url: str) -> PlataServices:
    """Every service, ready; for tests marked `service`."""
    assert postgres_url
    return PlataServices(session_home, start(Settings.alone(session_home)))


_S3_USER, _S3_SECRET = "plata", "only-for-tests"


@pytest.fixture(scope="session")
def s3_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings whose lake is a bucket on a real S3 server, on this machine alone."""
    folder = tmp_path_factory.mktemp("s3")
    names = [f"{part}.port{kind}" for part in _S3_PARTS for kind in ("", ".grpc")]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    settings = Settings(
        home=folder,
        lake_uri="s3://lake/plata",
        aws_endpoint_url=f"http://127.0.0.1:{ports['s3.port']}",
        aws_access_key_id=_S3_USER,
        aws_secret_access_key=SecretStr(_S3_SECRET),
        aws_region="us-east-1",
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("weed")),
                "mini",
                f"-dir={folder}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-bucket=lake",
                "-webdav=false",
                "-admin.ui=false",
                "-master.telemetry=false",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                f"-s3.localSocket={folder}/s3.sock",
                f"-filer.localSocket={folder}/filer.sock",
                *(f"-{name}={port}" for name, port in ports.items()),
            ],
            env={"AWS_ACCESS_KEY_ID": _S3_USER, "AWS_SECRET_ACCESS_KEY": _S3_SECRET},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for_bucket(settings, process)
        yield settings
    finally:
        process.terminate()
        process.wait()


_S3_PARTS = ("master", "volume", "filer", "s3", "admin")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait_for_bucket(settings: Settings, process: subprocess.Popen[bytes]) -> None:
    lake = LakeRoot(settings.lake, settings.lake_options).filesystem()
    deadline = time.monotonic() + 60
    while True:
        try:
            lake.base_fs.get_file_info(pafs.FileSelector("lake"))
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                log = (settings.home / "log").read_text(errors="replace")
                pytest.fail(f"the S3 server did not come up: {log[-2000:]}")
            time.sleep(0.1)
        else:
            return


@pytest.fixture(scope="session")
def openai() -> ModuleType:
    """The local chat endpoint; see `openai_server.serving`."""
    return _loaded("openai_server", Path(__file__).parent / "openai_server.py")


def _loaded(name: str, path: Path) -> ModuleType:
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
