"""The errors of Plata: one base, and the two markers that decide whether to try again."""

from __future__ import annotations


class PlataError(Exception):
    """Anything Plata can explain: the message says what was found, expected and what to do."""


def last_words(told: str, code: int) -> str:
    """Say why a program that was started ended: the last line it told, else its exit code.

    >>> last_words("Traceback\\n  …\\nMemoryError\\n", 1), last_words("", -9)
    ('MemoryError', 'exit code -9 (out of memory?)')
    """
    lines = told.strip().splitlines()
    return lines[-1] if lines else f"exit code {code} (out of memory?)"


class Transient:
    """Marks an error that may be gone on the next attempt, such as a service that restarts."""


class Terminal:
    """Marks an error that stays until a person changes something."""


class ConfigurationError(PlataError, Terminal):
    """A setting, a tenant configuration or a policy contradicts itself or is missing."""


class InputError(PlataError, Terminal):
    """Something the caller handed in (a file, an option, a name) cannot be used."""


class ServiceUnavailableError(PlataError, Transient):
    """A service Plata needs does not answer."""

    @classmethod
    def of(cls, service: str, url: str, cause: str) -> ServiceUnavailableError:
        """Name the service, where it was sought (`url` without credentials), and the remedy."""
        return cls(
            f"{service} does not answer at {url}: {cause}. "
            "Start it with `plata up`, or see `plata status` and `plata doctor`."
        )


class UnknownTenantError(PlataError, Terminal):
    """No tenant of that name is registered."""

    @classmethod
    def among(cls, tenant: str, known: list[str]) -> UnknownTenantError:
        """Say which tenants exist, so that a typing error is seen at once."""
        have = ", ".join(known) if known else "none yet"
        return cls(
            f"unknown tenant '{tenant}'; known tenants: {have}. "
            f"Create it with `plata tenants create {tenant}`."
        )


class TenantMismatchError(PlataError, Terminal):
    """Rows of one tenant reached a place opened for another."""
