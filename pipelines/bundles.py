"""Make bundles: of what the aliases mean now, or like another one with some parts changed.

What a bundle holds is checked to fit together before anybody keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from features.embed import EmbeddingChoice
from lakehouse.errors import ConfigurationError, InputError
from lakehouse.run import DEFAULT_SEED
from models.folder import EMBEDDING as EMBEDDING_FAMILY
from models.folder import ENTITIES, LLM, family_of, pinned_prompt, read_config
from models.routing import RoutingPolicy
from models.task import Task
from models.zero_shot import ZeroShotPrompt
from pipelines.errors import BundleMismatchError, SpaceMismatchError
from registry.bundles import Bundle, EntityPins, TaskPins
from registry.refs import BASELINE, ModelRef, PromptRef, Registry, resolve_uri

CHAMPION_PROMPT = "prompt"
ZERO_SHOT = "zero_shot"
EMBEDDING = "embedding"

_READ_THROUGH = (f".{CHAMPION_PROMPT}", f".{ZERO_SHOT}")


@dataclass(frozen=True, slots=True)
class Changes:
    """Parts to change, by name: `tipo`, `tipo.baseline` and `embedding` are models, `tipo.prompt`,
    `tipo.zero_shot` and `embedding.prompt` are prompts; `accept_at` by task.
    """

    models: Mapping[str, ModelRef] = field(default_factory=dict)
    prompts: Mapping[str, PromptRef] = field(default_factory=dict)
    accept_at: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, versions: Sequence[str], routing: Sequence[str], registry: Registry) -> Changes:
        """Read `tipo=models:/NAME/7` and `tipo=0.8`. Raises `InputError`."""
        models, prompts = {}, {}
        for name, uri in map(_pair, versions):
            ref = resolve_uri(uri, registry)
            if name.endswith(_READ_THROUGH) != isinstance(ref, PromptRef):
                kind = "a prompt" if name.endswith(_READ_THROUGH) else "a model"
                msg = f"'{name}' takes {kind}, found {ref.uri}"
                raise InputError(msg)
            if isinstance(ref, PromptRef):
                prompts[name] = ref
            else:
                models[name] = ref
        return cls(models, prompts, {name: _number(value) for name, value in map(_pair, routing)})


def bundle_of_aliases(
    tasks: Sequence[Task], registry: Registry, *, like: Bundle | None = None
) -> Bundle:
    """Resolve every alias once; routing and a champion's other parts stay as in `like`.

    Raises `UnknownAliasError` with the command that mends it.
    """
    choice = _the_embedding(tasks)
    known = _by_task(like)
    embedding = registry.resolve_model(choice.model)
    return Bundle(
        embedding=embedding,
        embedding_prompt=registry.resolve_prompt(choice.prompt),
        tasks=tuple(_of_aliases(task, registry, embedding, known.get(task.name)) for task in tasks),
        seed=DEFAULT_SEED if like is None else like.seed,
        entities=tuple(
            replace(pins, model=registry.resolve_model(pins.model.name))
            for pins in (() if like is None else like.entities)
        ),
    )


def bundle_like(bundle: Bundle, tasks: Sequence[Task], registry: Registry) -> Bundle:
    """Return a bundle for the tasks as they are now: known tasks keep their versions and routing.

    A task that is new is answered by what its aliases mean, and so is what only runs beside where
    the labels are new; a champion that was no more than the baseline follows it.
    """
    known = _by_task(bundle)
    pins = (
        _kept(known[task.name], task, registry)
        if task.name in known
        else _of_aliases(task, registry, bundle.embedding, None)
        for task in tasks
    )
    return replace(bundle, tasks=tuple(pins))


def _kept(pins: TaskPins, task: Task, registry: Registry) -> TaskPins:
    now = replace(pins, labels=task.labels, text_field=task.text_field)
    if set(pins.labels) == set(task.labels):
        return now
    baseline = registry.resolve_model(task.model, BASELINE)
    return replace(
        now,
        champion=baseline if pins.champion == pins.baseline else pins.champion,
        baseline=baseline,
        zero_shot=registry.resolve_prompt(task.zero_shot_prompt),
    )


def configured(
    bundle: Bundle, before: Sequence[Task], tasks: Sequence[Task], registry: Registry
) -> Bundle:
    """Return the bundle as a new configuration wants it: what it asks otherwise than the one before
    is changed, and all else stays.
    """
    known = {task.name: task for task in before}
    new = {task.name: task for task in tasks if _routed(task) != _routed(known.get(task.name))}
    made = bundle_like(bundle, tasks, registry)
    pins = (
        replace(
            own, accept_at=new[own.task].routing.accept_at, audit_share=new[own.task].audit_share
        )
        if own.task in new
        else own
        for own in made.tasks
    )
    made = replace(made, tasks=tuple(pins))
    choice = _the_embedding(tasks)
    if before and choice == _the_embedding(before):
        return made
    return replace(
        made,
        embedding=registry.resolve_model(choice.model),
        embedding_prompt=registry.resolve_prompt(choice.prompt),
    )


def _routed(task: Task | None) -> tuple[float, float] | None:
    return None if task is None else (task.routing.accept_at, task.audit_share)


def changes_of(ref: ModelRef | PromptRef, bundle: Bundle, tasks: Sequence[Task]) -> Changes:
    """Return what putting one version in its place changes: the parts of that name.

    Raises `InputError` where no part of the bundle has the name.
    """
    names = _part_names(bundle, tasks, ModelRef if isinstance(ref, ModelRef) else PromptRef)
    parts = [part for part, name in names.items() if name == ref.name]
    if not parts:
        have = ", ".join(sorted(set(names.values())))
        msg = f"no part of the bundle is called '{ref.name}'; it has: {have}"
        raise InputError(msg)
    if isinstance(ref, ModelRef):
        return Changes(models=dict.fromkeys(parts, ref))
    return Changes(prompts=dict.fromkeys(parts, ref))


def version_of(name: str, version: str, bundle: Bundle, tasks: Sequence[Task]) -> str:
    """Write a name and a version (`3`, `@retador`) as the address that `resolve_uri` reads."""
    prompts = _part_names(bundle, tasks, PromptRef).values()
    kind = "prompts" if name in prompts else "models"
    return f"{kind}:/{name}{version}" if version.startswith("@") else f"{kind}:/{name}/{version}"


def _part_names(
    bundle: Bundle, tasks: Sequence[Task], kind: type[ModelRef] | type[PromptRef]
) -> dict[str, str]:
    """Return the registry's name of every model, or of every prompt, by part."""
    if kind is ModelRef:
        finders = {pins.task: pins.model.name for pins in bundle.entities}
        own = {task.name: task.model for task in tasks}
        return {**own, **finders, EMBEDDING: bundle.embedding.name}
    names = {f"{EMBEDDING}.prompt": bundle.embedding_prompt.name}
    for pins in bundle.tasks:
        names[f"{pins.task}.{ZERO_SHOT}"] = pins.zero_shot.name
        if pins.champion_prompt is not None:
            names[f"{pins.task}.{CHAMPION_PROMPT}"] = pins.champion_prompt.name
    return names


