"""The door to MLflow: models and prompts as its registered versions, to be seen in its pages."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

from mlflow.artifacts import download_artifacts
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import Array, DataType

from lakehouse.data.folders import put_in_place
from lakehouse.errors import InputError, ServiceUnavailableError
from registry.errors import (
    ArtifactError,
    UnknownAliasError,
    UnknownVersionError,
)
from registry.experiments import EvaluationRun
from registry.refs import (
    CHAMPION,
    ModelPackage,
    ModelRef,
    PromptRef,
    VersionInfo,
    alias_remedy,
    check_template,
    digest_of_tests,
    folder_digest,
    text_digest,
)
from registry.safety import check_folder

_FILES = "plata"
"""Folder, inside a logged model, of the files that were handed in: the digest is theirs."""
_DIGEST = "plata.digest"
_FAMILY = "plata.family"
_NOTE = "plata.note"
_TESTS, _TESTS_DIGEST = "plata.tests", "plata.tests.digest"
_LONGEST_TESTS = 90_000
_LONGEST_DESCRIPTION = 4_900
_MISSING = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"}
_PAGE = 100


class MlflowRegistry:
    """One MLflow server. `cache` is where fetched models are kept, by digest."""

    def __init__(self, tracking_url: str, cache: Path | None = None) -> None:
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self._url = tracking_url
        self._client = MlflowClient(tracking_url, registry_uri=tracking_url)
        self._cache = cache or Path(tempfile.gettempdir()) / f"plata-models-{os.getuid()}"
        self._verified: set[str] = set()

    def resolve_model(self, name: str, alias: str = CHAMPION) -> ModelRef:
        """Return the version an alias means now. Raises `UnknownAliasError`."""
        with self._translated():
            found = self._found(lambda: self._client.get_model_version_by_alias(name, alias))
            if found is None:
                have = sorted(self._aliases(name))
                raise UnknownAliasError.of(
                    "model", name, alias, have, remedy=alias_remedy("model", name, alias)
                )
        return _model_ref(found)

    def resolve_prompt(self, name: str, alias: str = CHAMPION) -> PromptRef:
        """Return the version an alias means now. Raises `UnknownAliasError`."""
        with self._translated():
            found = self._found(lambda: self._client.get_prompt_version_by_alias(name, alias))
            if found is None:
                have = sorted(self._aliases(name))
                raise UnknownAliasError.of(
                    "prompt", name, alias, have, remedy=alias_remedy("prompt", name, alias)
                )
        return _prompt_ref(found)

    def model_version(self, name: str, version: str) -> ModelRef:
        """Return exactly that version. Raises `UnknownVersionError`."""
        with self._translated():
            found = self._found(lambda: self._client.get_model_version(name, version))
            if found is None:
                have = [str(v.version) for v in self._model_versions(name)]
                raise UnknownVersionError.of("model", name, version, have)
        return _model_ref(found)

    def prompt_version(self, name: str, version: str) -> PromptRef:
        """Return exactly that version. Raises `UnknownVersionError`."""
        with self._translated():
            found = self._found(lambda: self._client.get_prompt_version(name, version))
            if found is None:
                have = [str(v.version) for v in self._prompt_versions(name)]
                raise UnknownVersionError.of("prompt", name, version, have)
        return _prompt_ref(found)

    def fetch(self, model: ModelRef) -> Path:
        """Return a local folder with the files; it is downloaded once, and verified once a process.

        Raises `ArtifactError` where the files are not those that were registered, or not safe.
        """
        folder = self._cache / model.digest
        if model.digest in self._verified and folder.is_dir():
            return folder
        if folder.is_dir() and folder_digest(folder) != model.digest:
            shutil.rmtree(folder)
        if not folder.is_dir():
            self._download(model, folder)
        check_folder(folder)
        self._verified.add(model.digest)
        return folder

    def download(self, uri: str, target: Path) -> Path:
        """Download a model by `models:/…` or `runs:/…`, unopened, and return its folder."""
        with self._translated():
            return Path(
                download_artifacts(
                    artifact_uri=uri,
                    dst_path=str(target),
                    tracking_uri=self._url,
                    registry_uri=self._url,
                )
            )

    def template(self, prompt: PromptRef) -> str:
        """Return the text, whose digest was verified."""
        with self._translated():
            found = self._found(
                lambda: self._client.get_prompt_version(prompt.name, prompt.version)
            )
        if found is None:
            raise UnknownVersionError.of("prompt", prompt.name, prompt.version, [])
        text = str(found.template)
        if text_digest(text) != prompt.digest:
            raise ArtifactError.changed(prompt.uri)
        return text

    def prompt_tests(self, prompt: PromptRef) -> str:
        """Return the tests kept with a version, whose digest was verified."""
        with self._translated():
            found = self._found(
                lambda: self._client.get_prompt_version(prompt.name, prompt.version)
            )
        if found is None:
            raise UnknownVersionError.of("prompt", prompt.name, prompt.version, [])
        return _tests_of(found)

    def register_model(self, package: ModelPackage) -> ModelRef:
        """Log the files as a model of a run, with all that describes them, and make a version."""
        check_folder(package.folder)
        digest = folder_digest(package.folder)
        with self._translated():
            newest = self._newest_model(package.name)
            if newest is not None and newest.tags.get(_DIGEST) == digest:
                return _model_ref(newest)
            self._ensure_model(package.name)
            run_id, model_id = self._log(package, digest)
            version = self._client.create_model_version(
                package.name,
                source=f"models:/{model_id}",
                run_id=run_id,
                model_id=model_id,
                tags=_tags(package, digest),
                description=_shortened(package.card),
            )
        self._keep(package.folder, digest)
        return ModelRef(package.name, str(version.version), digest)

    def register_prompt(
        self, name: str, template: str, *, note: str, tests: str | None = None
    ) -> PromptRef:
        """Make a new version; text and tests equal to the newest version's return that one."""
        check_template(name, template)
        _check_length(name, tests or "")
        digest = text_digest(template)
        with self._translated():
            versions = self._prompt_versions(name)
            kept = _tests_of(versions[0]) if versions else ""
            wanted = kept if tests is None else tests
            if versions and (_prompt_ref(versions[0]).digest, kept) == (digest, wanted):
                return _prompt_ref(versions[0])
            tags = {_DIGEST: digest}
            if wanted:
                tags |= {_TESTS: wanted, _TESTS_DIGEST: digest_of_tests(digest, wanted)}
            made = self._client.register_prompt(name, template, commit_message=note, tags=tags)
        return _prompt_ref(made)

    def promote_model(self, name: str, version: str, alias: str = CHAMPION) -> ModelRef:
        """Point the alias at a version. Raises `UnknownVersionError`."""
        found = self.model_version(name, version)
        with self._translated():
            self._client.set_registered_model_alias(name, alias, found.version)
        return found

    def promote_prompt(self, name: str, version: str, alias: str = CHAMPION) -> PromptRef:
        """Point the alias at a version. Raises `UnknownVersionError`."""
        found = self.prompt_version(name, version)
        with self._translated():
            self._client.set_prompt_alias(name, alias, int(found.version))
        return found

    def models(self) -> Sequence[VersionInfo]:
        """Every version of every model, newest first within a name."""
        with self._translated():
            names = sorted(model.name for model in _pages(self._client.search_registered_models))
            return [info for name in names for info in self._model_infos(name)]

    def prompts(self) -> Sequence[VersionInfo]:
        """Every version of every prompt, newest first within a name."""
        with self._translated():
            names = sorted(prompt.name for prompt in _pages(self._client.search_prompts))
            return [info for name in names for info in self._prompt_infos(name)]

    def log_evaluation(self, run: EvaluationRun) -> str:
        """Log a run of the experiment, tied to the model it judged."""
        with self._translated():
            experiment = self._experiment(run.experiment)
            tags = {
                "mlflow.note.content": _shortened(run.summary),
                "plata.kind": "evaluation",
                "plata.model": run.model.uri,
            }
            run_id = str(
                self._client.create_run(experiment, run_name=run.name, tags=tags).info.run_id
            )
            now = int(datetime.now(UTC).timestamp() * 1000)
            self._client.log_batch(
                run_id,
                metrics=[Metric(name, value, now, 0) for name, value in run.metrics.items()],
                params=[Param(name, value) for name, value in run.parameters.items()],
            )
            self._log_data(run_id, run.data, context="evaluation")
            self._tie(run_id, run.model)
            self._log_report(run_id, run)
            self._client.set_terminated(run_id)
        return f"{self._url}/#/experiments/{experiment}/runs/{run_id}"

    def _tie(self, run_id: str, model: ModelRef) -> None:
        """Say which logged model the run judged, so that each page leads to the other."""
        version = self._found(lambda: self._client.get_model_version(model.name, model.version))
        if version is not None and (model_id := _model_id(version)):
            self._client.log_inputs(run_id, models=[LoggedModelInput(model_id)])

    def _log_report(self, run_id: str, run: EvaluationRun) -> None:
        with tempfile.TemporaryDirectory(prefix="plata-evaluation-") as made:
            folder = Path(made)
            (folder / "evaluation.md").write_text(run.summary, encoding="utf-8")
            (folder / "evaluation.json").write_text(run.report, encoding="utf-8")
            _copy_figures(run.figures, folder)
            self._client.log_artifacts(run_id, str(folder))

    # What a registered model is made of

    def _log(self, package: ModelPackage, digest: str) -> tuple[str, str]:
        """Log a run and its model; return their identifiers."""
        experiment = self._experiment(package.name)
        name = f"{package.family}-{digest[:8]}"
        run = self._client.create_run(
            experiment, run_name=name, tags={"mlflow.note.content": _shortened(package.card)}
        )
        run_id = run.info.run_id
        model = self._client.create_logged_model(
            experiment,
            name=name,
            source_run_id=run_id,
            tags=_tags(package, digest),
            params=dict(package.parameters),
            model_type=package.family,
        )
        self._log_numbers(run_id, model.model_id, package, digest)
        self._log_data(run_id, package.data, context="training")
        self._log_files(run_id, model.model_id, package)
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
        self._client.set_terminated(run_id)
        return run_id, model.model_id

    def _log_numbers(self, run_id: str, model_id: str, package: ModelPackage, digest: str) -> None:
        now = int(datetime.now(UTC).timestamp() * 1000)
        metrics = [
            Metric(name, value, now, 0, model_id=model_id)
            for name, value in package.metrics.items()
        ]
        params = [Param(name, value) for name, value in package.parameters.items()]
        tags = [RunTag(name, value) for name, value in _tags(package, digest).items()]
        self._client.log_batch(run_id, metrics=metrics, params=params, tags=tags)

    def _log_data(self, run_id: str, data: Mapping[str, str], *, context: str) -> None:
        if not data:
            return
        described = {k: v for k, v in data.items() if k not in ("name", "digest")}
        dataset = Dataset(
            name=data.get("name", f"{context} data")[:500],
            digest=data.get("digest", "")[:36],
            source_type="local",
            source=json.dumps({"uri": data.get("name", "")}),
            profile=json.dumps(dict(data), ensure_ascii=False, default=str),
        )
        tags = [InputTag("mlflow.data.context", context)]
        tags += [InputTag(f"plata.{name}", value[:500]) for name, value in described.items()]
        self._client.log_inputs(run_id, [DatasetInput(dataset, tags)])

    def _log_files(self, run_id: str, model_id: str, package: ModelPackage) -> None:
        """Upload the card and pictures to the run, and everything to the model."""
        with tempfile.TemporaryDirectory(prefix="plata-model-") as made:
            folder = Path(made)
            (folder / "card.md").write_text(package.card, encoding="utf-8")
            _copy_figures(package.figures, folder)
            self._client.log_artifacts(run_id, str(folder))
            _write_model_file(folder, run_id, model_id, package)
            _link(package.folder, folder / _FILES)
            self._client.log_model_artifacts(model_id, str(folder))

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException as error:
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise error
            return str(found.experiment_id)

    def _ensure_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    # Reading back

    def _download(self, model: ModelRef, folder: Path) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=self._cache) as made:
            with self._translated():
                version = self._found(
                    lambda: self._client.get_model_version(model.name, model.version)
                )
                if version is None:
                    have = [str(v.version) for v in self._model_versions(model.name)]
                    raise UnknownVersionError.of("model", model.name, model.version, have)
                self._download_files(version, Path(made))
            files = Path(made) / _FILES
            if not files.is_dir() or folder_digest(files) != model.digest:
                raise ArtifactError.changed(model.uri)
            put_in_place(files, folder)

    def _download_files(self, version: Any, target: Path) -> None:
        model = self._client.get_logged_model(_model_id(version))
        repository = get_artifact_repository(model.artifact_location, tracking_uri=self._url)
        repository.download_artifacts(_FILES, str(target))

    def _keep(self, files: Path, digest: str) -> None:
        """Put the files that were just registered into the cache: they need not come back."""
        folder = self._cache / digest
        if folder.is_dir():
            return
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".keep-", dir=self._cache) as made:
            _link(files, Path(made) / _FILES)
            put_in_place(Path(made) / _FILES, folder)

    def _model_versions(self, name: str) -> list[Any]:
        """Return a model's versions, newest first."""
        found = _pages(lambda **page: self._client.search_model_versions(_named(name), **page))
        return sorted(found, key=lambda version: -int(version.version))

    def _newest_model(self, name: str) -> Any | None:
        versions = self._model_versions(name)
        return versions[0] if versions else None

    def _prompt_versions(self, name: str) -> list[Any]:
        """Return a prompt's versions, newest first."""
        if self._found(lambda: self._client.get_prompt(name)) is None:
            return []
        numbers = [int(version.version) for version in self._model_versions_of_prompt(name)]
        found = [self._client.get_prompt_version(name, n) for n in sorted(numbers, reverse=True)]
        return [version for version in found if version is not None]

    def _model_versions_of_prompt(self, name: str) -> list[Any]:
        search = self._client._get_registry_client().search_model_versions
        return _pages(lambda **page: search(filter_string=_prompt_named(name), **page))

    def _aliases(self, name: str) -> dict[str, str]:
        """Return what a name's aliases mean; none where the name is not there."""
        registry = self._client._get_registry_client()
        found = self._found(lambda: registry.get_registered_model(name))
        return {} if found is None else {k: str(v) for k, v in found.aliases.items()}

    def _model_infos(self, name: str) -> Iterator[VersionInfo]:
        aliases = self._aliases(name)
        for version in self._model_versions(name):
            yield VersionInfo(
                name=name,
                version=str(version.version),
                aliases=_meaning(aliases, version),
                created_at=_moment(version.creation_timestamp),
                note=version.tags.get(_NOTE, ""),
                metrics=self._metrics(version),
                text=version.description or "",
                tags=dict(version.tags),
            )

    def _metrics(self, version: Any) -> dict[str, float]:
        model_id = _model_id(version)
        if not model_id:
            return {}
        model = self._client.get_logged_model(model_id)
        return {metric.key: metric.value for metric in model.metrics or []}

    def _prompt_infos(self, name: str) -> Iterator[VersionInfo]:
        aliases = self._aliases(name)
        for version in self._prompt_versions(name):
            yield VersionInfo(
                name=name,
                version=str(version.version),
                aliases=_meaning(aliases, version),
                created_at=_moment(version.creation_timestamp),
                note=version.commit_message or "",
                text=str(version.template),
                tags={_DIGEST: text_digest(str(version.template))},
            )

    # Errors

    @staticmethod
    def _found(ask: Any) -> Any | None:
        """Return what is asked for, None where MLflow says there is no such thing."""
        try:
            return ask()
        except MlflowException as error:
            if error.error_code in _MISSING:
                return None
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn MLflow's errors into ours."""
        try:
            yield
        except MlflowException as error:
            text = " ".join(str(error).split())
            if error.error_code == "INVALID_PARAMETER_VALUE":
                msg = f"MLflow refused: {text}"
                raise InputError(msg) from error
            raise ServiceUnavailableError.of("MLflow", self._url, _cause(text)) from error
        except OSError as error:
            raise ServiceUnavailableError.of("MLflow", self._url, _cause(str(error))) from error


