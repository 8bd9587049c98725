"""The program `plata`: groups of commands under one roof, errors of ours in one line."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lakehouse.errors import PlataError
from serving.cli import (
    backfill,
    bundles,
    contracts,
    data,
    demo,
    drift,
    evaluate,
    guarantee,
    labels,
    lineage,
    models,
    past,
    promote,
    prompts,
    retrain,
    review,
    runs,
    services,
    shadow,
    simulate,
    sql,
    tables,
    tenants,
)
from serving.cli.output import fail

app = typer.Typer(
    name="plata",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="From citizen requests to trusted analytics: Raw, Bronze, Silver, Gold.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(version("plata") + "\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Stand above the commands: nothing happens here."""


services.register(app)
data.register(app)
sql.register(app)
simulate.register(app)
demo.register(app)
lineage.register(app)
past.register(app)
promote.register(app)
evaluate.register(app)
app.add_typer(tenants.app, name="tenants")
app.add_typer(runs.app, name="runs")
app.add_typer(backfill.app, name="backfill")
app.add_typer(tables.app, name="tables")
app.add_typer(contracts.app, name="contracts")
app.add_typer(models.app, name="models")
app.add_typer(prompts.app, name="prompts")
app.add_typer(bundles.app, name="bundles")
app.add_typer(shadow.app, name="shadow")
app.add_typer(review.app, name="review")
app.add_typer(guarantee.app, name="guarantee")
app.add_typer(labels.app, name="labels")
app.add_typer(drift.app, name="drift")
app.add_typer(retrain.app, name="retrain")


def main() -> None:
    """Run the command line; what Plata can explain ends in one line and exit code 1."""
    try:
        app()
    except PlataError as error:
        fail(str(error))
        sys.exit(1)