def with_changes(bundle: Bundle, changes: Changes, registry: Registry) -> Bundle:
    """Return the bundle with some parts changed. Raises `InputError` where there is no such part.

    A new champion comes with the prompt it was registered with, unless another is named.
    """
    _require_parts(bundle, changes)
    return replace(
        bundle,
        embedding=changes.models.get(EMBEDDING, bundle.embedding),
        embedding_prompt=changes.prompts.get(f"{EMBEDDING}.prompt", bundle.embedding_prompt),
        tasks=tuple(_changed(pins, changes, registry) for pins in bundle.tasks),
        entities=tuple(
            replace(pins, model=changes.models.get(pins.task, pins.model))
            for pins in bundle.entities
        ),
    )


def check_fit(bundle: Bundle, tasks: Sequence[Task], registry: Registry) -> None:
    """See that the parts fit together and answer the tenant's tasks.

    Raises `SpaceMismatchError` where a model learned from vectors of another embedding space than
    the bundle's: its answers would be noise, with scores that do not tell. Raises
    `BundleMismatchError` where labels, names or a prompt do not fit.
    """
    check_tasks(bundle, tasks)
    names = {task.name: task.model for task in tasks}
    for pins in bundle.tasks:
        RoutingPolicy(pins.accept_at)
        for model in dict.fromkeys((pins.champion, pins.baseline)):
            _check_model(model, pins, names[pins.task], bundle, registry)
        _check_described(pins.zero_shot, pins, registry)
    for finder in bundle.entities:
        _check_finder(finder, registry)


