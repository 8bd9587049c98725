"""A registry in this process: for tests, and for trying out what needs no server."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from registry.errors import ArtifactError, UnknownAliasError, UnknownVersionError
from registry.experiments import EvaluationRun
from registry.refs import (
    CHAMPION,
    ModelPackage,
    ModelRef,
    PromptRef,
    VersionInfo,
    alias_remedy,
    check_template,
    folder_digest,
    text_digest,
)
from registry.safety import check_folder

Ref = TypeVar("Ref", ModelRef, PromptRef)


@dataclass(slots=True)
class _Shelf(Generic[Ref]):
    """The versions of one kind, oldest first by name, and what their aliases mean."""

    kind: str
    refs: dict[str, list[Ref]] = field(default_factory=dict)
    infos: dict[Ref, VersionInfo] = field(default_factory=dict)
    aliases: dict[str, dict[str, Ref]] = field(default_factory=dict)

    def newest(self, name: str) -> Ref | None:
        own = self.refs.get(name, [])
        return own[-1] if own else None

    def next_version(self, name: str) -> str:
        return str(len(self.refs.get(name, [])) + 1)

    def add(self, ref: Ref, info: VersionInfo) -> Ref:
        self.refs.setdefault(ref.name, []).append(ref)
        self.infos[ref] = info
        return ref

    def resolve(self, name: str, alias: str) -> Ref:
        own = self.aliases.get(name, {})
        if alias not in own:
            remedy = alias_remedy(self.kind, name, alias)
            raise UnknownAliasError.of(self.kind, name, alias, sorted(own), remedy=remedy)
        return own[alias]

    def promote(self, name: str, version: str, alias: str) -> Ref:
        ref = self.exact(name, version)
        self.aliases.setdefault(name, {})[alias] = ref
        return ref

    def exact(self, name: str, version: str) -> Ref:
        for ref in self.refs.get(name, []):
            if ref.version == version:
                return ref
        have = [ref.version for ref in self.refs.get(name, [])]
        raise UnknownVersionError.of(self.kind, name, version, have)

    def listed(self) -> list[VersionInfo]:
        return [
            replace(self.infos[ref], aliases=self._aliases_of(ref))
            for name in sorted(self.refs)
            for ref in reversed(self.refs[name])
        ]

    def _aliases_of(self, ref: Ref) -> tuple[str, ...]:
        own = self.aliases.get(ref.name, {})
        return tuple(sorted(alias for alias, meant in own.items() if meant == ref))


class MemoryRegistry:
    """Models are copied into a folder that goes when the registry does."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="plata-registry-")
        self._models: _Shelf[ModelRef] = _Shelf("model")
        self._prompts: _Shelf[PromptRef] = _Shelf("prompt")
        self._templates: dict[PromptRef, str] = {}
        self._tests: dict[PromptRef, str] = {}
        self.evaluations: list[EvaluationRun] = []

    def resolve_model(self, name: str, alias: str = CHAMPION) -> ModelRef:
        """Return the version an alias means now."""
        return self._models.resolve(name, alias)

    def resolve_prompt(self, name: str, alias: str = CHAMPION) -> PromptRef:
        """Return the version an alias means now."""
        return self._prompts.resolve(name, alias)

    def model_version(self, name: str, version: str) -> ModelRef:
        """Return exactly that version."""
        return self._models.exact(name, version)

    def prompt_version(self, name: str, version: str) -> PromptRef:
        """Return exactly that version."""
        return self._prompts.exact(name, version)

    def fetch(self, model: ModelRef) -> Path:
        """Return the folder of the copy, its digest verified."""
        folder = self._place(model)
        if not folder.parent.is_dir():
            raise UnknownVersionError.of("model", model.name, model.version, [])
        if not folder.is_dir() or folder_digest(folder) != model.digest:
            raise ArtifactError.changed(model.uri)
        check_folder(folder)
        return folder

    def template(self, prompt: PromptRef) -> str:
        """Return the text, its digest verified."""
        text = self._templates.get(prompt)
        if text is None:
            raise ArtifactError.changed(prompt.uri)
        return text

    def prompt_tests(self, prompt: PromptRef) -> str:
        """Return the tests kept with a version."""
        if prompt not in self._tests:
            raise ArtifactError.changed(prompt.uri)
        return self._tests[prompt]

    def register_model(self, package: ModelPackage) -> ModelRef:
        """Copy the files under a new version, unless the newest has the same."""
        check_folder(package.folder)
        digest = folder_digest(package.folder)
        newest = self._models.newest(package.name)
        if newest is not None and newest.digest == digest:
            return newest
        ref = ModelRef(package.name, self._models.next_version(package.name), digest)
        shutil.copytree(package.folder, self._place(ref))
        tags = {**package.tags, "plata.family": package.family, "plata.digest": digest}
        info = _info(ref, package.note, package.card)
        return self._models.add(ref, replace(info, metrics=dict(package.metrics), tags=tags))

    def register_prompt(
        self, name: str, template: str, *, note: str, tests: str | None = None
    ) -> PromptRef:
        """Keep the text and its tests under a new version, unless the newest has the same."""
        check_template(name, template)
        digest = text_digest(template)
        newest = self._prompts.newest(name)
        kept = "" if newest is None else self._tests[newest]
        wanted = kept if tests is None else tests
        if newest is not None and (newest.digest, kept) == (digest, wanted):
            return newest
        ref = PromptRef(name, self._prompts.next_version(name), digest)
        self._templates[ref] = template
        self._tests[ref] = wanted
        return self._prompts.add(ref, _info(ref, note, template))

    def promote_model(self, name: str, version: str, alias: str = CHAMPION) -> ModelRef:
        """Point the alias at a version."""
        return self._models.promote(name, version, alias)

    def promote_prompt(self, name: str, version: str, alias: str = CHAMPION) -> PromptRef:
        """Point the alias at a version."""
        return self._prompts.promote(name, version, alias)

    def models(self) -> Sequence[VersionInfo]:
        """Every version of every model, newest first within a name."""
        return self._models.listed()

    def prompts(self) -> Sequence[VersionInfo]:
        """Every version of every prompt, newest first within a name."""
        return self._prompts.listed()

    def log_evaluation(self, run: EvaluationRun) -> str:
        """Keep it in `evaluations`; its pictures are gone when the caller's folder is."""
        self.evaluations.append(run)
        return f"memory:/{run.experiment}/{len(self.evaluations)}"

    def _place(self, model: ModelRef) -> Path:
        return Path(self._folder.name) / model.name / model.version / model.digest


def _info(ref: ModelRef | PromptRef, note: str, text: str) -> VersionInfo:
    return VersionInfo(ref.name, ref.version, (), "1970-01-01T00:00:00+00:00", note, text=text)
