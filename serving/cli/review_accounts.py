"""`plata review account`: who may review a tenant's tickets, and the passwords to log in with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from labeling.queue import Reviewer
from serving.cli.output import emit, grid

app = typer.Typer(no_args_is_help=True, help="The accounts people review with, one a person.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose tickets.")]
Name = Annotated[str, typer.Argument(help="A person's short name, such as ana.gomez.")]


@app.command()
def add(name: Name, tenant: OfTenant, as_json: AsJson = False) -> None:
    """Let a person review the tenant's tickets and nothing else; twice changes nothing.

    Example: plata review account add ana --tenant alcaldia-norte
    """
    from pipelines.bootstrap import open_platform
    from pipelines.review import admit

    platform = open_platform()
    context = platform.tenant(tenant)
    reviewer = admit(name, context, queue=platform.queue, accounts=platform.reviewers)
    _show(f"{tenant}: puede revisar", platform.endpoints.argilla_url, [reviewer], as_json=as_json)


@app.command("list")
def list_(tenant: OfTenant, as_json: AsJson = False) -> None:
    """Show the tenant's accounts, to log in to Argilla with.

    Example: plata review account list --tenant alcaldia-norte
    """
    from pipelines.bootstrap import open_platform

    platform = open_platform()
    known = platform.reviewers.all(platform.tenant(tenant))
    title = f"{tenant}: cuentas de revisión"
    _show(title, platform.endpoints.argilla_url, known, as_json=as_json)


@app.command()
def remove(name: Name, tenant: OfTenant, as_json: AsJson = False) -> None:
    """Let a person review no longer; what they answered stays.

    Example: plata review account remove ana --tenant alcaldia-norte
    """
    from pipelines.bootstrap import open_platform
    from pipelines.review import dismiss

    platform = open_platform()
    context = platform.tenant(tenant)
    username = dismiss(name, context, queue=platform.queue, accounts=platform.reviewers)
    emit(
        {"removed": username},
        as_json=as_json,
        table=lambda: grid(f"{tenant}: ya no revisa", ["usuario"], [[username]]),
    )


def _show(title: str, page: str, reviewers: Sequence[Reviewer], *, as_json: bool) -> None:
    emit(
        {
            "page": page,
            "accounts": [{"username": r.username, "password": r.password} for r in reviewers],
        },
        as_json=as_json,
        table=lambda: grid(
            title,
            ["página", "usuario", "clave"],
            [[page, reviewer.username, reviewer.password] for reviewer in reviewers],
        ),
    )