def check_tasks(bundle: Bundle, tasks: Sequence[Task]) -> None:
    """Raise `BundleMismatchError` unless the bundle answers these tasks with their labels."""
    answered = {pins.task: set(pins.labels) for pins in bundle.tasks}
    asked = {task.name: set(task.labels) for task in tasks}
    if answered == asked:
        return
    found = [
        f"'{name}' is {_answers(answered.get(name))} in the bundle and "
        f"{_answers(asked.get(name))} in the tenant's configuration"
        for name in dict.fromkeys((*asked, *answered))
        if answered.get(name) != asked.get(name)
    ]
    msg = (
        f"{bundle.bundle_id} does not answer the tasks as they are now: {'; '.join(found)}; "
        "make one that does with `plata bundles create --tenant TENANT --promote`"
    )
    raise BundleMismatchError(msg)


def _answers(labels: set[str] | None) -> str:
    return "absent" if labels is None else f"answered with {', '.join(sorted(labels))}"


def _of_aliases(
    task: Task, registry: Registry, embedding: ModelRef, like: TaskPins | None
) -> TaskPins:
    champion, prompt = _champion(task, registry, embedding, like)
    return TaskPins(
        task=task.name,
        labels=task.labels,
        text_field=task.text_field,
        champion=champion,
        champion_prompt=prompt,
        baseline=registry.resolve_model(task.model, BASELINE),
        zero_shot=registry.resolve_prompt(task.zero_shot_prompt),
        accept_at=task.routing.accept_at if like is None else like.accept_at,
        audit_share=task.audit_share if like is None else like.audit_share,
    )


def _champion(
    task: Task, registry: Registry, embedding: ModelRef, like: TaskPins | None
) -> tuple[ModelRef, PromptRef | None]:
    """An embedding that answers through a prompt has no alias of the task's: it stays, and the
    prompt is what its alias means.
    """
    if like is not None and like.champion_prompt is not None and like.champion.name != task.model:
        return embedding, registry.resolve_prompt(like.champion_prompt.name)
    champion = registry.resolve_model(task.model)
    if like is not None and like.champion == champion:
        return champion, like.champion_prompt
    return champion, pinned_prompt(registry.fetch(champion))


def _changed(pins: TaskPins, changes: Changes, registry: Registry) -> TaskPins:
    name = pins.task
    champion = changes.models.get(name, pins.champion)
    prompt = changes.prompts.get(f"{name}.{CHAMPION_PROMPT}")
    if prompt is None:
        kept = champion == pins.champion
        prompt = pins.champion_prompt if kept else pinned_prompt(registry.fetch(champion))
    return replace(
        pins,
        champion=champion,
        champion_prompt=prompt,
        baseline=changes.models.get(f"{name}.{BASELINE}", pins.baseline),
        zero_shot=changes.prompts.get(f"{name}.{ZERO_SHOT}", pins.zero_shot),
        accept_at=RoutingPolicy(changes.accept_at.get(name, pins.accept_at)).accept_at,
    )


def _require_parts(bundle: Bundle, changes: Changes) -> None:
    tasks = [pins.task for pins in bundle.tasks]
    parts = [EMBEDDING, f"{EMBEDDING}.prompt"]
    for task in tasks:
        own = (CHAMPION_PROMPT, BASELINE, ZERO_SHOT)
        parts += [task, *(f"{task}.{part}" for part in own)]
    parts += [pins.task for pins in bundle.entities]
    unknown = [name for name in (*changes.models, *changes.prompts) if name not in parts]
    if unknown:
        msg = f"a bundle has no part '{unknown[0]}'; this one has: {', '.join(parts)}"
        raise InputError(msg)
    unrouted = [name for name in changes.accept_at if name not in tasks]
    if unrouted:
        msg = f"no task '{unrouted[0]}' to route; the tenant has: {', '.join(tasks)}"
        raise InputError(msg)


def _pair(word: str) -> tuple[str, str]:
    name, found, value = word.partition("=")
    if not (name and found and value):
        msg = f"'{word}' is not NAME=VALUE, such as tipo=models:/alcaldia-norte.tipo/7"
        raise InputError(msg)
    return name, value


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        msg = f"'{value}' is not a number from 0 to 1"
        raise InputError(msg) from error


def _check_finder(pins: EntityPins, registry: Registry) -> None:
    family = family_of(registry.fetch(pins.model))
    if family == ENTITIES:
        return
    msg = (
        f"task '{pins.task}' finds entities, and {pins.model.uri} is of the family '{family}'; "
        f"it takes a model of the family '{ENTITIES}'"
    )
    raise BundleMismatchError(msg)


