"""A model's card: what it is, what it learned from, how it did, and what it is not good for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.evaluation import Evaluation
from models.task import Task

_READS = {
    "tfidf": "words (1–2) and characters (3–5) weighted by TF-IDF",
    "embedding": "sentence embeddings",
    "both": "words (1–2) and characters (3–5) weighted by TF-IDF, and sentence embeddings",
}


@dataclass(frozen=True, slots=True)
class Account:
    """All there is to say of one training."""

    task: Task
    winner: str
    candidates: Mapping[str, Evaluation]
    beside: Mapping[str, Evaluation]
    trained_on: int
    held_out: int
    repeated: int
    blank: int
    file_name: str
    sha256: str
    note: str
    space: Mapping[str, str]
    seed: int
    code_version: str

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
            "name": self.file_name,
            "digest": self.sha256,
            "rows": str(self.trained_on + self.held_out),
            "repeated": str(self.repeated),
            "blank": str(self.blank),
            "note": self.note or "none",
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
    lines = [
        "## Data",
        f"`{account.file_name}`, SHA-256 `{account.sha256}`: {account.trained_on} texts to learn "
        f"from, {account.held_out} held out by a digest of the text (seed {account.seed}), the "
        f"same share of every label. Dropped: {account.repeated} repeated texts, "
        f"{account.blank} without text or label.",
    ]
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
        "- The winner was chosen on the same held-out texts, so its figures flatter it a little.",
        "- One source of labels; other channels, regions and times may differ: watch drift.",
        "- `terms.json` lists single terms and pairs that occur in two training texts or more.",
    ]
    return "\n".join(lines)


def _half_width(account: Account) -> float:
    accuracy = account.evaluation.accuracy
    return float(1.96 * (accuracy * (1 - accuracy) / account.held_out) ** 0.5)
