"""A model's card: what it is, what it learned from, how it did, and what it is not good for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.evaluation import Evaluation
from models.task import Task

_READS = {
    "tfidf": "words (1–2) and characters (3–5) weighted by TF-IDF",
    "embedding": "sentence embeddings",
    "both": "words (1–2) and characters (3–5) weighted by TF-IDF, and sentence embeddings",
}


_DROPPED = {
    "repeated": "repeated texts",
    "blank": "without text or label",
    "seen_in_training": "held-out texts that are among those to learn from",
    "in_the_ledger": "of the file that people labelled in review",
    "unknown_label": "with a label the task no longer has",
}
"""What is said of texts that were not used, by reason."""


@dataclass(frozen=True, slots=True)
class Account:
    """All there is to say of one training.

    `split` says how the held-out texts were told apart. `choice` is what each kind of model reached
    where one was chosen before any held-out text was looked at, and empty where they chose it.
    """

    task: Task
    winner: str
    candidates: Mapping[str, Evaluation]
    beside: Mapping[str, Evaluation]
    trained_on: int
    held_out: int
    dropped: Mapping[str, int]
    name: str
    sha256: str
    split: str
    note: str
    space: Mapping[str, str]
    seed: int
    code_version: str
    origin: Mapping[str, str] = field(default_factory=dict)
    choice: Mapping[str, float] = field(default_factory=dict)

    @property
    def evaluation(self) -> Evaluation:
        """How the winner did."""
        return self.candidates[self.winner]

    def headline(self) -> str:
        """Say the outcome in a line."""
        found = self.evaluation
        return f"{self.winner}: macro-F1 {found.macro_f1:.3f}, accuracy {found.accuracy:.3f}"

    def metrics(self) -> dict[str, float]:
        """Return the winner's numbers, and beside them the main ones of all that were compared."""
        numbers = self.evaluation.metrics()
        for name, found in {**self.candidates, **self.beside}.items():
            numbers[f"compared/{name}/macro_f1"] = found.macro_f1
            numbers[f"compared/{name}/accuracy"] = found.accuracy
            numbers[f"compared/{name}/ece"] = found.ece
        return numbers

    def parameters(self) -> dict[str, str]:
        """Return how it was trained."""
        return {
            "family": "linear",
            "features": self.winner,
            "labels": ", ".join(self.task.labels),
            "trained_on": str(self.trained_on),
            "held_out": str(self.held_out),
            "seed": str(self.seed),
            "code_version": self.code_version,
            "embedding_model": self.space["model"],
            "embedding_prompt": self.space["prompt"],
        }

    def data(self) -> dict[str, str]:
        """Return what it was trained on."""
        return {
            "name": self.name,
            "digest": self.sha256,
            "rows": str(self.trained_on + self.held_out),
            **{reason: str(count) for reason, count in self.dropped.items()},
            "note": self.note or "none",
            **self.origin,
        }

    def tags(self) -> dict[str, str]:
        """Return what the registry is to know without opening the files."""
        if self.winner == "tfidf":
            return {}
        return {f"plata.embedding.{name}": value for name, value in self.space.items()}


def model_card(account: Account) -> str:
    """Write the card in Markdown."""
    parts = [
        f"# {account.task.model}",
        f"Answers task `{account.task.name}` for texts in Spanish: "
        f"{', '.join(account.task.titles.values())}. A logistic regression over "
        f"{_READS[account.winner]}; probabilities calibrated by one temperature, cross-fitted on "
        "the training part.",
        _data(account),
        _comparison(account),
        _per_label(account),
        _limits(account),
    ]
    return "\n\n".join(parts) + "\n"


def _data(account: Account) -> str:
    dropped = ", ".join(f"{n} {_DROPPED[reason]}" for reason, n in account.dropped.items())
    lines = [
        "## Data",
        f"`{account.name}`, SHA-256 `{account.sha256}`: {account.trained_on} texts to learn "
        f"from, {account.held_out} held out {account.split}. Dropped: {dropped}.",
    ]
    if account.origin:
        lines.append("\n".join(f"- {what}: `{value}`" for what, value in account.origin.items()))
    if account.note:
        lines.append(f"**{account.note}**")
    return "\n\n".join(lines)


def _comparison(account: Account) -> str:
    rows = [
        f"| {'**' + name + '**' if name == account.winner else name} | {found.accuracy:.3f} "
        f"| {found.macro_f1:.3f} | {found.ece:.3f} | {found.log_loss:.3f} |"
        for name, found in {**account.candidates, **account.beside}.items()
    ]
    head = [
        "| on the held-out texts | accuracy | macro-F1 | ECE | log loss |",
        "|---|--:|--:|--:|--:|",
    ]
    return "\n".join(["## How it did", "", *head, *rows])


def _per_label(account: Account) -> str:
    rows = [
        f"| {account.task.titles[label]} | {score.precision:.3f} | {score.recall:.3f} "
        f"| {score.f1:.3f} | {score.support} |"
        for label, score in account.evaluation.labels.items()
    ]
    head = ["| label | precision | recall | F1 | texts |", "|---|--:|--:|--:|--:|"]
    return "\n".join(["### The winner, by label", "", *head, *rows])


def _limits(account: Account) -> str:
    lines = [
        "## Limits",
        f"- With {account.held_out} held-out texts the accuracy is known to about "
        f"± {_half_width(account):.2f} (95 %).",
        _on_the_choice(account),
        "- One source of labels; other channels, regions and times may differ: watch drift.",
        "- `terms.json` lists single terms and pairs that occur in two training texts or more.",
    ]
    return "\n".join(lines)


def _on_the_choice(account: Account) -> str:
    if not account.choice:
        return "- The winner was chosen on the same held-out texts: its figures flatter it a bit."
    reached = ", ".join(f"{name} {score:.3f}" for name, score in account.choice.items())
    return (
        "- The kind of model was chosen on a part of the texts to learn from "
        f"(macro-F1: {reached}); the held-out texts had no part in it."
    )


def _half_width(account: Account) -> float:
    accuracy = account.evaluation.accuracy
    return float(1.96 * (accuracy * (1 - accuracy) / account.held_out) ** 0.5)