def _check_model(
    model: ModelRef, pins: TaskPins, name: str, bundle: Bundle, registry: Registry
) -> None:
    if model == bundle.embedding:
        _check_read_through(pins, registry)
        return
    if model.name != name:
        msg = (
            f"task '{pins.task}' is answered by versions of '{name}', found {model.uri}; "
            f"register the model as a version of '{name}'"
        )
        raise BundleMismatchError(msg)
    folder = registry.fetch(model)
    config = {} if family_of(folder) == EMBEDDING_FAMILY else read_config(folder)
    _check_space(model, pins, config.get("embedding"), bundle)
    _check_prompt(model, pins, folder)
    labels = config.get("labels")
    if labels is not None and set(labels) != set(pins.labels):
        msg = (
            f"{model.uri} answers {', '.join(sorted(labels))}; task '{pins.task}' wants "
            f"{', '.join(sorted(pins.labels))}. Train or register a version for the task as it is "
            f"now (`plata models train --task {pins.task} …`)"
        )
        raise BundleMismatchError(msg)


def _check_prompt(model: ModelRef, pins: TaskPins, folder: Path) -> None:
    """An LLM is asked through any prompt, other families through the one they pin, or none."""
    if model == pins.baseline and family_of(folder) == LLM:
        msg = (
            f"{model.uri}, the baseline of '{pins.task}', is an LLM; a baseline answers where an "
            f"endpoint does not. Name rules or a trained version with --with {pins.task}.{BASELINE}"
        )
        raise BundleMismatchError(msg)
    pinned = pinned_prompt(folder)
    if model != pins.champion or family_of(folder) == LLM or pins.champion_prompt == pinned:
        return
    reads = "no prompt" if pinned is None else f"only {pinned.uri}"
    msg = f"{model.uri} reads {reads}; leave out {pins.task}.{CHAMPION_PROMPT}"
    raise BundleMismatchError(msg)


def _check_read_through(pins: TaskPins, registry: Registry) -> None:
    """An embedding model answers where a prompt describes the labels to it."""
    if pins.champion_prompt is None:
        msg = (
            f"{pins.champion.uri} is an embedding model, which answers '{pins.task}' only through "
            f"a zero-shot prompt; name one with --with {pins.task}.{CHAMPION_PROMPT}=prompts:/…"
        )
        raise BundleMismatchError(msg)
    _check_described(pins.champion_prompt, pins, registry)


def _check_described(prompt: PromptRef, pins: TaskPins, registry: Registry) -> None:
    described = set(ZeroShotPrompt.parse(registry.template(prompt)).etiquetas)
    if described != set(pins.labels):
        msg = (
            f"{prompt.uri} describes {', '.join(sorted(described))}; task '{pins.task}' wants "
            f"{', '.join(sorted(pins.labels))}. Write a version that describes them and register "
            f"it with `plata prompts register {prompt.name} FILE`"
        )
        raise BundleMismatchError(msg)


def _check_space(
    model: ModelRef, pins: TaskPins, learned: Mapping[str, str] | None, bundle: Bundle
) -> None:
    given = (bundle.embedding.digest, bundle.embedding_prompt.digest)
    if learned is None or (learned["model_digest"], learned["prompt_digest"]) == given:
        return
    msg = (
        f"{model.uri} was trained on vectors of {learned['model']} read through "
        f"{learned['prompt']}, and would be given those of {bundle.embedding.uri} read through "
        f"{bundle.embedding_prompt.uri}; train it again (`plata models train --task {pins.task} …`)"
        ", or choose a version that fits (`plata models list`, "
        f"`plata bundles create --with {pins.task}=models:/{model.name}/VERSION …`)"
    )
    raise SpaceMismatchError(msg)


def pinned_space(chosen: EmbeddingChoice, registry: Registry) -> dict[str, str]:
    """Return what makes a task's vectors now, as a model that reads them pins it."""
    model, prompt = registry.resolve_model(chosen.model), registry.resolve_prompt(chosen.prompt)
    return {
        "model": model.uri,
        "model_digest": model.digest,
        "prompt": prompt.uri,
        "prompt_digest": prompt.digest,
    }


def _the_embedding(tasks: Sequence[Task]) -> EmbeddingChoice:
    chosen = sorted({task.embedding for task in tasks}, key=str)
    if len(chosen) > 1:
        msg = f"the tasks of a run share one embedding, these have {len(chosen)}: {chosen}"
        raise ConfigurationError(msg)
    return chosen[0] if chosen else EmbeddingChoice()


def _by_task(bundle: Bundle | None) -> Mapping[str, TaskPins]:
    return {} if bundle is None else {pins.task: pins for pins in bundle.tasks}
