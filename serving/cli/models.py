"""`plata models`: train, list, show and promote versions of models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from serving.cli.output import emit, grid
from serving.cli.telling import told

app = typer.Typer(no_args_is_help=True, help="Train, list, show and promote models.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose model.")]
OfTask = Annotated[str, typer.Option("--task", "-k", help="A task of the tenant.")]
Name = Annotated[str, typer.Argument(help="Such as alcaldia-norte.tipo.")]
Version = Annotated[str, typer.Argument(help="A number, or an alias such as @champion.")]


@app.command()
def train(
    tenant: OfTenant,
    task: OfTask,
    labels: Annotated[
        Path | None, typer.Option(help="CSV, JSON lines or Parquet, in UTF-8.")
    ] = None,
    from_labels: Annotated[
        bool, typer.Option("--from-labels", help="Of people's labels in review; --labels adds.")
    ] = False,
    as_of: Annotated[
        str, typer.Option(help="With --from-labels: now, or what was known by a day or moment.")
    ] = "now",
    text_column: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column of the labels.")] = "label",
    note: Annotated[str, typer.Option(help="What readers of the card must know.")] = "",
    as_json: AsJson = False,
) -> None:
    """Train three candidates, compare them on texts held out, and register the winner.

    Of a file, a share of its texts is held out; of people's labels, the later tickets are.
    The new version has no alias yet: look at it in MLflow, then promote it.

    Examples:

    plata models train --tenant alcaldia-norte --task tipo --labels etiquetas.csv

    plata models train --tenant alcaldia-norte --task tipo --from-labels --as-of 2026-02-28
    """
    from datetime import UTC, datetime

    from lakehouse.errors import InputError
    from lakehouse.run import RunContext
    from pipelines.bootstrap import code_version, open_platform
    from pipelines.labelled_texts import LabelsFile, read_labelled
    from pipelines.ledger_texts import Knowledge, read_ledger
    from pipelines.selection import named
    from pipelines.train import TrainingReport, train_on
    from pipelines.training_set import TrainingSet

    if labels is None and not from_labels:
        msg = "nothing to learn from: give --labels FILE, or --from-labels for what people labelled"
        raise InputError(msg)
    file = None if labels is None else LabelsFile(labels, text_column, label_column, note)
    platform = open_platform()
    context = platform.tenant(tenant)
    (wanted,) = named(platform.tasks(context), task)
    at = datetime.now(UTC)
    run = RunContext.begin(context, kind="train", at=at, code_version=code_version())
    with told() as tell:
        tell("reading the labels", 0, 0)
        if from_labels:
            known = Knowledge.at(as_of, context, store=platform.store, log=platform.runs, now=at)
            given = read_ledger(wanted, context, platform.store, known, file=file).given
        else:
            assert file is not None
            given = TrainingSet.of_file(file, read_labelled(file, wanted), seed=run.seed)
        report: TrainingReport = train_on(
            given,
            wanted,
            run,
            registry=platform.registry,
            cluster=platform.cluster,
            tell=tell,
        )
    compared = {**report.candidates, **report.beside}
    emit(
        {
            "model": report.model.uri,
            "winner": report.winner,
            "trained_on": report.trained_on,
            "held_out": report.held_out,
            **report.dropped,
            "compared": {
                name: {"accuracy": e.accuracy, "macro_f1": e.macro_f1, "ece": e.ece}
                for name, e in compared.items()
            },
        },
        as_json=as_json,
        table=lambda: grid(
            f"{report.model.uri} is '{report.winner}', trained on {report.trained_on} texts. "
            f"On {report.held_out} held out:",
            ["", "macro-F1", "accuracy", "ECE"],
            [[name, e.macro_f1, e.accuracy, e.ece] for name, e in compared.items()],
        ),
    )


@app.command()
def embedding(
    folder: Annotated[
        str | None,
        typer.Option(
            help="A sentence-transformers folder, or a hub's name; by default the packaged e5."
        ),
    ] = None,
    name: Annotated[
        str, typer.Option(help="Its name in the registry; by default the folder's own.")
    ] = "",
    template: Annotated[
        str, typer.Option(help="How texts are put to it; by default what the folder asks for.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Register an embedding model and its prompt; twice changes nothing.

    A tenant uses another one than the packaged e5 when its configuration names it.

    Example: plata models embedding --folder modelos/propio --template "query: {{text}}"
    """
    from features.embed import EmbeddingChoice
    from pipelines.bootstrap import open_platform
    from pipelines.embedding_source import folder_of, name_of
    from pipelines.train import register_embedding_model

    platform = open_platform()
    choice = EmbeddingChoice.of(name or name_of(folder))
    with told() as tell, folder_of(folder, platform.home, lambda w: tell(w, 0, 0)) as source:
        tell("registering the embedding model", 0, 0)
        ref = register_embedding_model(
            platform.registry, source, name=choice.model, template=template or None
        )
    emit(
        {"model": ref.uri, "prompt": choice.prompt, "digest": ref.digest},
        as_json=as_json,
        table=lambda: f"{ref.uri} is registered, its prompt is '{choice.prompt}'",
    )


@app.command("register-zero-shot")
def register_zero_shot(tenant: OfTenant, task: OfTask, as_json: AsJson = False) -> None:
    """Make the zero-shot prompt in use a version of the task's model, which can be promoted.

    Example: plata models register-zero-shot --tenant alcaldia-norte --task prioridad
    """
    from pipelines.bootstrap import open_platform
    from pipelines.prompted_models import register_zero_shot_model
    from pipelines.selection import named

    platform = open_platform()
    (wanted,) = named(platform.tasks(platform.tenant(tenant)), task)
    with told() as tell:
        tell("embedding the descriptions", 0, 0)
        ref = register_zero_shot_model(platform.registry, wanted)
    _emit_registered(ref, as_json)


