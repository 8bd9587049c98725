"""What every registry does, over the one in memory and over MLflow."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest

from registry.errors import ArtifactError, PromptError, UnknownAliasError, UnknownVersionError
from registry.memory import MemoryRegistry
from registry.refs import ModelPackage, ModelRef, PromptRef, Registry, text_digest


@pytest.fixture(
    params=["memory", pytest.param("mlflow", marks=pytest.mark.service)], scope="module"
)
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    if request.param == "memory":
        return MemoryRegistry()

    from registry.mlflow_registry import MlflowRegistry

    services = request.getfixturevalue("plata_services")
    return MlflowRegistry(services.mlflow_url, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def name() -> str:
    return f"norte-{uuid4().hex[:8]}.tipo"


def package(folder: Path, name: str, content: str = "uno") -> ModelPackage:
    folder.mkdir(exist_ok=True)
    (folder / "parte").mkdir(exist_ok=True)
    (folder / "plata.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "parte" / "pesos.json").write_text("[1, 2]", encoding="utf-8")
    picture = folder.parent / "confusion.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    return ModelPackage(
        name=name,
        folder=folder,
        family="linear",
        card="# Tarjeta\n\nPeticiones, con tildes: más.",
        labels=("peticion", "queja"),
        metrics={"macro_f1": 0.5, "f1.queja": 0.25},
        parameters={"features": "both"},
        figures={"confusion.png": picture},
        data={"name": "etiquetas.csv", "digest": "0f" * 32, "rows": "12"},
        inputs=("text", "embedding"),
        example={"text": "Texto de ejemplo", "embedding": [0.0, 1.0]},
        note="both features",
    )


def test_a_model_comes_back_as_it_was_registered(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    ref = registry.register_model(package(tmp_path / "modelo", name))
    folder = registry.fetch(ref)
    assert (ref.name, ref.version) == (name, "1")
    assert (folder / "plata.json").read_text(encoding="utf-8") == '"uno"'
    assert (folder / "parte" / "pesos.json").read_text(encoding="utf-8") == "[1, 2]"


def test_the_same_files_twice_are_one_version(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    once = registry.register_model(package(tmp_path / "a", name))
    twice = registry.register_model(package(tmp_path / "b", name))
    other = registry.register_model(package(tmp_path / "c", name, "dos"))
    assert (twice, other.version) == (once, "2")


def test_an_alias_means_the_version_it_was_pointed_at_last(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    first = registry.register_model(package(tmp_path / "a", name))
    second = registry.register_model(package(tmp_path / "b", name, "dos"))
    assert registry.promote_model(name, first.version) == first
    assert registry.resolve_model(name) == first
    registry.promote_model(name, second.version)
    assert registry.resolve_model(name) == second
    registry.promote_model(name, first.version, "baseline")
    assert registry.resolve_model(name, "baseline") == first


def test_the_list_says_what_is_known_of_a_version(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    ref = registry.register_model(package(tmp_path / "a", name))
    newer = registry.register_model(package(tmp_path / "b", name, "dos"))
    registry.promote_model(name, ref.version)
    infos = [info for info in registry.models() if info.name == name]
    assert [info.version for info in infos] == [newer.version, ref.version]
    assert [info.aliases for info in infos] == [(), ("champion",)]
    assert infos[1].metrics == {"macro_f1": 0.5, "f1.queja": 0.25}
    assert infos[1].note == "both features"
    assert infos[1].text == "# Tarjeta\n\nPeticiones, con tildes: más."
    assert infos[1].tags["plata.digest"] == ref.digest


def test_an_alias_that_is_missing_is_an_error_with_a_command(registry: Registry, name: str) -> None:
    with pytest.raises(
        UnknownAliasError, match=r"plata models train --tenant norte-\w+ --task tipo"
    ):
        registry.resolve_model(name)
    with pytest.raises(UnknownAliasError, match="plata prompts register"):
        registry.resolve_prompt(name)


def test_an_alias_that_is_missing_is_named_beside_those_there_are(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    ref = registry.register_model(package(tmp_path / "a", name))
    registry.promote_model(name, ref.version, "baseline")
    with pytest.raises(UnknownAliasError, match=r"'@champion' \(it has the aliases: baseline\)"):
        registry.resolve_model(name)


def test_a_version_that_is_missing_cannot_be_promoted(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    registry.register_model(package(tmp_path / "a", name))
    with pytest.raises(UnknownVersionError, match=r"has no version 9 \(it has: 1\)"):
        registry.promote_model(name, "9")
    registry.register_prompt(f"{name}.p", "hola {{text}}", note="")
    with pytest.raises(UnknownVersionError, match=r"has no version 9 \(it has: 1\)"):
        registry.promote_prompt(f"{name}.p", "9")


def test_a_ref_whose_digest_is_another_is_refused(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    ref = registry.register_model(package(tmp_path / "a", name))
    with pytest.raises(ArtifactError, match="digest differs"):
        registry.fetch(ModelRef(ref.name, ref.version, "0" * 64))
    prompt = registry.register_prompt(f"{name}.p", "hola {{text}}", note="")
    with pytest.raises(ArtifactError, match="digest differs"):
        registry.template(PromptRef(prompt.name, prompt.version, "0" * 64))


def test_a_prompt_comes_back_letter_by_letter(registry: Registry, name: str) -> None:
    text = "consulta: 'query: {{text}}'\netiquetas:\n  petición: [«más»]\n"
    ref = registry.register_prompt(name, text, note="la primera")
    assert ref == PromptRef(name, "1", text_digest(text))
    assert registry.template(ref) == text
    assert registry.register_prompt(name, text, note="otra vez") == ref
    newer = registry.register_prompt(name, text + "\n", note="con una línea más")
    registry.promote_prompt(name, ref.version)
    assert registry.resolve_prompt(name) == ref
    infos = [info for info in registry.prompts() if info.name == name]
    assert [(i.version, i.aliases, i.note) for i in infos] == [
        (newer.version, (), "con una línea más"),
        (ref.version, ("champion",), "la primera"),
    ]
    assert infos[1].text == text


def test_a_prompt_without_variables_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(PromptError, match="has no variable"):
        registry.register_prompt(name, "query: text", note="")


def test_the_tests_of_a_prompt_stay_with_its_version_and_go_along_to_the_next(
    registry: Registry, name: str
) -> None:
    bare = registry.register_prompt(name, "uno {{text}}", note="")
    assert registry.prompt_tests(bare) == ""
    tests = '[{"etiqueta":"petición","texto":"¿más?"}]'
    first = registry.register_prompt(name, "uno {{text}}", note="", tests=tests)
    assert (first.version, first.digest) == ("2", bare.digest)
    assert registry.register_prompt(name, "uno {{text}}", note="", tests=tests) == first
    assert registry.register_prompt(name, "uno {{text}}", note="") == first
    second = registry.register_prompt(name, "dos {{text}}", note="")
    third = registry.register_prompt(name, "dos {{text}}", note="", tests="[]")
    kept = [registry.prompt_tests(ref) for ref in (bare, first, second, third)]
    assert kept == ["", tests, tests, "[]"]
