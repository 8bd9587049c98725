"""Names of exact versions, and the port to the registry that resolves them.

An alias such as `@champion` can mean two things at two times, so it is resolved once, when a run
is planned. What travels from there are refs, which mean one version for ever.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lakehouse.errors import InputError
from registry.errors import PromptError

CHAMPION = "champion"
BASELINE = "baseline"

_URI = re.compile(r"(models|prompts):/([\w.-]+)(?:/(\d+)|@([\w.-]+))")
_VARIABLE = re.compile(r"\{\{\s*\w+\s*\}\}")


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Exactly one version of a model. `digest` is the SHA-256 of its files.

    >>> ModelRef("norte.tipo", "7", "9f…").uri
    'models:/norte.tipo/7'
    """

    name: str
    version: str
    digest: str

    @property
    def uri(self) -> str:
        """MLflow's own way to write it."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class PromptRef:
    """Exactly one version of a prompt. `digest` is the SHA-256 of its text."""

    name: str
    version: str
    digest: str

    @property
    def uri(self) -> str:
        """MLflow's own way to write it."""
        return f"prompts:/{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """What is known of one version of a model or of a prompt.

    `text` is a model's card in Markdown, or a prompt's template. `tags` are a model's family,
    digest and the like.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    created_at: str
    note: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    text: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A model as it is handed to the registry.

    `folder` holds only open formats (safetensors, ONNX, JSON, YAML, Parquet). `card` is Markdown.
    `figures` are pictures by file name. `data` describes the training data: `name`, `digest` and
    what else is worth showing. `inputs` are the columns a row must have, `text` or `embedding`;
    `example` is one such row, and quotes no real text.
    """

    name: str
    folder: Path
    family: str
    card: str
    labels: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Path] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ("text",)
    example: Mapping[str, object] = field(default_factory=dict)
    note: str = ""


class Registry(Protocol):
    """Models and prompts: immutable versions, movable aliases."""

    def resolve_model(self, name: str, alias: str = CHAMPION) -> ModelRef:
        """Return the version an alias means now. Raises `UnknownAliasError`."""
        ...

    def resolve_prompt(self, name: str, alias: str = CHAMPION) -> PromptRef:
        """Return the version an alias means now. Raises `UnknownAliasError`."""
        ...

    def model_version(self, name: str, version: str) -> ModelRef:
        """Return exactly that version. Raises `UnknownVersionError`."""
        ...

    def prompt_version(self, name: str, version: str) -> PromptRef:
        """Return exactly that version. Raises `UnknownVersionError`."""
        ...

    def fetch(self, model: ModelRef) -> Path:
        """Return a local folder with the model's files, whose digest was verified.

        Raises `ArtifactError` where the files are not those that were registered, or not safe.
        """
        ...

    def template(self, prompt: PromptRef) -> str:
        """Return the prompt's text, whose digest was verified."""
        ...

    def register_model(self, package: ModelPackage) -> ModelRef:
        """Make a new version; files equal to the newest version's return that one.

        Raises `ArtifactError` where a file is not of a kind that is only data.
        """
        ...

    def register_prompt(
        self, name: str, template: str, *, note: str, tests: str | None = None
    ) -> PromptRef:
        """Make a new version; text and tests equal to the newest version's return that one.

        `tests` stay with the version for ever; None takes along those of the newest version.
        """
        ...

    def prompt_tests(self, prompt: PromptRef) -> str:
        """Return the tests kept with a version, whose digest was verified; empty without any.

        Raises `ArtifactError` where they are not those that were registered.
        """
        ...

    def promote_model(self, name: str, version: str, alias: str = CHAMPION) -> ModelRef:
        """Point the alias at a version. Raises `UnknownVersionError`."""
        ...

    def promote_prompt(self, name: str, version: str, alias: str = CHAMPION) -> PromptRef:
        """Point the alias at a version. Raises `UnknownVersionError`."""
        ...

    def models(self) -> Sequence[VersionInfo]:
        """Every version of every model, newest first within a name."""
        ...

    def prompts(self) -> Sequence[VersionInfo]:
        """Every version of every prompt, newest first within a name."""
        ...


def resolve_uri(uri: str, registry: Registry) -> ModelRef | PromptRef:
    """Return the version an MLflow address means now: `models:/NAME/7` or `prompts:/NAME@champion`.

    Raises `InputError` where it is no such address, and what the registry raises where it is.
    """
    found = _URI.fullmatch(uri.strip())
    if found is None:
        msg = (
            f"'{uri}' is not the address of a version; "
            "write models:/NAME/7, models:/NAME@champion, prompts:/NAME/3 or prompts:/NAME@champion"
        )
        raise InputError(msg)
    kind, name, version, alias = found.groups()
    if kind == "models":
        exact = registry.model_version(name, version) if version else None
        return exact or registry.resolve_model(name, alias)
    text = registry.prompt_version(name, version) if version else None
    return text or registry.resolve_prompt(name, alias)


def check_template(name: str, template: str) -> None:
    """Raise `PromptError` unless the text has a variable, written `{{name}}`."""
    if not _VARIABLE.search(template):
        msg = (
            f"prompt '{name}' has no variable; write where the text goes as {{{{text}}}}, "
            "as in 'query: {{text}}'"
        )
        raise PromptError(msg)


def alias_remedy(kind: str, name: str, alias: str) -> str:
    """Say which command makes the version that an alias was expected to mean."""
    if kind == "prompt" and name.endswith("-query"):
        return "It comes with its embedding model: see `plata models embedding --help`."
    if kind == "prompt":
        return (
            f"Register one with `plata prompts register {name} FILE`, then "
            f"`plata prompts promote {name} VERSION --alias {alias}`."
        )
    tenant, _, task = name.partition(".")
    train = f"Train one with `plata models train --tenant {tenant} --task {task} --labels FILE`"
    if not task:
        return "Register it with `plata models embedding` (--folder and --name for your own)."
    return f"{train}, then `plata models promote {name} VERSION --alias {alias}`."


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_tests(prompt_digest: str, tests: str) -> str:
    """Return the SHA-256 of a prompt's tests, which are of that prompt's text and no other."""
    return text_digest(f"{prompt_digest}\n{tests}")


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 over the relative names and contents of a folder's files, sorted."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def bundle_id(pins: Mapping[str, str]) -> str:
    """Name the set of exact versions that produced a row, by its content.

    >>> bundle_id({"tipo": "models:/norte.tipo/7"})
    'bundle-528af0c91323'
    """
    text = json.dumps(dict(pins), sort_keys=True, ensure_ascii=False)
    return f"bundle-{text_digest(text)[:12]}"