def _cause(text: str) -> str:
    return "the connection was refused" if "refused" in text else text[:200]


def _model_ref(version: Any) -> ModelRef:
    digest = version.tags.get(_DIGEST)
    if not digest:
        msg = (
            f"model '{version.name}' version {version.version} has no tag {_DIGEST}: it was not "
            "registered by Plata, so its files cannot be verified. Register it with Plata"
        )
        raise ArtifactError(msg)
    return ModelRef(version.name, str(version.version), digest)


def _prompt_ref(version: Any) -> PromptRef:
    return PromptRef(version.name, str(version.version), text_digest(str(version.template)))


def _tests_of(version: Any) -> str:
    """Return the tests of a prompt's version. Raises `ArtifactError` on others than its own."""
    ref = _prompt_ref(version)
    tests, digest = version.tags.get(_TESTS, ""), version.tags.get(_TESTS_DIGEST)
    if (tests or digest) and digest != digest_of_tests(ref.digest, tests):
        raise ArtifactError.changed(f"{ref.uri}, its tests,")
    return str(tests)


def _check_length(name: str, tests: str) -> None:
    if len(tests) > _LONGEST_TESTS:
        msg = (
            f"the tests of '{name}' have {len(tests):,} characters, {_LONGEST_TESTS:,} is the most "
            "that is kept with a version; leave some out, or measure with `plata evaluate`"
        )
        raise InputError(msg)


