"""`plata bundles`: which exact versions answer a tenant's tickets, then and now."""

from __future__ import annotations

from typing import Annotated

import typer

from serving.cli.output import emit, operator

app = typer.Typer(
    no_args_is_help=True, help="Make, show and compare bundles: the versions that answer together."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
OfTenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose bundles.")]
Reference = Annotated[
    str, typer.Argument(help="bundle:/NAME@champion, bundle:/NAME/bundle-… or bundle-….")
]


@app.command()
def create(
    tenant: OfTenant,
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help="PART=VERSION, such as tipo=models:/NAME/7 or tipo.prompt=prompts:/NAME/3; parts "
            "are a task, and its .prompt, .baseline and .zero_shot, embedding, embedding.prompt.",
        ),
    ] = None,
    routing: Annotated[
        list[str] | None, typer.Option(help="TASK=SCORE from which answers count as they are.")
    ] = None,
    name: Annotated[str, typer.Option(help="Kept under this name; the tenant's by default.")] = "",
    note: Annotated[str, typer.Option(help="What readers of the list must know.")] = "",
    promote: Annotated[
        bool, typer.Option("--promote", help="Make it the champion, if the gates let it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a bundle of what the aliases mean now, with some parts chosen otherwise.

    What does not fit together is refused, and nothing is kept. The same content twice is one
    bundle.

    Example: plata bundles create --tenant alcaldia-norte --with
    tipo=models:/alcaldia-norte.tipo/7 --routing tipo=0.8
    """
    from pipelines.bootstrap import open_platform
    from pipelines.bundles import Changes, bundle_of_aliases, check_fit, with_changes
    from pipelines.promotion import champion_of
    from serving.cli.promote import promoted

    platform = open_platform()
    context = platform.tenant(tenant)
    tasks, registry = platform.tasks(context), platform.registry
    changes = Changes.parse(with_ or [], routing or [], registry)
    champion = champion_of(context, platform.bundles)
    bundle = with_changes(bundle_of_aliases(tasks, registry, like=champion), changes, registry)
    check_fit(bundle, tasks, registry)
    own = name or context.tenant_id
    new = platform.bundles.keep(context, own, bundle, by=operator(), note=note)
    if promote:
        promoted(context, bundle, platform, reason=note, as_json=as_json)
        return
    reference = f"bundle:/{own}/{bundle.bundle_id}"
    emit(
        {"bundle": bundle.bundle_id, "reference": reference, "new": new, "pins": bundle.pins()},
        as_json=as_json,
        table=lambda: (
            f"{reference}{'' if new else ' was there already'}; make it the champion with "
            f"`plata promote {bundle.bundle_id} --tenant {tenant}`"
        ),
    )


@app.command()
def show(reference: Reference, tenant: OfTenant, as_json: AsJson = False) -> None:
    """Show what a bundle holds: every version with its digest, and the routing.

    Example: plata bundles show bundle:/alcaldia-norte@champion --tenant alcaldia-norte
    """
    from pipelines.bootstrap import open_platform
    from serving.cli.bundles_view import as_values, drawn

    platform = open_platform()
    kept = platform.bundles.kept(platform.tenant(tenant), reference)
    value = {**as_values(kept), "content": kept.bundle.as_dict()}
    emit(value, as_json=as_json, table=lambda: drawn(kept))


@app.command("list")
def list_(tenant: OfTenant, as_json: AsJson = False) -> None:
    """List a tenant's bundles, newest first, with the aliases that mean them.

    Example: plata bundles list --tenant alcaldia-norte
    """
    from pipelines.bootstrap import open_platform
    from serving.cli.bundles_view import as_values, listed

    platform = open_platform()
    kept = platform.bundles.all(platform.tenant(tenant))
    emit(
        [as_values(one) for one in kept],
        as_json=as_json,
        table=lambda: (
            listed(tenant, kept)
            if kept
            else f"no bundles yet: make one with `plata bundles create --tenant {tenant} --promote`"
        ),
    )


@app.command()
def diff(before: Reference, after: Reference, tenant: OfTenant, as_json: AsJson = False) -> None:
    """Tell what sets two bundles apart, task by task.

    Example: plata bundles diff bundle:/alcaldia-norte@champion bundle-528af0c91323
    --tenant alcaldia-norte
    """
    from dataclasses import asdict

    from pipelines.bootstrap import open_platform
    from registry.bundle_diff import bundle_changes
    from serving.cli.bundles_view import changes_drawn

    platform = open_platform()
    context = platform.tenant(tenant)
    old, new = (platform.bundles.find(context, reference) for reference in (before, after))
    changes = bundle_changes(old, new)
    emit(
        {
            "before": old.bundle_id,
            "after": new.bundle_id,
            "changes": [asdict(change) for change in changes],
        },
        as_json=as_json,
        table=lambda: changes_drawn(old, new, changes),
    )


@app.command()
def history(
    tenant: OfTenant,
    name: Annotated[str, typer.Option(help="Of this name; the tenant's by default.")] = "",
    as_json: AsJson = False,
) -> None:
    """Tell who moved which alias where, when and why, newest first. Nobody can change it.

    Example: plata bundles history --tenant alcaldia-norte
    """
    from dataclasses import asdict

    from pipelines.bootstrap import open_platform
    from serving.cli.bundles_view import moves_drawn

    platform = open_platform()
    context = platform.tenant(tenant)
    moves = platform.bundles.history(context, name or context.tenant_id)
    emit(
        [asdict(move) for move in moves],
        as_json=as_json,
        table=lambda: moves_drawn(name or tenant, moves),
    )


@app.command()
def restore(tenant: OfTenant, as_json: AsJson = False) -> None:
    """Let MLflow's aliases show the champion bundle again, where somebody moved them there.

    Example: plata bundles restore --tenant alcaldia-norte
    """
    from pipelines.bootstrap import open_platform
    from pipelines.promotion import restore as bring_in_line

    platform = open_platform()
    bundle, found = bring_in_line(platform.tenant(tenant), platform.promotion)
    said = [str(difference) for difference in found]
    emit(
        {"bundle": bundle.bundle_id, "restored": said},
        as_json=as_json,
        table=lambda: "\n".join(
            [
                f"MLflow shows {bundle.bundle_id}"
                + (", where it had shown otherwise:" if said else " already"),
                *said,
            ]
        ),
    )
