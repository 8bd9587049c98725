"""How versions of models and prompts look on a screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.padding import Padding
from rich.text import Text

from models.prompt_cases import CaseResult
from registry.errors import UnknownVersionError
from registry.prompt_diff import PromptDiff
from registry.refs import VersionInfo
from serving.cli.output import grid

_HEADLINES = ("macro_f1", "accuracy", "ece")


def as_values(info: VersionInfo) -> dict[str, Any]:
    """Return a version as JSON values."""
    return {
        "name": info.name,
        "version": info.version,
        "aliases": list(info.aliases),
        "created_at": info.created_at,
        "note": info.note,
        "metrics": dict(info.metrics),
        "tags": dict(info.tags),
    }


def listed(title: str, infos: Sequence[VersionInfo]) -> RenderableType:
    """Draw a line a version; the numbers are those that decide."""
    rows = [
        [
            info.name,
            info.version,
            ", ".join(f"@{alias}" for alias in info.aliases) or "–",
            *(_number(info, name) for name in _HEADLINES),
            info.note or "–",
            info.created_at[:16].replace("T", " "),
        ]
        for info in infos
    ]
    columns = ["name", "version", "aliases", "macro-F1", "accuracy", "ECE", "note", "created (UTC)"]
    if not any(info.metrics for info in infos):
        columns, rows = columns[:3] + columns[6:], [row[:3] + row[6:] for row in rows]
    return grid(title, columns, rows)


def shown(info: VersionInfo, *, markdown: bool) -> RenderableType:
    """Draw one version: what is known of it, then its card or text."""
    aliases = ", ".join(f"@{alias}" for alias in info.aliases) or "no alias"
    head = Text(f"{info.name} version {info.version} · {aliases} · {info.created_at}", style="bold")
    tags = [f"{name}: {value}" for name, value in sorted(info.tags.items())]
    body: RenderableType = Markdown(info.text) if markdown else Text(info.text)
    return Group(head, Text("\n".join(tags), style="dim"), Padding(body, (1, 0)))


def diff_drawn(diff: PromptDiff) -> RenderableType:
    """Draw a unified diff in its usual colours."""
    if diff.same:
        return f"{diff.before} and {diff.after} are the same text"
    return Text("\n").join(Text(line, style=_diff_style(line)) for line in diff.lines)


def _diff_style(line: str) -> str:
    if line.startswith(("+++ ", "--- ")):
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan", "\\": "dim"}.get(line[:1], "")


def tests_drawn(uri: str, said: str, results: Sequence[CaseResult]) -> RenderableType:
    """Draw a line a test of a prompt, without its text."""
    rows = [
        [
            one.number,
            "yes" if one.passed else "NO",
            one.expected,
            one.at_least,
            one.found or "no answer",
            one.score,
        ]
        for one in results
    ]
    said = f"{uri}: {said}"
    return Group(said, grid("", ["test", "", "expected", "at least", "found", "score"], rows))


def found(infos: Sequence[VersionInfo], kind: str, name: str, version: str) -> VersionInfo:
    """Return the version asked for, by number or by alias written `@champion`."""
    own = [info for info in infos if info.name == name]
    for info in own:
        if info.version == version or version.removeprefix("@") in info.aliases:
            return info
    raise UnknownVersionError.of(kind, name, version, [info.version for info in own])


def _number(info: VersionInfo, name: str) -> str:
    return f"{info.metrics[name]:.3f}" if name in info.metrics else "–"
