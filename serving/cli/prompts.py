"""`plata prompts`: register, list, show, compare, test and promote versions of prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serving.cli.output import emit

app = typer.Typer(
    no_args_is_help=True, help="Register, list, show, compare, test and promote prompts."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
Name = Annotated[str, typer.Argument(help="Such as alcaldia-norte.tipo.zero-shot.")]


@app.command()
def register(
    name: Name,
    file: Annotated[Path, typer.Argument(help="The prompt's text, in UTF-8.")],
    note: Annotated[str, typer.Option(help="What changed, and why.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a new version of a prompt; a text equal to the newest version's makes none.

    Example: plata prompts register alcaldia-norte.tipo.zero-shot tipo.yaml --note "more on fees"
    """
    from pipelines.bootstrap import open_platform
    from pipelines.prompt_files import read_prompt

    text = read_prompt(name, file)
    ref = open_platform().registry.register_prompt(name, text, note=note)
    emit(
        {"prompt": ref.uri, "digest": ref.digest},
        as_json=as_json,
        table=lambda: (
            f"{ref.uri}; use it with `plata promote {name} {ref.version} --tenant TENANT`"
        ),
    )


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List every version of every prompt, with its aliases.

    Example: plata prompts list
    """
    from pipelines.bootstrap import open_platform
    from serving.cli.versions_view import as_values, listed

    infos = open_platform().registry.prompts()
    emit(
        [as_values(info) for info in infos],
        as_json=as_json,
        table=lambda: listed("Prompts", infos) if infos else _NONE_YET,
    )


@app.command()
def show(
    name: Name,
    version: Annotated[str, typer.Argument(help="A number, or an alias such as @champion.")],
    text: Annotated[bool, typer.Option("--text", help="Print only the text, ready to edit.")] = (
        False
    ),
    as_json: AsJson = False,
) -> None:
    """Print a version of a prompt.

    Example: plata prompts show alcaldia-norte.tipo.zero-shot @champion --text > tipo.yaml
    """
    import sys

    from pipelines.bootstrap import open_platform
    from serving.cli.versions_view import as_values, found, shown

    info = found(open_platform().registry.prompts(), "prompt", name, version)
    if text:
        sys.stdout.write(info.text)
        return
    emit(
        {**as_values(info), "text": info.text},
        as_json=as_json,
        table=lambda: shown(info, markdown=False),
    )


@app.command()
def diff(
    name: Name,
    before: Annotated[str, typer.Argument(help="A number, or an alias such as @champion.")],
    after: Annotated[str, typer.Argument(help="A number, an alias, or a file.")],
    as_json: AsJson = False,
) -> None:
    """Show what sets a version of a prompt apart from another one, or from a file.

    Examples:

      plata prompts diff alcaldia-norte.tipo.zero-shot 1 @champion

      plata prompts diff alcaldia-norte.tipo.zero-shot @champion tipo.yaml
    """
    from pipelines.bootstrap import open_platform
    from pipelines.prompt_files import read_prompt
    from registry.prompt_diff import prompt_diff
    from registry.refs import text_digest
    from serving.cli.versions_view import diff_drawn, found

    infos = open_platform().registry.prompts()
    old = found(infos, "prompt", name, before)
    if after.startswith("@") or after.isdigit():
        info = found(infos, "prompt", name, after)
        called, new = f"{name}/{info.version}", info.text
    else:
        called, new = after, read_prompt(name, Path(after))
    difference = prompt_diff(f"{name}/{old.version}", called, old.text, new)
    emit(
        {
            "before": difference.before,
            "after": difference.after,
            "digest_before": text_digest(old.text),
            "digest_after": text_digest(new),
            "same": difference.same,
            "lines": list(difference.lines),
        },
        as_json=as_json,
        table=lambda: diff_drawn(difference),
    )


@app.command()
def promote(
    name: Name,
    version: Annotated[str, typer.Argument(help="A number.")],
    alias: Annotated[str, typer.Option(help="The alias that will mean this version.")] = "champion",
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version. An alias that shows a tenant's champion is `plata promote`'s.

    Example: plata prompts promote alcaldia-norte.tipo.zero-shot 2 --alias borrador
    """
    from pipelines.bootstrap import open_platform
    from pipelines.promotion import require_free

    platform = open_platform()
    require_free(name, version, alias, platform.tenants, platform.bundles)
    ref = platform.registry.promote_prompt(name, version, alias)
    emit(
        {"prompt": ref.uri, "alias": alias, "digest": ref.digest},
        as_json=as_json,
        table=lambda: f"{name}@{alias} is now version {ref.version}",
    )


_NONE_YET = "no prompts yet: `plata tenants create TENANT` registers the first"
