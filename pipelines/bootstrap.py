"""The composition root: settings and endpoints in, ports out; the one place that picks adapters.

An adapter is built when it is first asked for: some take ten seconds to import.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pydantic import ValidationError

from features.embed import embed_step
from features.index import EmbeddingIndex
from infra.embedded.endpoints import Endpoints, resolve
from infra.embedded.layout import ROOT
from labeling.accounts import ReviewerAccounts
from labeling.policy import ReviewPolicy
from labeling.postgres_queue import PostgresQueue
from labeling.queue import ReviewQueue
from lakehouse.compute.batches import Cluster
from lakehouse.compute.memory import reuse_freed_memory
from lakehouse.control.catalogue import TableCatalogue
from lakehouse.control.drift import DriftLog
from lakehouse.control.evaluations import EvaluationLog
from lakehouse.control.landings import LandingIndex
from lakehouse.control.llm_ledger import LlmLedger
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog, RunRecord
from lakehouse.control.served import ServedTables
from lakehouse.control.tenants import TenantDirectory
from lakehouse.data.history import VersionedTableStore
from lakehouse.data.maintenance import TableMaintenance
from lakehouse.data.storage import FileStore, LakeRoot
from lakehouse.errors import ConfigurationError
from lakehouse.manifest import RunManifest
from lakehouse.run import RunContext
from lakehouse.settings import LlmEndpoint, Settings
from lakehouse.telemetry import configure
from lakehouse.tenancy import TenantContext
from models.chat import Caller, CallLimits
from models.gates import GatePolicy
from models.llm_desk import LlmDesk
from models.steps import classify_step
from models.task import Task
from pipelines.contest import Asking
from pipelines.enrich import ModelSteps
from pipelines.evaluate import EvaluationPorts
from pipelines.guarantee import GuaranteePorts
from pipelines.lineage_walk import LineagePorts
from pipelines.promotion import PromotionPorts
from pipelines.reproduce import Reproduction, reproduce
from pipelines.retrain import RetrainPorts
from pipelines.retrain_policy import RetrainPolicy
from pipelines.run import RunPorts, Tell, tell_nobody
from pipelines.run_events import Deferred, RunEvents
from pipelines.sql import SqlPorts
from pipelines.tenant_config import CostConfig, gates_of, price_of, retrain_of, review_of, tasks_of
from registry.bundle_log import BundleLog
from registry.challenges import ExperimentLog, Mode

if TYPE_CHECKING:  # it takes ten seconds to import
    from registry.mlflow_registry import MlflowRegistry

_CODE = ("contracts", "features", "lakehouse", "models", "pipelines", "registry")
_CODE_SUFFIXES = (".json", ".py", ".yaml")
"""What of the project can decide what a run writes."""


class Platform:
    """Every port a flow may be handed, over one set of settings and endpoints."""

    def __init__(self, settings: Settings, endpoints: Endpoints) -> None:
        self.settings = settings
        self.endpoints = endpoints

    @property
    def home(self) -> Path:
        """The state folder."""
        return self.settings.home.absolute()

    @cached_property
    def postgres(self) -> Postgres:
        """The control plane's database."""
        return Postgres(self.endpoints.postgres_url)

    def close(self) -> None:
        """Leave what does not end by itself; to be called before its service is stopped."""
        if "cluster" in vars(self):
            self.cluster.close()
        if "llm" in vars(self):
            self.llm.close()

    @cached_property
    def tenants(self) -> TenantDirectory:
        """Who the tenants are."""
        return TenantDirectory(self.postgres)

    @cached_property
    def runs(self) -> RunLog:
        """What ran."""
        return RunLog(self.postgres)

    @cached_property
    def landings(self) -> LandingIndex:
        """What landed in Raw."""
        return LandingIndex(self.postgres)

    @cached_property
    def drift(self) -> DriftLog:
        """What drift reports found."""
        return DriftLog(self.postgres)

    @property
    def lake(self) -> LakeRoot:
        """Where the lake is."""
        return LakeRoot(self.settings.lake, self.settings.lake_options)

    @cached_property
    def catalogue(self) -> TableCatalogue:
        """What each table is now."""
        return TableCatalogue(self.postgres)

    @cached_property
    def files(self) -> FileStore:
        """Raw files."""
        return FileStore(self.lake)

    @cached_property
    def store(self) -> VersionedTableStore:
        """Bronze, Silver and Gold tables."""
        from lakehouse.data.delta import DeltaTableStore

        return DeltaTableStore(self.lake)

    @cached_property
    def maintenance(self) -> TableMaintenance:
        """What keeps the tables quick."""
        from lakehouse.data.delta_maintenance import DeltaTableMaintenance

        return DeltaTableMaintenance(self.lake)

    @cached_property
    def registry(self) -> MlflowRegistry:
        """Models, prompts and evaluations."""
        from registry.mlflow_registry import MlflowRegistry

        return MlflowRegistry(self.endpoints.mlflow_url, self.home / "cache" / "models")

    @contextmanager
    def model_folder(self, uri: str) -> Iterator[Path]:
        """Lend the files of an MLflow model: a folder's own, or a copy that goes at the end."""
        if not uri.startswith(("models:/", "runs:/")):
            yield Path(uri).absolute()
            return
        with TemporaryDirectory(prefix="plata-own-") as made:
            yield self.registry.download(uri, Path(made))

    @property
    def evaluation(self) -> EvaluationPorts:
        """What an evaluation works with."""
        return EvaluationPorts(
            store=self.store,
            registry=self.registry,
            experiments=self.registry,
            log=EvaluationLog(self.postgres),
            models=self.run_ports.models,
            cluster=self.cluster,
            ledger=LlmLedger(self.postgres),
        )

    @cached_property
    def bundles(self) -> BundleLog:
        """Which versions answer, and who decided so."""
        return BundleLog(self.postgres)

    @property
    def guarantees(self) -> GuaranteePorts:
        """What guarantees are made from and judged by."""
        return GuaranteePorts.over(self.postgres, self.store)

    @property
    def promotion(self) -> PromotionPorts:
        """What a promotion works with."""
        return PromotionPorts.over(self.postgres, self.registry)

    @cached_property
    def index(self) -> EmbeddingIndex:
        """Vectors."""
        from features.pgvector_index import PgVectorIndex

        return PgVectorIndex(self.postgres)

    @cached_property
    def cluster(self) -> Cluster:
        """Where batches are computed."""
        from lakehouse.compute.dask_cluster import DaskCluster

        return DaskCluster(self.endpoints.dask_address)

    @cached_property
    def queue(self) -> ReviewQueue:
        """Where doubtful tickets wait for a person."""
        if self.settings.review == "postgres":
            return PostgresQueue(self.postgres)
        from labeling.argilla_queue import ArgillaQueue

        return ArgillaQueue(
            self.endpoints.argilla_url,
            self.endpoints.argilla_api_key,
            dataset_size=self.settings.argilla_dataset_size,
        )

    @property
    def desk(self) -> PostgresQueue:
        """Where people answer at the terminal. Raises `ConfigurationError` where they do not."""
        if self.settings.review != "postgres":
            msg = (
                f"cases are answered in Argilla, at {self.endpoints.argilla_url}; to review at the "
                "terminal instead, set PLATA_REVIEW=postgres and fill the queue: plata review push"
            )
            raise ConfigurationError(msg)
        return PostgresQueue(self.postgres)

    @cached_property
    def run_ports(self) -> RunPorts:
        """What a run works with."""
        return RunPorts(
            store=self.store,
            files=self.files,
            landings=self.landings,
            log=self.runs,
            registry=self.registry,
            index=self.index,
            postgres=self.postgres,
            models=self.models,
            cluster=self.cluster,
            events=Deferred(lambda: self.events),
            maintenance=self.maintenance,
        )

    @property
    def models(self) -> ModelSteps:
        """How models are asked."""
        return ModelSteps(embed=embed_step, classify=classify_step, llm=self.llm.open)

    def asking(self, tenant: TenantContext, kind: str) -> Asking:
        """Ask bundles a few questions in this process, as a run would."""
        run = RunContext.begin(tenant, kind=kind, at=datetime.now(UTC), code_version=code_version())
        return Asking(run, self.store, self.registry, self.models, None)

    @cached_property
    def llm(self) -> LlmDesk:
        """Where LLMs are asked, at the endpoints the settings name."""
        endpoints = {
            name: partial(_caller, name, endpoint) for name, endpoint in self.settings.llm.items()
        }
        return LlmDesk(endpoints, LlmLedger(self.postgres))

    @cached_property
    def events(self) -> RunEvents:
        """Where runs are told of."""
        from pipelines.openlineage_events import EventPorts, Served, open_events

        served = Served.at(self.endpoints.postgres_url)
        ports = EventPorts(self.store, self.landings, self.runs, served)
        return open_events(self.settings.lake, self.home / "openlineage", ports)

    @cached_property
    def sql_ports(self) -> SqlPorts:
        """What SQL works with."""
        from lakehouse.data.duckdb_query import DuckDbEngine

        return SqlPorts(DuckDbEngine(), self.store, ServedTables(self.postgres), self.runs)

    @property
    def lineage(self) -> LineagePorts:
        """What lineage reads."""
        return LineagePorts(self.store, self.files, self.landings, self.runs, self.postgres)

    @property
    def reviewers(self) -> ReviewerAccounts:
        """The reviewers' accounts Plata made."""
        return ReviewerAccounts(self.home / "reviewers.json")

    def run(
        self, tenant: TenantContext, *, bundle: str | None = None, tell: Tell = tell_nobody
    ) -> RunManifest | None:
        """Run a tenant from Raw to Gold as a Prefect flow; see `pipelines.flows.run_flow`."""
        from pipelines.flows import run_flow

        return run_flow(
            tenant,
            self.tasks(tenant),
            self.run_ports,
            prefect_api_url=self.endpoints.prefect_api_url,
            at=datetime.now(UTC),
            code_version=code_version(),
            bundle=bundle,
            tell=tell,
        )

    def retraining(self, tenant: TenantContext, gates: GatePolicy | None = None) -> RetrainPorts:
        """What a tenant's retraining works with; without `gates`, the tenant's own are asked."""
        return RetrainPorts(
            store=self.store,
            log=self.runs,
            drift=self.drift,
            promotion=self.promotion,
            evaluation=self.evaluation,
            experiments=ExperimentLog(self.postgres),
            gates=gates or gates_of(self.tenants.config(tenant)),
            price=self.price(tenant),
        )

    @contextmanager
    def scratch_lake(self) -> Iterator[VersionedTableStore]:
        """Open an empty lake in a folder that goes away with the block."""
        from lakehouse.data.delta import DeltaTableStore

        self.home.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="scratch-", dir=self.home) as folder:
            yield DeltaTableStore(LakeRoot(folder))

    def reproduce(self, record: RunRecord, *, tell: Tell = tell_nobody) -> Reproduction:
        """Compute a run again in a lake of its own; see `pipelines.reproduce.reproduce`."""
        with self.scratch_lake() as scratch:
            return reproduce(
                record,
                self.run_ports,
                scratch,
                at=datetime.now(UTC),
                code_version=code_version(),
                tell=tell,
            )

    def tenant(self, name: str) -> TenantContext:
        """Return a registered tenant. Raises `UnknownTenantError`."""
        return self.tenants.find(name)

    def price(self, tenant: TenantContext) -> CostConfig | None:
        """Return what compute costs the tenant, None where it does not say."""
        return price_of(self.tenants.config(tenant))

    def review_policy(self, tenant: TenantContext) -> ReviewPolicy:
        """Return how the tenant's cases are reviewed."""
        return review_of(self.tenants.config(tenant))

    def retrain_policy(self, tenant: TenantContext) -> RetrainPolicy:
        """Return when the tenant's models are retrained, and who approves."""
        return retrain_of(self.tenants.config(tenant))

    def shadow_bundle(self, tenant: TenantContext) -> str | None:
        """Return the bundle that answers in a shadow, None where none does."""
        found = ExperimentLog(self.postgres).running(tenant)
        return found.bundle_id if found is not None and found.mode is Mode.SHADOW else None

    def tasks(self, tenant: TenantContext) -> tuple[Task, ...]:
        """Return what the tenant wants of each ticket, by its newest configuration."""
        config = self.tenants.config(tenant)
        if config is None:
            msg = (
                f"tenant '{tenant.tenant_id}' has no configuration; "
                f"write one with `plata tenants configure {tenant.tenant_id} FILE`"
            )
            raise ConfigurationError(msg)
        return tasks_of(config.values, tenant)


