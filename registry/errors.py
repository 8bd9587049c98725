"""What went wrong with a model or a prompt."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.errors import PlataError, Terminal


class UnknownAliasError(PlataError, Terminal):
    """A name has no version under that alias, or no version at all."""

    @classmethod
    def of(
        cls, kind: str, name: str, alias: str, have: Sequence[str], *, remedy: str
    ) -> UnknownAliasError:
        """Name what was sought, what there is, and the command that makes it."""
        there = f"it has the aliases: {', '.join(have)}" if have else "it has no aliases yet"
        return cls(f"{kind} '{name}' has no version '@{alias}' ({there}). {remedy}")


class UnknownVersionError(PlataError, Terminal):
    """A model or prompt has no such version."""

    @classmethod
    def of(cls, kind: str, name: str, version: str, have: Sequence[str]) -> UnknownVersionError:
        """Name what was sought and what there is."""
        there = f"it has: {', '.join(have)}" if have else f"there is no such {kind}"
        return cls(f"{kind} '{name}' has no version {version} ({there}); see `plata {kind}s list`")


class ArtifactError(PlataError, Terminal):
    """A model's files are not what was registered, or not of a kind that is safe to load."""

    @classmethod
    def changed(cls, uri: str) -> ArtifactError:
        """Say that what the registry holds under `uri` is not what was registered."""
        return cls(
            f"what the registry holds as {uri} is not what was registered: its digest differs. "
            "Somebody changed the files behind the registry; register a new version and promote it"
        )


class PromptError(PlataError, Terminal):
    """A prompt's text cannot be used: it lacks its variables or what its kind must say."""


class UnknownBundleError(PlataError, Terminal):
    """A tenant has no bundle of that name, under that alias, or of that content."""

    @classmethod
    def of(cls, tenant: str, reference: str, have: Sequence[str]) -> UnknownBundleError:
        """Name what was sought, what there is, and the command that makes one."""
        there = f"it has: {', '.join(have)}" if have else "it has none yet"
        remedy = (
            f"see `plata bundles list --tenant {tenant}`"
            if have
            else f"make the first with `plata bundles create --tenant {tenant} --promote`"
        )
        return cls(f"tenant '{tenant}' has no bundle {reference} ({there}); {remedy}")
