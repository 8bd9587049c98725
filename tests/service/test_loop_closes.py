"""The loop closes: what drifts is seen, labelled in Argilla, learned, tried aside, and put to work.

A city opens a service of bicycles. Claims about it are worded as complaints were, so the champion
takes them for complaints, until people have said otherwise.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pyarrow.compute as pc
import pytest

from contracts.tables import CLASSIFICATIONS_SHADOW, LABELS, TICKETS
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.intervals import Interval, wilson
from monitoring.drift import DriftPolicy, DriftVerdict
from monitoring.report import DrawnReport, ReportOrder
from pipelines.answered import standing_answers
from pipelines.bootstrap import Platform
from pipelines.flows import retrain_flow
from pipelines.ingest import RawStore, ingest
from pipelines.labelled_texts import LabelsFile
from pipelines.ledger import PULL_KIND, pull
from pipelines.mapping import ColumnMapping
from pipelines.monitor import DRIFT_KIND, Subject, Window, newest_run, watch_as_run
from pipelines.onboard import onboard
from pipelines.promotion import Decision, promote_bundle
from pipelines.proposals import Proposal, Stage, proposals
from pipelines.retrain import BY, challenger_with, trained_by
from pipelines.retrain_policy import Trigger
from pipelines.retrain_round import Round
from pipelines.review import push_all
from pipelines.source_files import SourceFile
from pipelines.standing_labels import label_facts, standing_labels
from pipelines.train import train
from registry.challenges import ExperimentLog

pytestmark = [pytest.mark.service, pytest.mark.timeout(1800)]

TENANT = TenantContext.parse("bicicletas-sur")
CONFIG = {
    "tasks": {
        "tipo": {
            "etiquetas": {"queja": "Queja", "reclamo": "Reclamo"},
            "routing": {"accept_at": 0.8, "audit_share": 0.75},
        }
    },
    "gates": {"texts_at_least": 50, "lift_at_least": 0, "p_at_most": 0.05, "same_contract": True},
    "retrain": {"on_drift": 50, "approve": "policy", "shadow_runs": 1},
}
FIRST_DAY = date(2026, 4, 1)
A_DAY = 20

COMPLAINT = "queja"
CLAIM = "reclamo"
WHO = ["el funcionario", "la asesora", "el vigilante", "la persona de la ventanilla"]
HOW = ["me atendió de mala gana", "me hizo esperar toda la mañana", "me trató con groserías"]
WHAT = ["la factura del acueducto", "el recibo de la energía", "el cobro del medidor"]
WRONG = ["llegó por el doble", "trae un consumo que no es mío", "repite un pago que ya hice"]
BICYCLE = ["la bicicleta quedó trabada", "el candado de la bicicleta no abrió"]


def written(number: int, label: str, *, of_bicycles: bool) -> str:
    """Make up a request; no two are equal."""
    chance = Random(number)
    who, how, bicycle = (chance.choice(words) for words in (WHO, HOW, BICYCLE))
    what, wrong = (chance.choice(words) for words in (WHAT, WRONG))
    street = number * 7919 % 9973
    if of_bicycles:
        where = f"en la sede de la calle {street}"
        return f"{who.capitalize()} {how} {where}: {bicycle} y no devolvió el depósito."
    if label == COMPLAINT:
        return f"{who.capitalize()} {how} en la sede de la calle {street}."
    return f"{what.capitalize()} de la calle {street} {wrong}."


@dataclass
class City:
    """The tenant, with the truth about each of its tickets."""

    platform: Platform
    folder: Path
    truth: dict[str, str] = field(default_factory=dict)

    @property
    def task(self) -> Any:
        (task,) = self.platform.tasks(TENANT)
        return task

    def history(self, texts: int) -> LabelsFile:
        rows = []
        for number in range(texts):
            label = COMPLAINT if number % 2 else CLAIM
            rows.append((written(5_000 + number, label, of_bicycles=False), label))
        return LabelsFile(self._file("historia.csv", ("text", "label"), rows))

    def arrives(self, name: str, tickets: int, *, drifted: bool) -> str:
        """Land a file of tickets and run them to Gold; return the run."""
        rows = []
        for number in range(len(self.truth), len(self.truth) + tickets):
            of_bicycles = drifted and number % 5 < 3
            label = CLAIM if of_bicycles or number % 2 else COMPLAINT
            day = FIRST_DAY + timedelta(days=number // A_DAY)
            self.truth[f"b-{number}"] = label
            rows.append((f"b-{number}", day, written(number, label, of_bicycles=of_bicycles)))
        file = self._file(f"{name}.csv", ("id", "fecha", "texto"), rows)
        platform = self.platform
        ingest(
            SourceFile.find(file),
            TENANT,
            source="portal",
            mapping=ColumnMapping.parse(["text=texto", "external_id=id", "created_at=fecha"]),
            raw=RawStore(platform.files, platform.landings),
            at=datetime.now(UTC),
        )
        assert platform.run(TENANT) is not None
        run = newest_run(TENANT, platform.runs)
        assert run is not None
        return run

    def _file(self, name: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
        path = self.folder / name
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    def truth_of_tickets(self) -> Mapping[str, str]:
        found = self.platform.store.scan(
            TICKETS.table, TENANT, columns=["ticket_id", "external_id"]
        )
        assert found is not None
        names = zip(found["ticket_id"].to_pylist(), found["external_id"].to_pylist(), strict=True)
        return {ticket: self.truth[name] for ticket, name in names}

    def right(self, run: str) -> tuple[int, int]:
        """Count the champion's right answers of a run, and all of them."""
        rows = standing_answers("tipo", TENANT, self.platform.store, run_id=run)  # type: ignore[arg-type]
        return self._right(rows)

    def right_aside(self) -> tuple[int, int]:
        """Count what the challenger's shadow had right."""
        rows = self.platform.store.scan(CLASSIFICATIONS_SHADOW.table, TENANT)
        assert rows is not None
        return self._right(rows)

    def _right(self, rows: Any) -> tuple[int, int]:
        truth = self.truth_of_tickets()
        said = zip(rows["ticket_id"].to_pylist(), rows["predicted_label"].to_pylist(), strict=True)
        return sum(truth[ticket] == label for ticket, label in said), len(rows)

    def watched(self, run: str) -> DriftVerdict:
        """Compare a run with what its champion learned, and record it; draw no page."""
        platform = self.platform
        (found,) = watch_as_run(
            RunContext.begin(TENANT, kind=DRIFT_KIND, at=datetime.now(UTC)),
            [Subject(self.task, platform.registry.resolve_model(self.task.model))],
            Window(run),  # type: ignore[arg-type]
            store=platform.store,
            registry=platform.registry,
            log=platform.drift,
            runs=platform.runs,
            reports=platform.home / "reports",
            policy=DriftPolicy(),
            draw=undrawn,
        )
        return found.report.verdict

    def round(self) -> Round:
        platform = self.platform
        return retrain_flow(
            TENANT,
            platform.tasks(TENANT),
            platform.retrain_policy(TENANT),
            platform.retraining(TENANT),
            prefect_api_url=platform.endpoints.prefect_api_url,
            now=datetime.now(UTC),
        )

    def proposals(self) -> list[Proposal]:
        platform = self.platform
        policy, ports = platform.retrain_policy(TENANT), platform.retraining(TENANT)
        return proposals(TENANT, platform.tasks(TENANT), policy, ports)


