"""`plata prompts`: register, list, show, compare, test and promote versions of prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    tests: Annotated[
        Path | None,
        typer.Option(help="Texts and the label each must get; else the newest version's."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a new version of a prompt; text and tests equal to the newest version's make none.

    Examples:

      plata prompts register alcaldia-norte.tipo.zero-shot tipo.yaml --note "more on fees"

      plata prompts register alcaldia-norte.tipo.zero-shot tipo.yaml --tests pruebas.yaml
    """
    from pipelines.bootstrap import open_platform
    from pipelines.prompt_files import read_prompt, read_tests

    text = read_prompt(name, file)
    kept = None if tests is None else read_tests(name, text, tests)
    ref = open_platform().registry.register_prompt(name, text, note=note, tests=kept)
    emit(
        {"prompt": ref.uri, "digest": ref.digest},
        as_json=as_json,
        table=lambda: f"{ref.uri}; use it with `plata prompts promote {name} {ref.version}`",
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


@app.command("test")
def run_tests(
    name: Name,
    version: Annotated[str, typer.Argument(help="A number, or an alias such as @champion.")],
    tests: Annotated[
        Path | None, typer.Option(help="Other tests than those kept with the version.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask about each text of a prompt's tests as a run would; ends with code 1 if one fails.

    A zero-shot prompt is asked over the tenant's embedding model, an LLM's through its endpoint.
    Tests are told by their number, never by their text.

    Example: plata prompts test alcaldia-norte.tipo.zero-shot 2
    """
    from dataclasses import asdict

    from lakehouse.errors import InputError
    from models.prompt_cases import read_cases
    from pipelines.bootstrap import open_platform
    from pipelines.prompt_files import cases_of
    from serving.cli.versions_view import tests_drawn

    platform = open_platform()
    registry, alias = platform.registry, version.removeprefix("@")
    ref = (
        registry.prompt_version(name, version)
        if alias == version
        else registry.resolve_prompt(name, alias)
    )
    kept = registry.prompt_tests(ref)
    if tests is None and not kept:
        msg = (
            f"no tests are kept with {ref.uri}; register it with some (`plata prompts register "
            f"{name} FILE --tests FILE`), or name a file with --tests"
        )
        raise InputError(msg)
    report = _tried(ref, read_cases(kept) if tests is None else cases_of(tests), platform)
    emit(
        {
            "prompt": ref.uri,
            "digest": ref.digest,
            "passed": not report.failed,
            "failed": list(report.failed),
            "tests": [{**asdict(one), "passed": one.passed} for one in report.results],
        },
        as_json=as_json,
        table=lambda: tests_drawn(ref.uri, report.said, report.results),
    )
    if report.failed:
        raise typer.Exit(1)


@app.command()
def promote(
    name: Name,
    version: Annotated[str, typer.Argument(help="A number.")],
    alias: Annotated[str, typer.Option(help="The alias that will mean this version.")] = "champion",
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Also where a test or gate fails; needs --reason.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version; its tests must pass before it is @champion.

    Where a tenant's runs use the prompt, this is `plata promote`: a new bundle, its gates and the
    tests among them, a row in the audit log. Ends with code 1 where one fails.

    Examples:

      plata prompts promote alcaldia-norte.tipo.zero-shot 2 --reason "more on fees"

      plata prompts promote alcaldia-norte.tipo.zero-shot 2 --alias borrador
    """
    from lakehouse.errors import InputError
    from models.prompt_cases import read_cases
    from pipelines.bootstrap import open_platform
    from pipelines.bundles import changes_of
    from pipelines.promotion import reads_prompt, require_free, successor
    from registry.refs import CHAMPION
    from serving.cli.promote import promoted

    platform = open_platform()
    held = reads_prompt(name, platform.tenants, platform.bundles) if alias == CHAMPION else None
    if held is not None:
        context, champion = held
        tasks = platform.tasks(context)
        changes = changes_of(platform.registry.prompt_version(name, version), champion, tasks)
        bundle = successor(context, tasks, changes, platform.promotion)
        promoted(context, bundle, platform, reason=reason, force=force, as_json=as_json)
        platform.registry.promote_prompt(name, version)
        return
    if force:
        msg = f"no tenant's runs use '{name}@{alias}', so there is no promotion to force"
        raise InputError(msg)
    require_free(name, version, alias, platform.tenants, platform.bundles)
    ref = platform.registry.prompt_version(name, version)
    kept = platform.registry.prompt_tests(ref) if alias == CHAMPION else ""
    if kept and (report := _tried(ref, read_cases(kept), platform)).failed:
        msg = (
            f"{ref.uri} is not promoted, its tests: {report.said}; "
            f"see them with `plata prompts test {name} {version}`"
        )
        raise InputError(msg)
    platform.registry.promote_prompt(name, version, alias)
    emit(
        {"prompt": ref.uri, "alias": alias, "digest": ref.digest},
        as_json=as_json,
        table=lambda: f"{name}@{alias} is now version {ref.version}",
    )


def _tried(ref: Any, cases: Any, platform: Any) -> Any:
    """Run tests of a prompt, whose name begins with its tenant's."""
    from pipelines.bundles import bundle_of_aliases
    from pipelines.promotion import champion_of
    from pipelines.prompt_tests import PROMPT_TEST_KIND, run_trial, trial_of

    context = platform.tenant(ref.name.partition(".")[0])
    tasks = platform.tasks(context)
    bundle = champion_of(context, platform.bundles) or bundle_of_aliases(tasks, platform.registry)
    trial = trial_of(ref, tasks, bundle, platform.registry)
    return run_trial(trial, cases, platform.asking(context, PROMPT_TEST_KIND))


_NONE_YET = "no prompts yet: `plata tenants create TENANT` registers the first"
