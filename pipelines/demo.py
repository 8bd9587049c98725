"""The demo: scenarios acted out stage by stage, with the functions that people's commands call.

Every stage is idempotent: acted out again it finds its work done and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from features.e5_package import unpacked
from lakehouse.control.migrate import migrate
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.task import Task
from monitoring.drift import DriftPolicy
from monitoring.words import VERDICTS
from pipelines.bootstrap import Platform, code_version
from pipelines.bundles import Changes
from pipelines.ingest import RawStore, ingest
from pipelines.labelled_texts import LabelsFile
from pipelines.mapping import ColumnMapping
from pipelines.monitor import DRIFT_KIND, Subject, Window, watch_as_run
from pipelines.onboard import onboard
from pipelines.plan import RUN_KIND
from pipelines.promotion import Decision, promote_bundle, successor
from pipelines.review import mlflow_page, push_all
from pipelines.scenario import Delivery, LabelledTexts, Scenario
from pipelines.source_files import SourceFile
from pipelines.train import register_embedding_model, train
from registry.refs import BASELINE

DEMO = "plata demo"
"""Who promotes, in the audit log."""

REVIEW_CASES = 40
"""Cases a task's queue is filled up to: enough to look around, quick to send."""

Say = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is (0: not known)."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One line of the demo: `act` does it, tells how it goes, and says what came of it."""

    title: str
    act: Callable[[Say], str]


def stages(scenarios: tuple[Scenario, ...], platform: Platform) -> Iterator[Stage]:
    """Return every stage, in order. Services must be up."""
    yield Stage("control plane and embedding model", partial(_prepare, platform))
    for scenario in scenarios:
        yield from _Act(scenario, platform).stages()


def _prepare(platform: Platform, say: Say) -> str:
    applied = migrate(platform.endpoints.postgres_url)
    folder = unpacked(platform.home, lambda what: say(what, 0, 0))
    say("registering the embedding model", 0, 0)
    model = register_embedding_model(platform.registry, folder)
    return f"{len(applied)} migrations applied, {model.uri}"