def undrawn(orders: Sequence[ReportOrder]) -> list[DrawnReport]:
    """Stand for Evidently's pages, which decide nothing and take half a minute to begin."""
    return [DrawnReport(o.folder / "report.html", o.folder / "report.json", ()) for o in orders]


@pytest.fixture
def city(plata_services: Any, embedding: str, tmp_path: Path) -> Iterator[City]:
    assert embedding
    platform = Platform(plata_services.settings, plata_services.endpoints)
    onboard(
        TENANT,
        name="Bicicletas del Sur",
        values=CONFIG,
        tenants=platform.tenants,
        promotion=platform.promotion,
        by="ana",
    )
    made = City(platform, tmp_path)
    run = RunContext.begin(TENANT, kind="train", at=datetime.now(UTC))
    report = train(
        made.history(240), made.task, run, registry=platform.registry, cluster=platform.cluster
    )
    bundle = challenger_with(
        report.model, made.task, TENANT, [made.task], platform.retraining(TENANT)
    )
    promote_bundle(TENANT, bundle, Decision("ana", "trained on history"), platform.promotion)
    try:
        yield made
    finally:
        platform.close()


def answer_all(city: City, argilla_url: str) -> dict[str, str]:
    """Answer every case in the queue as the tenant's reviewer, over what Argilla's page sends."""
    platform = city.platform
    account = platform.reviewers.of(TENANT)
    login = {"username": account.username, "password": account.password}
    truth = city.truth_of_tickets()
    given: dict[str, str] = {}
    with httpx.Client(base_url=f"{argilla_url}/api/v1", timeout=60) as client:
        token = client.post("/token", data=login).raise_for_status().json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        (dataset,) = client.get("/me/datasets").raise_for_status().json()["items"]
        scope = {"entity": "response", "property": "status"}
        pending = {"type": "terms", "scope": scope, "values": ["pending"]}
        while True:
            found = client.post(
                f"/me/datasets/{dataset['id']}/records/search",
                params={"limit": 100},
                json={"filters": {"and": [pending]}},
            ).raise_for_status()
            records = [item["record"] for item in found.json()["items"]]
            if not records:
                return given
            answers = []
            for record in records:
                ticket = record["external_id"].split("/")[2]
                given[ticket] = truth[ticket]
                values = {"label": {"value": truth[ticket]}}
                answers.append({"record_id": record["id"], "status": "submitted", "values": values})
            client.post("/me/responses/bulk", json={"items": answers}).raise_for_status()