def _caller(name: str, endpoint: LlmEndpoint) -> Caller:
    """Reach an endpoint with the key the environment holds for it; the key is kept nowhere else."""
    from models.openai_endpoint import OpenAiEndpoint

    key = None if endpoint.key_variable is None else os.environ.get(endpoint.key_variable)
    if endpoint.key_variable is not None and not key:
        msg = (
            f"the key of LLM endpoint '{name}' is to be in the environment variable "
            f"{endpoint.key_variable}, which is not set; export it and take the run up again"
        )
        raise ConfigurationError(msg)
    limits = CallLimits(
        concurrency=endpoint.concurrency,
        attempts=endpoint.attempts,
        timeout=endpoint.timeout,
        deadline=endpoint.deadline,
        rest=endpoint.rest,
    )
    return Caller(OpenAiEndpoint(endpoint.url, key, connections=endpoint.concurrency), limits)


@cache
def code_version() -> str:
    """Return the version of the code at work, as runs record it, with a digest of its sources."""
    digest = hashlib.sha256()
    for package in sorted(_CODE):
        for file in sorted((ROOT / package).rglob("*")):
            if file.suffix in _CODE_SUFFIXES:
                digest.update(file.relative_to(ROOT).as_posix().encode())
                digest.update(file.read_bytes())
    return f"plata {version('plata')}+{digest.hexdigest()[:12]}"


def read_settings() -> Settings:
    """Read the environment once. Raises `ConfigurationError` that names the variable."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(["PLATA", *(str(part).upper() for part in first["loc"])])
        msg = f"{name} is '{first['input']}': {first['msg']}"
        raise ConfigurationError(msg) from error


def open_platform() -> Platform:
    """Connect to what is up. Raises where the services are neither started nor named."""
    settings = read_settings()
    with suppress(KeyError):
        configure(settings.log_level)
    reuse_freed_memory()
    return Platform(settings, resolve(settings))