@app.command("register-llm")
def register_llm(
    tenant: OfTenant,
    task: OfTask,
    endpoint: Annotated[str, typer.Option(help="A name in PLATA_LLM; its URL stands there.")],
    model: Annotated[str, typer.Option(help="The model, as the endpoint names it.")],
    parameters: Annotated[
        str, typer.Option(help="What goes into every request, as a JSON object.")
    ] = '{"temperature": 0}',
    prompt_price: Annotated[float, typer.Option(min=0, help="Of a million tokens sent.")] = 0.0,
    completion_price: Annotated[
        float, typer.Option(min=0, help="Of a million tokens received.")
    ] = 0.0,
    currency: Annotated[str, typer.Option(help="Of the prices.")] = "USD",
    as_json: AsJson = False,
) -> None:
    """Make an LLM behind an OpenAI-compatible endpoint a version of the task's model.

    It reads the task's prompt TENANT.TASK.llm, which is made where there is none. Nothing is sent.

    Example: plata models register-llm --tenant alcaldia-norte --task tipo --endpoint local
    --model qwen3 --prompt-price 0.15 --completion-price 0.60
    """
    from decimal import Decimal

    from models.llm import Prices
    from pipelines.bootstrap import open_platform
    from pipelines.prompted_models import LlmChoice, read_parameters
    from pipelines.prompted_models import register_llm as register
    from pipelines.selection import named

    platform = open_platform()
    (wanted,) = named(platform.tasks(platform.tenant(tenant)), task)
    prices = Prices(
        currency=currency,
        prompt=Decimal(str(prompt_price)),
        completion=Decimal(str(completion_price)),
    )
    choice = LlmChoice(endpoint, model, read_parameters(parameters), prices)
    _emit_registered(register(platform.registry, wanted, choice), as_json)


@app.command("register")
def register_(
    uri: Annotated[str, typer.Argument(help="An MLflow model: a folder, models:/… or runs:/…")],
    tenant: OfTenant,
    task: OfTask,
    megabytes: Annotated[
        int, typer.Option(min=64, help="Memory it may take beyond the libraries.")
    ] = 2048,
    as_json: AsJson = False,
) -> None:
    """Check a model of your own (ONNX, or scikit-learn saved by skops) and make it a version.

    It is looked at before it is opened, and tried in a process of its own: signature, labels, the
    same bytes twice, speed and memory. What cannot be opened without running code is refused.

    Example: plata models register modelos/tipo --tenant alcaldia-norte --task tipo
    """
    from dataclasses import asdict

    from pipelines.bootstrap import open_platform
    from pipelines.own_models import register_own_model
    from pipelines.selection import named

    platform = open_platform()
    (wanted,) = named(platform.tasks(platform.tenant(tenant)), task)
    with told() as tell, platform.model_folder(uri) as source:
        tell("trying the model", 0, 0)
        found = register_own_model(
            lambda: platform.registry, wanted, source, uri=uri, megabytes=megabytes
        )
    emit(
        {
            "model": found.model.uri,
            "family": found.family,
            "digest": found.model.digest,
            **asdict(found.trial),
        },
        as_json=as_json,
        table=lambda: (
            f"{found.model.uri} is registered ({found.family}, "
            f"{found.trial.rows_per_second:,.0f} rows a second, {found.trial.peak_mb:,.0f} MB); "
            f"see docs/promote.md for how it becomes the champion"
        ),
    )


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List every version of every model, with its aliases and figures.

    Example: plata models list
    """
    from pipelines.bootstrap import open_platform
    from serving.cli.versions_view import as_values, listed

    infos = open_platform().registry.models()
    emit(
        [as_values(info) for info in infos],
        as_json=as_json,
        table=lambda: listed("Models", infos) if infos else _NONE_YET,
    )


@app.command()
def show(name: Name, version: Version, as_json: AsJson = False) -> None:
    """Print a version's card, tags and figures.

    Example: plata models show alcaldia-norte.tipo @champion
    """
    from pipelines.bootstrap import open_platform
    from serving.cli.versions_view import as_values, found, shown

    info = found(open_platform().registry.models(), "model", name, version)
    emit(
        {**as_values(info), "card": info.text},
        as_json=as_json,
        table=lambda: shown(info, markdown=True),
    )


@app.command()
def promote(
    name: Name,
    version: Annotated[str, typer.Argument(help="A number.")],
    alias: Annotated[str, typer.Option(help="The alias that will mean this version.")] = "champion",
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version. An alias that shows a tenant's champion is `plata promote`'s.

    Example: plata models promote alcaldia-norte.tipo 2 --alias retador
    """
    from pipelines.bootstrap import open_platform
    from pipelines.promotion import require_free

    platform = open_platform()
    require_free(name, version, alias, platform.tenants, platform.bundles)
    ref = platform.registry.promote_model(name, version, alias)
    emit(
        {"model": ref.uri, "alias": alias, "digest": ref.digest},
        as_json=as_json,
        table=lambda: f"{name}@{alias} is now version {ref.version}",
    )


_NONE_YET = "no models yet: `plata tenants create TENANT` registers the first"


def _emit_registered(ref: Any, as_json: bool) -> None:
    emit(
        {"model": ref.uri, "digest": ref.digest},
        as_json=as_json,
        table=lambda: (
            f"{ref.uri} is registered; use it with `plata promote {ref.name} {ref.version} "
            "--tenant TENANT`"
        ),
    )
