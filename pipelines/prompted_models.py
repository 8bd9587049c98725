"""Register the models that read a prompt: nothing is trained, and each pins its prompt's version.

A zero-shot model is the vectors of a prompt's descriptions; an LLM is an endpoint's model and how
it is asked. Either becomes a version of the task's model, and answers once it is promoted.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from features.embed import open_embedder
from lakehouse.errors import InputError
from models.artifacts import save_zero_shot
from models.llm import LlmModel, Prices
from models.llm_prompt import LlmPrompt, default_llm_prompt
from models.task import Task
from models.zero_shot import ZeroShotClassifier, ZeroShotPrompt
from pipelines.bundles import pinned_space
from pipelines.corpus_figures import NOT_MEASURED
from pipelines.prompt_files import LLM_SUFFIX
from registry.errors import UnknownAliasError
from registry.refs import ModelPackage, ModelRef, PromptRef, Registry

_NOT_TRAINED = "nothing was trained: the prompt is all there is"


@dataclass(frozen=True, slots=True)
class LlmChoice:
    """Which LLM is to answer a task, and what it costs."""

    endpoint: str
    model: str
    parameters: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    prices: Prices = field(default_factory=Prices)


def register_zero_shot_model(registry: Registry, task: Task) -> ModelRef:
    """Make a version of the task's model out of its zero-shot prompt in use; twice is one."""
    prompt = registry.resolve_prompt(task.zero_shot_prompt)
    template = registry.template(prompt)
    embedding = registry.resolve_model(task.embedding.model)
    model = ZeroShotClassifier.of(
        ZeroShotPrompt.parse(template), open_embedder(registry.fetch(embedding))
    )
    _require_labels(task, model.labels, prompt)
    space = pinned_space(task.embedding, registry)
    with tempfile.TemporaryDirectory(prefix="plata-zero-shot-") as made:
        folder = Path(made)
        save_zero_shot(model, folder, template=template, prompt=prompt, space=space)
        return registry.register_model(
            ModelPackage(
                name=task.model,
                folder=folder,
                family="zero-shot",
                card=_zero_shot_card(task, prompt, embedding),
                labels=task.labels,
                parameters={"family": "zero-shot", "prompt": prompt.uri, **space},
                data=_data(prompt),
                tags={
                    "plata.prompt": prompt.uri,
                    **{f"plata.embedding.{name}": value for name, value in space.items()},
                },
                inputs=("embedding",),
                example={"embedding": [0.0] * model.vectors.shape[1]},
                note=f"zero-shot, {prompt.uri}",
            )
        )


def register_llm(registry: Registry, task: Task, choice: LlmChoice) -> ModelRef:
    """Make a version of the task's model out of an endpoint's model; twice is one version.

    It pins the version in use of the task's prompt for LLMs; a task that has none gets its first.
    """
    prompt = _llm_prompt(registry, task)
    text = LlmPrompt.parse(registry.template(prompt))
    _require_labels(task, tuple(text.etiquetas), prompt)
    model = LlmModel.of(
        {
            "endpoint": choice.endpoint,
            "model": choice.model,
            "labels": task.labels,
            "prompt": {"name": prompt.name, "version": prompt.version, "digest": prompt.digest},
            "parameters": choice.parameters,
            "prices": choice.prices,
        }
    )
    with tempfile.TemporaryDirectory(prefix="plata-llm-") as made:
        folder = Path(made)
        model.save(folder)
        return registry.register_model(
            ModelPackage(
                name=task.model,
                folder=folder,
                family="llm",
                card=_llm_card(task, prompt, model),
                labels=task.labels,
                parameters={
                    "family": "llm",
                    "endpoint": model.endpoint,
                    "model": model.model,
                    "prompt": prompt.uri,
                    **{f"request.{k}": str(v) for k, v in model.parameters.items()},
                },
                data=_data(prompt),
                tags={"plata.prompt": prompt.uri, "plata.llm.model": model.model},
                example={"text": "Solicito información sobre un trámite."},
                note=f"{model.model} at '{model.endpoint}', {prompt.uri}",
            )
        )


def read_parameters(text: str) -> dict[str, bool | int | float | str]:
    """Read a JSON object of plain values. Raises `InputError`."""
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    plain = bool | int | float | str
    if not isinstance(values, dict) or not all(isinstance(v, plain) for v in values.values()):
        msg = f"'{text}' is no JSON object of plain values, such as '{{\"temperature\": 0}}'"
        raise InputError(msg)
    return values


def _llm_prompt(registry: Registry, task: Task) -> PromptRef:
    name = f"{task.model}{LLM_SUFFIX}"
    try:
        return registry.resolve_prompt(name)
    except UnknownAliasError:
        text = default_llm_prompt(task.name, task.titles).text()
        made = registry.register_prompt(name, text, note=f"how an LLM is asked for '{task.name}'")
        return registry.promote_prompt(made.name, made.version)


def _require_labels(task: Task, described: tuple[str, ...], prompt: PromptRef) -> None:
    if set(described) == set(task.labels):
        return
    msg = (
        f"{prompt.uri} describes {', '.join(described)}; task '{task.name}' has "
        f"{', '.join(task.labels)}. Register a version that describes those: "
        f"`plata prompts register {prompt.name} FILE`"
    )
    raise InputError(msg)


def _data(prompt: PromptRef) -> dict[str, str]:
    return {"name": prompt.uri, "digest": prompt.digest, "rows": "0", "note": _NOT_TRAINED}


def _zero_shot_card(task: Task, prompt: PromptRef, embedding: ModelRef) -> str:
    return (
        f"# {task.model}: zero-shot\n\n"
        f"Answers task `{task.name}` for texts in Spanish: {', '.join(task.titles.values())}. A "
        f"text is of the label whose descriptions, in `{prompt.uri}`, lie nearest to it in the "
        f"vectors of `{embedding.uri}`.\n\n"
        "## Data\n\nNothing was trained. The descriptions are in `plata/prompt.yaml`, their "
        "vectors beside it; another version of the prompt or of the embedding model is another "
        "version of this model.\n\n"
        f"## How it does\n\n{NOT_MEASURED}\n"
        "## Limits\n\n- The probabilities are as sharp as the prompt's temperature makes them, "
        "and calibrated on nothing of yours.\n- Measure it on your own labels before promoting "
        "it: it ran beside the champion all along, and its answers are in Silver.\n"
    )


def _llm_card(task: Task, prompt: PromptRef, model: LlmModel) -> str:
    prices = model.prices
    return (
        f"# {task.model}: {model.model}\n\n"
        f"Answers task `{task.name}` for texts in Spanish: {', '.join(task.titles.values())}. "
        f"`{model.model}` at the endpoint the settings call `{model.endpoint}` is asked through "
        f"`{prompt.uri}` for a probability of each label, and nothing else.\n\n"
        "## Data\n\nNothing was trained here. What the model itself learned from is for whoever "
        "serves it to say.\n\n"
        f"## Cost\n\n{prices.prompt} {prices.currency} a million tokens sent, {prices.completion} "
        "a million received. A text is paid for once; every run says what it spent.\n\n"
        f"## How it does\n\n{NOT_MEASURED}\n"
        "## Limits\n\n- **Citizens' words leave the house** when the endpoint is not yours.\n"
        "- The probabilities are the model's own estimate, and calibrated on nothing of yours.\n"
        "- The endpoint may change what stands behind a name; answers that were kept stay.\n"
        "- Where it does not answer, the task's baseline does, and a person looks.\n"
    )
