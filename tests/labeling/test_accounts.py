"""The accounts Plata makes for reviewers: made up once, kept private."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from labeling.accounts import ReviewerAccounts
from lakehouse.errors import ConfigurationError, InputError
from lakehouse.tenancy import TenantContext

NORTE, SUR = TenantContext.parse("norte"), TenantContext.parse("sur")


def test_a_password_is_made_up_once_and_remembered(tmp_path: Path) -> None:
    path = tmp_path / "un estado" / "reviewers.json"
    made = ReviewerAccounts(path).of(NORTE)
    assert made.username == "revisor-norte"
    assert ReviewerAccounts(path).of(NORTE) == made


def test_tenants_have_accounts_of_their_own(tmp_path: Path) -> None:
    accounts = ReviewerAccounts(tmp_path / "reviewers.json")
    norte, sur = accounts.of(NORTE), accounts.of(SUR)
    assert norte.password != sur.password
    assert accounts.of(NORTE) == norte


def test_only_the_owner_may_read_the_passwords(tmp_path: Path) -> None:
    path = tmp_path / "reviewers.json"
    ReviewerAccounts(path).of(NORTE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["reviewers.json"]


def test_a_file_that_was_spoiled_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "reviewers.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"reviewers\.json' is not the JSON.*Remove it"):
        ReviewerAccounts(path).of(NORTE)


def test_a_person_has_an_account_of_their_own_in_each_tenant(tmp_path: Path) -> None:
    accounts = ReviewerAccounts(tmp_path / "reviewers.json")
    norte, sur = accounts.add("ana", NORTE), accounts.add("ana", SUR)
    assert (norte.username, sur.username) == ("ana-norte", "ana-sur")
    assert norte.password != sur.password
    assert accounts.add("ana", NORTE) == norte


def test_a_tenant_whose_name_ends_like_anothers_sees_its_own_accounts(tmp_path: Path) -> None:
    accounts = ReviewerAccounts(tmp_path / "reviewers.json")
    villa = TenantContext.parse("villa-norte")
    accounts.add("ana", NORTE)
    accounts.add("luis", villa)
    assert [reviewer.username for reviewer in accounts.all(NORTE)] == ["ana-norte"]
    assert [reviewer.username for reviewer in accounts.all(villa)] == ["luis-villa-norte"]


def test_a_tenant_with_people_of_its_own_needs_no_shared_account(tmp_path: Path) -> None:
    accounts = ReviewerAccounts(tmp_path / "reviewers.json")
    accounts.of(NORTE)
    ana = accounts.add("ana", NORTE)
    accounts.remove("revisor", NORTE)
    assert accounts.all(NORTE) == (ana,)
    assert accounts.of(NORTE) == ana


def test_removing_an_account_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    accounts = ReviewerAccounts(tmp_path / "reviewers.json")
    accounts.add("ana", NORTE)
    with pytest.raises(InputError, match="no account 'luis-norte'; the tenant has ana-norte"):
        accounts.remove("luis", NORTE)


@pytest.mark.parametrize("name", ["Ana", "ana-maria", "", "1ana", "ana gomez", "a" * 41])
def test_a_name_that_would_not_do_as_an_account_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="not a reviewer's name"):
        ReviewerAccounts(tmp_path / "reviewers.json").add(name, NORTE)