@dataclass(frozen=True, slots=True)
class _Act:
    """One scenario on one platform."""

    scenario: Scenario
    platform: Platform

    def stages(self) -> Iterator[Stage]:
        name, arrivals = self.scenario.tenant_id, self.scenario.arrivals
        yield Stage(f"{name}: tenant, rules baselines, prompts", self._onboard)
        if self.scenario.history:
            yield Stage(f"{name}: past requests, Raw to Gold", self._past)
        if self.scenario.labelled is not None:
            for task, column in self.scenario.labelled.tasks.items():
                act = partial(self._train, self.scenario.labelled, task, column)
                yield Stage(f"{name}: train '{task}', promote", act)
        for delivery in arrivals:
            title = f"{name}: {delivery.file_name}, Raw to Gold"
            yield Stage(title, partial(self._arrival, delivery))
            yield Stage(f"{name}: drift since training", self._watch)
        yield Stage(f"{name}: doubtful requests to Argilla", self._review)

    def _onboard(self, say: Say) -> str:
        done = onboard(
            TenantContext.parse(self.scenario.tenant_id),
            name=self.scenario.name,
            values=self.scenario.config,
            tenants=self.platform.tenants,
            promotion=self.platform.promotion,
            by=DEMO,
        )
        verb = "created" if done.created else "was there"
        return f"{verb}, configuration version {done.config_version}"

    def _past(self, say: Say) -> str:
        return self._through(self.scenario.history, say)

    def _arrival(self, delivery: Delivery, say: Say) -> str:
        return self._through((delivery,), say)

    def _through(self, deliveries: tuple[Delivery, ...], say: Say) -> str:
        landed = [self._land(delivery, say) for delivery in deliveries]
        manifest = self._run(say)
        if manifest is None:
            return "landed before; nothing waits"
        rows = manifest["silver_tickets"], manifest["bronze_quarantine"]
        return f"{sum(landed):,} events, {rows[0]:,} tickets, {rows[1]:,} lines in quarantine"

    def _land(self, delivery: Delivery, say: Say) -> int:
        say(f"landing {delivery.file_name}", 0, 0)
        path = self._written(delivery.file_name, delivery.content)
        columns = [f"{name}={column}" for name, column in delivery.columns.items()]
        landed = ingest(
            SourceFile.find(path),
            self._tenant,
            source=delivery.source,
            mapping=ColumnMapping.parse(columns) if columns else None,
            raw=RawStore(self.platform.files, self.platform.landings),
            at=datetime.now(UTC),
        )
        return landed.events

    def _run(self, say: Say) -> dict[str, int] | None:
        manifest = self.platform.run(
            self._tenant, tell=lambda step, done, total: say(step.value, done, total)
        )
        return None if manifest is None else dict(manifest.counts)

    def _watch(self, say: Say) -> str:
        newest = self._newest_run()
        known = self.platform.drift.recent(self._tenant, limit=len(self._tasks))
        if known and newest is not None and known[0].measured_at > newest.started_at:
            return "; ".join(f"{r.task}: {r.verdict}" for r in reversed(known)) + " (as before)"
        say("comparing with the training reference", 0, 0)
        registry = self.platform.registry
        watched = watch_as_run(
            self._begin(DRIFT_KIND),
            [Subject(task, registry.resolve_model(task.model)) for task in self._tasks],
            Window(run_id=None if newest is None else newest.run_id),
            store=self.platform.store,
            registry=registry,
            log=self.platform.drift,
            runs=self.platform.runs,
            reports=self.platform.home / "reports",
            policy=DriftPolicy(),
        )
        return "; ".join(f"{w.task}: {VERDICTS[w.report.verdict].split(':')[0]}" for w in watched)

    def _review(self, say: Say) -> str:
        say("talking to Argilla", 0, 0)
        platform = self.platform
        pushed = push_all(
            self._tenant,
            self._tasks,
            store=platform.store,
            queue=platform.queue,
            log=platform.runs,
            accounts=platform.reviewers,
            page=mlflow_page(platform.endpoints.mlflow_url),
            policy=platform.review_policy(self._tenant),
            limit=REVIEW_CASES,
        )
        return ", ".join(f"{p.task}: {p.added} new, {p.chosen} in the queue" for p in pushed)

    def _train(self, labelled: LabelledTexts, task: str, column: str, say: Say) -> str:
        registry = self.platform.registry
        wanted = next(t for t in self._tasks if t.name == task)
        champion = registry.resolve_model(wanted.model)
        if champion != registry.resolve_model(wanted.model, BASELINE):
            return f"{champion.uri} is the champion already"
        report = train(
            LabelsFile(
                self._written(labelled.file_name, labelled.content),
                text_column=labelled.text_column,
                label_column=column,
                note=labelled.note,
            ),
            wanted,
            self._begin("train"),
            registry=registry,
            cluster=self.platform.cluster,
            tell=say,
        )
        ports = self.platform.promotion
        trained = Changes(models={task: report.model})
        bundle = successor(self._tenant, self._tasks, trained, ports)
        promote_bundle(self._tenant, bundle, Decision(DEMO, f"trained {report.model.uri}"), ports)
        others = {**report.candidates, **report.beside}
        figures = ", ".join(f"{name} {seen.macro_f1:.2f}" for name, seen in others.items())
        return f"{report.model.uri} is '{report.winner}'; macro-F1 on held-out: {figures}"

    def _newest_run(self) -> RunContext | None:
        records = self.platform.runs.recent(self._tenant)
        return next((r.run for r in records if r.kind == RUN_KIND), None)

    def _begin(self, kind: str) -> RunContext:
        return RunContext.begin(
            self._tenant, kind=kind, at=datetime.now(UTC), code_version=code_version()
        )

    def _written(self, name: str, content: str) -> Path:
        folder = self.platform.home / "demo" / self.scenario.tenant_id
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_text(content, encoding="utf-8")
        return path

    @property
    def _tenant(self) -> TenantContext:
        return self.platform.tenant(self.scenario.tenant_id)

    @property
    def _tasks(self) -> tuple[Task, ...]:
        return self.platform.tasks(self._tenant)