def test_what_drifts_is_labelled_in_argilla_learned_shadowed_promoted_and_right_again(
    city: City, plata_services: Any
) -> None:
    platform = city.platform
    first = city.right(city.arrives("antes", 60, drifted=False))
    assert city.watched(newest(city)) is not DriftVerdict.DRIFT
    assert city.round().begun == ()

    fell = city.right(city.arrives("bicicletas", 160, drifted=True))
    assert city.watched(newest(city)) is DriftVerdict.DRIFT
    assert below(fell, first)
    waiting = city.round()
    assert waiting.begun == ()
    assert waiting.outlooks[0].drift_alert is not None

    (pushed,) = push_all(
        TENANT,
        [city.task],
        store=platform.store,
        queue=platform.queue,
        log=platform.runs,
        accounts=platform.reviewers,
        limit=1000,
    )
    given = answer_all(city, plata_services.argilla_url)
    assert len(given) == pushed.added
    pulling = RunContext.begin(TENANT, kind=PULL_KIND, at=datetime.now(UTC))
    pulled = pull(
        pulling, [city.task], store=platform.store, queue=platform.queue, log=platform.runs
    )
    assert pulled.added == {"tipo": len(given)}
    stands = standing_labels("tipo", TENANT, platform.store)
    labels = dict(zip(stands["ticket_id"].to_pylist(), stands["label"].to_pylist(), strict=True))
    assert labels == given
    assert len(label_facts(TENANT, platform.store)) == len(given)

    begun = city.round()
    assert [one.reason.trigger for one in begun.outlooks if one.reason] == [Trigger.DRIFT]
    (proposal,) = city.proposals()
    assert (proposal.stage, begun.promoted) == (Stage.PROPOSED, ())
    assert proposal.verdict is not None
    failed = [gate["name"] for gate in proposal.verdict["gates"] if not gate["passed"]]
    assert failed == ["shadow"]
    own = proposal.retraining.run
    assert trained_by(own, city.task, platform.registry) == proposal.model
    assert tasks_in_prefect(own.run_id, plata_services.prefect_api_url) == {
        "train": "COMPLETED",
        "evaluate": "COMPLETED",
        "shadow": "COMPLETED",
    }

    still = city.right(city.arrives("sombra", 60, drifted=True))
    aside = city.right_aside()
    assert aside[1] == still[1] == 60
    assert below(still, aside)

    (promoted,) = city.round().promoted
    assert promoted.retraining.run.run_id == begun.begun[0]
    again = city.right(city.arrives("despues", 80, drifted=True))
    assert below(fell, again)
    assert not below(again, first)
    assert city.watched(newest(city)) is not DriftVerdict.DRIFT
    assert city.round().outlooks[0].drift_alert is None

    move = platform.bundles.history(TENANT, TENANT.tenant_id)[0]
    assert (move.by, move.forced) == (BY, False)
    assert begun.begun[0] in move.reason
    assert move.verdict is not None
    assert move.verdict["passed"]
    (shadow,) = ExperimentLog(platform.postgres).all(TENANT)
    assert (shadow.bundle_id, shadow.stopped_by) == (move.after, BY)
    rows = platform.store.scan(LABELS.table, TENANT)
    assert rows is not None
    assert pc.count_distinct(rows["label_id"]).as_py() == len(given)


def tasks_in_prefect(run_id: str, url: str) -> dict[str, str]:
    """Return the states of the tasks of a run's flow."""
    with httpx.Client(base_url=url, timeout=30) as prefect:
        wanted = {"flow_runs": {"tags": {"all_": [f"run:{run_id}"]}}}
        (flow,) = prefect.post("/flow_runs/filter", json=wanted).raise_for_status().json()
        of_flow = {"flow_runs": {"id": {"any_": [flow["id"]]}}}
        tasks = prefect.post("/task_runs/filter", json=of_flow).raise_for_status().json()
    return {task["name"]: task["state_type"] for task in tasks}


def newest(city: City) -> str:
    run = newest_run(TENANT, city.platform.runs)
    assert run is not None
    return run


def below(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Say whether a share is surely less than another: their 95 % intervals do not meet."""
    lower, upper = _interval(one), _interval(other)
    return lower.high < upper.low


def _interval(counted: tuple[int, int]) -> Interval:
    return wilson(*counted)
