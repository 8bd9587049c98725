"""`plata evaluate`: how good the answers are, how sure that is, and whether they are better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from serving.cli.output import emit


def register(app: typer.Typer) -> None:
    """Add the command at the top of the program."""
    app.command()(evaluate)


def evaluate(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_BUNDLE",
            help="Such as 2, @baseline, alcaldia-norte.tipo/2 or bundle-1a2b3c4d5e6f.",
        ),
    ],
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Whose task.")],
    task: Annotated[str, typer.Option("--task", "-k", help="A task of the tenant.")],
    labels: Annotated[
        Path | None, typer.Option(help="Labelled texts: CSV, JSON lines or Parquet, in UTF-8.")
    ] = None,
    text_column: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column of the labels.")] = "label",
    slices: Annotated[
        list[str] | None,
        typer.Option("--slice", metavar="NAME=COLUMN", help="A column to judge by; repeatable."),
    ] = None,
    human: Annotated[
        bool, typer.Option("--human", help="Judge on what people answered in review.")
    ] = False,
    curve: Annotated[
        bool, typer.Option("--learning-curve", help="Show what more labels would bring; slow.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value.")] = False,
) -> None:
    """Judge a model or a bundle on texts it did not learn from, beside the champion.

    Says how sure each figure is, tests the difference text by text, and looks at channels, regions,
    months and lengths apart. What it finds is a run in MLflow, and what `plata promote` reads.

    Examples:

      plata evaluate 2 -t alcaldia-norte -k tipo --labels etiquetas.csv --slice channel=canal

      plata evaluate @champion -t alcaldia-norte -k tipo --human
    """
    from datetime import UTC, datetime

    from lakehouse.errors import InputError
    from lakehouse.run import RunContext
    from pipelines.bootstrap import code_version, open_platform
    from pipelines.challenger import Corner
    from pipelines.evaluate import EVALUATE_KIND, Question, evaluate_answers
    from pipelines.labelled_texts import LabelsFile
    from pipelines.selection import named
    from serving.cli.evaluate_view import drawn
    from serving.cli.telling import told

    if labels is None and not human:
        msg = "nothing to judge on; give labelled texts with --labels, or --human for Silver's"
        raise InputError(msg)
    beside = _beside(slices or ())
    file = None if labels is None else LabelsFile(labels, text_column, label_column, "", beside)
    platform = open_platform()
    context = platform.tenant(tenant)
    tasks = platform.tasks(context)
    (wanted,) = named(tasks, task)
    corner = Corner(context, tasks, platform.registry, platform.bundles)
    question = Question(
        task=wanted,
        challenger=corner.challenger(what, wanted),
        champion=corner.champion(),
        file=file,
        people=human,
        curve=curve,
        price=platform.price(context),
    )
    run = RunContext.begin(
        context, kind=EVALUATE_KIND, at=datetime.now(UTC), code_version=code_version()
    )
    with told() as tell:
        report, page = evaluate_answers(question, run, platform.evaluation, tell=tell)
    values = {**report.as_dict(), "page": page}
    emit(values, as_json=as_json, table=lambda: drawn(values, wanted.titles))


def _beside(pairs: Sequence[str]) -> Mapping[str, str]:
    from lakehouse.errors import InputError

    found = {}
    for pair in pairs:
        name, _, column = pair.partition("=")
        if not name or not column:
            msg = f"--slice is '{pair}'; write NAME=COLUMN, such as channel=canal"
            raise InputError(msg)
        found[name] = column
    return found
