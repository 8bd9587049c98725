"""What people see on the terminal is what was to be said."""

from __future__ import annotations

import pytest

from serving.cli.output import emit, grid


def test_masked_texts_keep_their_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    table = grid("Of [todos]", ["an example"], [["cédula [número], celular [teléfono]"]])

    emit({}, as_json=False, table=lambda: table)
    emit({}, as_json=False, table=lambda: "see [notes]")

    shown = capsys.readouterr().out
    assert "cédula [número], celular [teléfono]" in shown
    assert "Of [todos]" in shown
    assert "see [notes]" in shown
