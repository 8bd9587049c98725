"""The accounts Plata makes for reviewers: made up once, kept private."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from labeling.accounts import ReviewerAccounts
from lakehouse.errors import ConfigurationError
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
