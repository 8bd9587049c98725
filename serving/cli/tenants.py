"""`plata tenants`: who the tenants are and what each wants."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from serving.cli.output import emit, grid, operator

app = typer.Typer(no_args_is_help=True, help="Create, configure and list tenants.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]


@app.command()
def create(
    tenant: Annotated[str, typer.Argument(help="Lower-case words joined by hyphens.")],
    name: Annotated[str, typer.Option(help="The name people read.")] = "",
    config: Annotated[
        Path | None, typer.Option(help="YAML configuration; the PQRS template by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Register a tenant with its configuration, rules baselines and zero-shot prompts.

    Example: plata tenants create alcaldia-norte --name "Alcaldía Norte"
    """
    from rich.console import Group

    from lakehouse.tenancy import TenantContext
    from pipelines.bootstrap import open_platform
    from pipelines.onboard import onboard
    from pipelines.tenant_config import default_config, read_config

    context = TenantContext.parse(tenant)
    values = default_config() if config is None else read_config(config)
    platform = open_platform()
    done = onboard(
        context,
        name=name or tenant,
        values=values,
        tenants=platform.tenants,
        promotion=platform.promotion,
        by=operator(),
    )
    pins = [*(m.uri for m in done.baselines), *(p.uri for p in done.prompts)]
    emit(
        {
            "tenant": tenant,
            "created": done.created,
            "config": done.config_version,
            "pins": pins,
            **_bundle(done),
        },
        as_json=as_json,
        table=lambda: Group(
            grid(
                f"{tenant}: {'created' if done.created else 'was there already'}, "
                f"configuration version {done.config_version}",
                ["registered"],
                [[pin] for pin in pins],
            ),
            _bundle_said(done),
        ),
    )


@app.command()
def configure(
    tenant: str,
    file: Annotated[Path, typer.Argument(help="YAML configuration.")],
    as_json: AsJson = False,
) -> None:
    """Write a new version of a tenant's configuration; the old versions stay.

    Example: plata tenants configure alcaldia-norte alcaldia.yaml
    """
    from pipelines.bootstrap import open_platform
    from pipelines.onboard import onboard
    from pipelines.tenant_config import read_config

    values = read_config(file)
    platform = open_platform()
    done = onboard(
        platform.tenant(tenant),
        name=tenant,
        values=values,
        tenants=platform.tenants,
        promotion=platform.promotion,
        by=operator(),
    )
    emit(
        {"tenant": tenant, "config": done.config_version, **_bundle(done)},
        as_json=as_json,
        table=lambda: (
            f"{tenant}: configuration version {done.config_version}; {_bundle_said(done)}"
        ),
    )


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the tenants and the tasks each has.

    Example: plata tenants list --json
    """
    from pipelines.bootstrap import open_platform

    platform = open_platform()
    tasks = {
        name: {t.name: list(t.labels) for t in platform.tasks(platform.tenant(name))}
        for name in platform.tenants.names()
    }
    emit(
        [{"tenant": name, "tasks": labels} for name, labels in tasks.items()],
        as_json=as_json,
        table=lambda: grid(
            "Tenants",
            ["tenant", "tasks"],
            [
                [name, "; ".join(f"{task}: {', '.join(labels)}" for task, labels in of.items())]
                for name, of in tasks.items()
            ],
        ),
    )


@app.command()
def show(tenant: str) -> None:
    """Print a tenant's newest configuration as YAML, ready to be changed.

    Example: plata tenants show alcaldia-norte > alcaldia.yaml
    """
    import sys

    import yaml

    from pipelines.bootstrap import open_platform

    platform = open_platform()
    config = platform.tenants.config(platform.tenant(tenant))
    values = {} if config is None else dict(config.values)
    yaml.safe_dump(values, sys.stdout, allow_unicode=True, sort_keys=False)


def _bundle(done: Any) -> dict[str, str | None]:
    champion = None if done.champion is None else done.champion.bundle_id
    return {"bundle": champion, "waiting": done.waiting}


def _bundle_said(done: Any) -> str:
    champion = "no bundle yet" if done.champion is None else f"runs use {done.champion.bundle_id}"
    return f"{champion}: {done.waiting}" if done.waiting else champion
