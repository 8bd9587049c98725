"""How bundles, their differences and their history are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType

from registry.bundle_diff import Change
from registry.bundle_log import KeptBundle, Move
from registry.bundles import Bundle
from serving.cli.output import grid

_SHORT = 12


def as_values(kept: KeptBundle) -> dict[str, Any]:
    """Return plain values."""
    return {
        "bundle": kept.bundle.bundle_id,
        "name": kept.name,
        "aliases": list(kept.aliases),
        "made_at": kept.made_at.isoformat(timespec="seconds"),
        "made_by": kept.made_by,
        "note": kept.note,
        "pins": kept.bundle.pins(),
        "digests": kept.bundle.digests(),
    }


def listed(tenant: str, kept: Sequence[KeptBundle]) -> RenderableType:
    """Draw one row a bundle."""
    return grid(
        f"{tenant}: bundles",
        ["bundle", "name", "aliases", "made", "by", "champions", "note"],
        [
            [
                one.bundle.bundle_id,
                one.name,
                ", ".join(f"@{alias}" for alias in one.aliases),
                f"{one.made_at:%Y-%m-%d %H:%M}",
                one.made_by,
                ", ".join(f"{pins.task} {pins.champion.version}" for pins in one.bundle.tasks),
                one.note,
            ]
            for one in kept
        ],
        whole=["bundle"],
    )


def drawn(kept: KeptBundle) -> RenderableType:
    """Draw every part of one bundle."""
    digests = kept.bundle.digests()
    said = ", ".join(f"@{alias}" for alias in kept.aliases) or "no alias"
    about = f"{kept.made_at:%Y-%m-%d %H:%M} by {kept.made_by}"
    return grid(
        f"bundle:/{kept.name}/{kept.bundle.bundle_id}: {said}, {about}"
        + (f", {kept.note}" if kept.note else ""),
        ["part", "version", "digest"],
        [[part, pin, digests.get(part, "")[:_SHORT]] for part, pin in kept.bundle.pins().items()],
    )


def changes_drawn(before: Bundle, after: Bundle, changes: Sequence[Change]) -> RenderableType:
    """Draw what sets two bundles apart."""
    if not changes:
        return f"{after.bundle_id} and {before.bundle_id} answer with the same versions"
    return grid(
        f"{before.bundle_id} → {after.bundle_id}",
        ["task", "part", "before", "after", "digest before", "digest after"],
        [
            [
                change.task,
                change.part,
                change.before,
                change.after,
                (change.digest_before or "")[:_SHORT],
                (change.digest_after or "")[:_SHORT],
            ]
            for change in changes
        ],
    )


def moves_drawn(name: str, moves: Sequence[Move]) -> RenderableType:
    """Draw the audit log."""
    return grid(
        f"{name}: who moved what",
        ["when", "by", "alias", "from", "to", "gates", "reason"],
        [
            [
                f"{move.at:%Y-%m-%d %H:%M}",
                move.by,
                move.alias,
                move.before,
                move.after,
                _gates(move),
                move.reason,
            ]
            for move in moves
        ],
        whole=["from", "to"],
    )


def verdict_drawn(verdict: dict[str, Any]) -> RenderableType:
    """Draw a verdict gate by gate."""
    gates = verdict["gates"]
    failed = [gate["name"] for gate in gates if not gate["passed"]]
    said = f"fails at {', '.join(failed)}" if failed else "passes every gate"
    return Group(
        grid(
            f"The verdict: {said}",
            ["gate", "", "found", "expected", "why"],
            [
                [g["name"], "yes" if g["passed"] else "NO", g["found"], g["expected"], g["why"]]
                for g in gates
            ],
        )
    )


def _gates(move: Move) -> str:
    if move.verdict is None:
        return "not asked"
    failed = [gate["name"] for gate in move.verdict["gates"] if not gate["passed"]]
    if not failed:
        return "passed"
    return f"{'FORCED past ' if move.forced else ''}{', '.join(failed)}"
