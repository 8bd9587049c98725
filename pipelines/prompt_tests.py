"""Run the tests of prompts: each text is asked as a run would ask it, through the prompt's family.

A zero-shot prompt is asked over the tenant's embedding model, an LLM's through its endpoint. What
is told of a failure is the test's number, never its text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lakehouse.errors import InputError
from models.folder import LLM, family_of
from models.gates import Gate
from models.prompt_cases import Case, CaseResult, judged_cases, read_cases, require_known
from models.task import Task
from pipelines.contest import Asking, pins_of
from pipelines.prompt_files import LLM_SUFFIX
from registry.bundles import Bundle, TaskPins
from registry.refs import ModelRef, PromptRef, Registry

PROMPT_TEST_KIND = "prompt-test"


@dataclass(frozen=True, slots=True)
class Trial:
    """A version to be tested: the task it answers, and a bundle whose champion reads it."""

    prompt: PromptRef
    task: Task
    bundle: Bundle


@dataclass(frozen=True, slots=True)
class TrialReport:
    """What every test of a prompt's version gave."""

    prompt: PromptRef
    task: str
    results: tuple[CaseResult, ...]

    @property
    def failed(self) -> tuple[int, ...]:
        """The numbers of the tests that failed."""
        return tuple(result.number for result in self.results if not result.passed)

    @property
    def said(self) -> str:
        """Say it in a line, without a text."""
        if not self.failed:
            return f"all {len(self.results)} pass"
        numbers = ", ".join(map(str, self.failed))
        return f"{len(self.failed)} of {len(self.results)} fail: {numbers}"

    def gate(self) -> Gate:
        """Return the line of a verdict."""
        name = f"{self.task}: tests of {self.prompt.name}/{self.prompt.version}"
        why = "what the prompt must answer, kept with its version"
        return Gate(name, not self.failed, self.said, "all pass", why)


def trial_of(prompt: PromptRef, tasks: Sequence[Task], bundle: Bundle, registry: Registry) -> Trial:
    """Put a prompt where its family reads it. Raises `InputError` where no task of these does."""
    for task in tasks:
        if prompt.name == task.zero_shot_prompt:
            return Trial(prompt, task, _read_by(bundle, task, bundle.embedding, prompt))
        if prompt.name == f"{task.model}{LLM_SUFFIX}":
            model = _llm_of(task, bundle, registry)
            return Trial(prompt, task, _read_by(bundle, task, model, prompt))
    names = [f"{task.zero_shot_prompt}, {task.model}{LLM_SUFFIX}" for task in tasks]
    msg = f"'{prompt.name}' answers no task, so it has no tests; those that do: {', '.join(names)}"
    raise InputError(msg)


def trials_due(
    bundle: Bundle, before: Bundle, tasks: Sequence[Task], registry: Registry
) -> list[Trial]:
    """Return the prompts with tests that `bundle` would have read otherwise than the one before."""
    known = {pins.task: pins for pins in before.tasks}
    due = []
    for task in tasks:
        pins = pins_of(bundle, task.name)
        was = known.get(task.name)
        if was is None or _beside(bundle, pins) != _beside(before, was):
            beside = _read_by(bundle, task, bundle.embedding, pins.zero_shot)
            due.append(Trial(pins.zero_shot, task, beside))
        champion = pins.champion_prompt
        if champion is not None and bundle.answers_id(task.name) != before.answers_id(task.name):
            due.append(Trial(champion, task, bundle))
    return [trial for trial in due if registry.prompt_tests(trial.prompt)]


def run_trial(trial: Trial, cases: Sequence[Case], asking: Asking) -> TrialReport:
    """Ask about every test's text. Raises `InputError` where one expects a label that is none."""
    require_known(cases, trial.task.labels)
    texts = tuple(case.texto for case in cases)
    found = asking.probabilities(trial.bundle, trial.task, texts)
    results = judged_cases(cases, trial.task.labels, found)
    return TrialReport(trial.prompt, trial.task.name, results)


def gates_of(trials: Sequence[Trial], asking: Asking) -> Iterator[Gate]:
    """Run the tests that are kept with each version, and yield a verdict's line for each."""
    for trial in trials:
        cases = read_cases(asking.registry.prompt_tests(trial.prompt))
        yield run_trial(trial, cases, asking).gate()


def _beside(bundle: Bundle, pins: TaskPins) -> tuple[object, ...]:
    return bundle.embedding, bundle.embedding_prompt, pins.zero_shot


def _read_by(bundle: Bundle, task: Task, model: ModelRef, prompt: PromptRef) -> Bundle:
    pins = replace(pins_of(bundle, task.name), champion=model, champion_prompt=prompt)
    return replace(
        bundle, tasks=tuple(pins if own.task == task.name else own for own in bundle.tasks)
    )


def _llm_of(task: Task, bundle: Bundle, registry: Registry) -> ModelRef:
    """Return the LLM that answers the task, else the newest that is registered for it."""
    champion = pins_of(bundle, task.name).champion
    if champion != bundle.embedding and family_of(registry.fetch(champion)) == LLM:
        return champion
    for info in registry.models():
        if info.name == task.model and info.tags.get("plata.family") == LLM:
            return registry.model_version(info.name, info.version)
    msg = (
        f"no LLM is registered for '{task.name}', so there is none to test its prompt with; "
        "register one with `plata models llm`"
    )
    raise InputError(msg)