def _model_id(version: Any) -> str:
    """Return the logged model behind a version, empty where there is none.

    The field of that name does not always come back; the source, written at registration, does.
    """
    return str(version.source).removeprefix("models:/") if version.source else ""


def _named(name: str) -> str:
    return f"name = '{name}'"


def _prompt_named(name: str) -> str:
    return f"name = '{name}' AND tags.`mlflow.prompt.is_prompt` = 'true'"


def _pages(search: Any) -> list[Any]:
    """Ask for page after page until there is none."""
    found: list[Any] = []
    token = None
    while True:
        page = search(max_results=_PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _meaning(aliases: Mapping[str, str], version: Any) -> tuple[str, ...]:
    return tuple(sorted(alias for alias, v in aliases.items() if v == str(version.version)))


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _tags(package: ModelPackage, digest: str) -> dict[str, str]:
    own = {_DIGEST: digest, _FAMILY: package.family, _NOTE: package.note}
    if package.labels:
        own["plata.labels"] = ", ".join(package.labels)
    if "digest" in package.data:
        own["plata.data.digest"] = package.data["digest"]
    return {**package.tags, **{name: value for name, value in own.items() if value}}


def _shortened(card: str) -> str:
    """Cut a card to what a description holds, at a line; the whole is an artifact."""
    if len(card) <= _LONGEST_DESCRIPTION:
        return card
    kept = card[:_LONGEST_DESCRIPTION].rsplit("\n", 1)[0]
    return f"{kept}\n\n… (the whole card is the artifact card.md)"


def _copy_figures(figures: Mapping[str, Path], folder: Path) -> None:
    for name, picture in figures.items():
        (folder / "figures").mkdir(exist_ok=True)
        shutil.copyfile(picture, folder / "figures" / name)


def _write_model_file(folder: Path, run_id: str, model_id: str, package: ModelPackage) -> None:
    """Write `MLmodel`, the file by which MLflow knows a model, with a flavour of our own."""
    model = Model(run_id=run_id, model_id=model_id, signature=_signature(package))
    model.add_flavor("plata", family=package.family, data=_FILES)
    if package.example:
        example = {"columns": list(package.example), "data": [list(package.example.values())]}
        text = json.dumps(example, ensure_ascii=False)
        (folder / "input_example.json").write_text(text, encoding="utf-8")
        model.saved_input_example_info = {
            "artifact_path": "input_example.json",
            "type": "dataframe",
            "pandas_orient": "split",
        }
    model.save(str(folder / "MLmodel"))


_MENTION = [
    ColSpec(DataType.string, "kind"),
    ColSpec(DataType.string, "text"),
    ColSpec(DataType.long, "text_start"),
    ColSpec(DataType.long, "text_end"),
    ColSpec(DataType.string, "value"),
    ColSpec(DataType.double, "score"),
]


def _signature(package: ModelPackage) -> ModelSignature:
    columns = {
        "text": ColSpec(DataType.string, "text"),
        "embedding": ColSpec(Array(DataType.float), "embedding"),
    }
    given = Schema([columns[name] for name in package.inputs])
    if package.family == "entities":
        return ModelSignature(given, Schema(_MENTION))
    if not package.labels:
        return ModelSignature(given, Schema([columns["embedding"]]))
    answers = Schema(
        [
            ColSpec(DataType.string, "predicted_label"),
            ColSpec(DataType.double, "score"),
            ColSpec(DataType.string, "probabilities"),
            ColSpec(DataType.string, "explanation"),
        ]
    )
    return ModelSignature(given, answers)


def _link(source: Path, target: Path) -> None:
    """Copy a folder by hard links where the file system allows it."""
    shutil.copytree(source, target, copy_function=_link_file)


def _link_file(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
