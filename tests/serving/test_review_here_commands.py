"""`plata review next`, `label` and `cases` at the terminal, over the queue in Postgres."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infra.embedded.endpoints import Endpoints
from labeling.errors import NotLetInError
from labeling.guidelines import newest
from labeling.postgres_queue import LEASE, PostgresQueue
from labeling.queue import CaseId, CaseOrigin, CaseStatus, QueueSpec, Reason, ReviewCase
from lakehouse.errors import ConfigurationError, InputError
from lakehouse.settings import Settings
from lakehouse.tenancy import TenantContext
from pipelines import bootstrap
from pipelines.bootstrap import Platform
from pipelines.tenant_config import default_config
from serving.cli import review

TITLES = {
    "peticion": "Petición",
    "queja": "Queja",
    "reclamo": "Reclamo",
    "sugerencia": "Sugerencia",
}
SPEC = QueueSpec("tipo", TITLES, newest("tipo"))


class Terminal:
    """A tenant of its own, with a queue of `texts`, and the people before it."""

    def __init__(self, platform: Platform, tenant: TenantContext) -> None:
        self.platform, self.tenant = platform, tenant
        self.desk: PostgresQueue = platform.desk

    def person(self, name: str) -> str:
        account = self.platform.reviewers.add(name, self.tenant)
        self.desk.enrol(account, self.tenant)
        return account.username

    def put(self, *texts: str, wanted: int = 1) -> list[CaseId]:
        self.desk.open(SPEC, self.tenant)
        cases = [
            ReviewCase(
                CaseId(self.tenant.tenant_id, "tipo", f"t{number}", "bundle-0a1b"),
                text,
                CaseOrigin("correo", date(2026, 1, 5), Reason.DOUBT, "queja", 0.41, "x.tipo", "3"),
                explanation="gritó",
                channel="email",
                wanted=wanted,
            )
            for number, text in enumerate(texts)
        ]
        self.desk.put(cases, SPEC, self.tenant)
        return [case.id for case in cases]

    def __call__(self, *words: str, keys: str = "") -> Result:
        given = [*words, "--tenant", self.tenant.tenant_id]
        answer = CliRunner().invoke(review.app, given, input=keys)
        if answer.exception is not None and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        return answer

    def said(self) -> dict[str, list[tuple[str, str, str | None]]]:
        """Return what everybody answered, by ticket."""
        return {
            case.id.ticket_id: [(a.reviewer, a.status.value, a.label) for a in case.answers]
            for case in self.desk.cases("tipo", self.tenant)
            if case.answers
        }


@pytest.fixture
def open_terminal(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Terminal]:
    def make(**given: Any) -> Terminal:
        settings = Settings.alone(tmp_path / "estado", **{"review": "postgres", **given})
        endpoints = Endpoints(postgres_url=postgres_url, argilla_url="http://argilla")
        platform = Platform(settings, endpoints)
        tenant = TenantContext.parse(f"mesa-{uuid.uuid4().hex[:8]}")
        platform.tenants.create(tenant, name="Mesa")
        platform.tenants.configure(tenant, default_config())
        monkeypatch.setattr(bootstrap, "open_platform", lambda: platform)
        return Terminal(platform, tenant)

    return make


@pytest.fixture
def terminal(open_terminal: Callable[..., Terminal]) -> Terminal:
    return open_terminal()


def test_cases_are_answered_one_after_another_each_with_a_key(terminal: Terminal) -> None:
    ana = terminal.person("ana")
    terminal.put("La señora de la ventanilla me gritó.", "Me cobraron dos veces.", "Buenos días.")
    shown = terminal("next", "--task", "tipo", "--as", "ana", keys="23d").stdout
    assert "La señora de la ventanilla me gritó." in shown
    assert "Sugiere Queja con una confianza de 41 %." in shown
    assert "1 Petición  2 Queja  3 Reclamo  4 Sugerencia" in shown
    assert "nada más espera por ti" in shown
    assert "Respondiste 3 casos." in shown
    assert terminal.said() == {
        "t0": [(ana, "submitted", "queja")],
        "t1": [(ana, "submitted", "reclamo")],
        "t2": [(ana, "discarded", None)],
    }


def test_leaving_keeps_what_was_answered_and_gives_the_case_back(terminal: Terminal) -> None:
    terminal.person("ana")
    terminal.put("uno", "dos")
    assert "Respondiste 1 caso." in terminal("next", "-k", "tipo", "--as", "ana", keys="1q").stdout
    luis = terminal.person("luis")
    terminal("next", "--task", "tipo", "--as", "luis", keys="4q")
    assert terminal.said()["t1"] == [(luis, "submitted", "sugerencia")]


def test_the_end_of_the_input_leaves_too(terminal: Terminal) -> None:
    terminal.person("ana")
    terminal.put("uno")
    assert "Respondiste 0 casos." in terminal("next", "-k", "tipo", "--as", "ana").stdout
    assert terminal.said() == {}


def test_a_case_that_is_skipped_comes_again_the_next_time(terminal: Terminal) -> None:
    terminal.person("ana")
    terminal.put("uno")
    assert "nada más" in terminal("next", "-k", "tipo", "--as", "ana", keys="s").stdout
    assert "uno" in terminal("next", "-k", "tipo", "--as", "ana", keys="q").stdout


def test_a_key_that_means_nothing_is_said_to(terminal: Terminal) -> None:
    terminal.person("ana")
    terminal.put("uno")
    shown = terminal("next", "-k", "tipo", "--as", "ana", keys="72").stdout
    assert "No hay «7»: un número del 1 al 4" in " ".join(shown.split())
    assert list(terminal.said()) == ["t0"]


def test_a_comment_and_the_guideline_are_a_key_away(terminal: Terminal) -> None:
    ana = terminal.person("ana")
    terminal.put("uno")
    shown = terminal("next", "-k", "tipo", "--as", "ana", keys="?cse refiere a dos cosas\n2").stdout
    assert "Cómo decidir cuando hay duda" in shown
    (case,) = terminal.desk.cases("tipo", terminal.tenant)
    (answer,) = case.answers
    assert (answer.reviewer, answer.comment) == (ana, "se refiere a dos cosas")


def test_two_people_never_have_the_same_case_unless_both_are_wanted(terminal: Terminal) -> None:
    ana, luis = terminal.person("ana"), terminal.person("luis")
    alone, other = terminal.put("uno", "dos")
    first = terminal.desk.next_case("tipo", ana, terminal.tenant)
    second = terminal.desk.next_case("tipo", luis, terminal.tenant)
    assert first is not None
    assert second is not None
    assert (first.id, second.id) == (alone, other)
    assert terminal.desk.next_case("tipo", ana, terminal.tenant) == first
    marta = terminal.person("marta")
    assert terminal.desk.next_case("tipo", marta, terminal.tenant) is None


def test_a_case_for_two_people_is_shown_to_two(terminal: Terminal) -> None:
    people = [terminal.person(name) for name in ("ana", "luis", "marta")]
    (case_id,) = terminal.put("uno", wanted=2)
    found = [terminal.desk.next_case("tipo", person, terminal.tenant) for person in people]
    assert [None if case is None else case.id for case in found] == [case_id, case_id, None]


def test_a_case_whose_reader_went_away_is_shown_to_the_next_after_a_while(
    terminal: Terminal,
) -> None:
    ana, luis = terminal.person("ana"), terminal.person("luis")
    terminal.put("uno")
    terminal.desk.next_case("tipo", ana, terminal.tenant)
    assert terminal.desk.next_case("tipo", luis, terminal.tenant) is None
    with terminal.platform.postgres.connect(terminal.tenant) as connection:
        late = [LEASE + timedelta(seconds=1), terminal.tenant.tenant_id]
        connection.execute("UPDATE review.leases SET until = until - %s WHERE tenant_id = %s", late)
    assert terminal.desk.next_case("tipo", luis, terminal.tenant) is not None


def test_one_case_is_answered_by_name_and_answered_again_otherwise(terminal: Terminal) -> None:
    ana = terminal.person("ana")
    (case_id,) = terminal.put("uno")
    before = datetime.now(UTC) - timedelta(minutes=1)
    terminal("label", str(case_id), "queja", "--as", "ana")
    terminal("label", str(case_id), "reclamo", "--as", "ana", "--comment", "es un cobro")
    assert terminal.said() == {"t0": [(ana, "submitted", "reclamo")]}
    (listed,) = json.loads(terminal("cases", "--task", "tipo", "--json").stdout)
    assert (listed["case"], listed["missing"]) == (str(case_id), 0)
    assert datetime.fromisoformat(listed["answers"][0]["at"]) > before
    assert f"{ana}: reclamo" in " ".join(terminal("cases").stdout.split())


def test_a_text_is_shown_to_who_reviews_it_and_listed_nowhere(terminal: Terminal) -> None:
    terminal.put("Me gritó la funcionaria")
    assert "gritó" not in terminal("cases").stdout
    assert "gritó" not in terminal("cases", "--json").stdout


def test_mistakes_are_told_with_what_there_is(terminal: Terminal) -> None:
    ana = terminal.person("ana")
    (case_id,) = terminal.put("uno")
    with pytest.raises(InputError, match="'elogio' is no label of 'tipo'; it has peticion, queja"):
        terminal("label", str(case_id), "elogio", "--as", "ana")
    with pytest.raises(InputError, match="no account 'luis-mesa"):
        terminal("label", str(case_id), "queja", "--as", "luis")
    gone = CaseId(case_id.tenant_id, "tipo", "t9", "bundle-0a1b")
    with pytest.raises(InputError, match="is not in the queue"):
        terminal("label", str(gone), "queja", "--as", "ana")
    terminal.desk.dismiss(ana, terminal.tenant)
    with pytest.raises(NotLetInError, match=f"'{ana}' does not review"):
        terminal("next", "--task", "tipo", "--as", "ana")
    assert terminal.said() == {}


def test_a_queue_that_was_never_filled_says_how(terminal: Terminal) -> None:
    terminal.person("ana")
    with pytest.raises(Exception, match="plata review push"):
        terminal("next", "--task", "tipo", "--as", "ana")


def test_where_people_review_in_argilla_its_page_is_named(
    open_terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = open_terminal()
    settings = there.platform.settings.model_copy(update={"review": "argilla"})
    in_argilla = Platform(settings, there.platform.endpoints)
    monkeypatch.setattr(bootstrap, "open_platform", lambda: in_argilla)
    with pytest.raises(ConfigurationError, match=r"http://argilla; .*PLATA_REVIEW=postgres"):
        there("next", "--task", "tipo")


def test_an_answer_of_one_tenant_is_not_seen_by_another(
    terminal: Terminal, open_terminal: Callable[..., Terminal]
) -> None:
    ana = terminal.person("ana")
    (case_id,) = terminal.put("uno")
    terminal.desk.answer(case_id, ana, terminal.tenant, status=CaseStatus.SUBMITTED, label="queja")
    other = open_terminal()
    with other.platform.postgres.connect(other.tenant) as connection:
        (seen,) = connection.execute("SELECT count(*) FROM review.answers").fetchone() or ()
    assert seen == 0
