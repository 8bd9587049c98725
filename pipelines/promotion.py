"""Promotion: which bundle a tenant's runs are planned against, and that MLflow shows the same.

Postgres is the truth of what runs; MLflow's aliases show it. A promotion moves the alias in
Postgres and then brings MLflow in line, so that killed in between it is only done again. While one
is at work no run is planned, and where the two disagree none is planned either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lakehouse.control.evaluations import EvaluationLog
from lakehouse.control.postgres import Postgres
from lakehouse.control.runs import RunLog
from lakehouse.control.tenants import TenantDirectory
from lakehouse.errors import InputError
from lakehouse.tenancy import TenantContext
from models.gates import Gate, GatePolicy, Verdict, judge
from models.task import Task
from pipelines.bundles import Changes, bundle_like, check_fit, check_tasks, with_changes
from pipelines.errors import BundleMismatchError
from pipelines.measured import measures_of
from pipelines.steps import OnStep, unobserved
from registry.bundle_log import BundleLog, Move
from registry.bundles import Bundle, BundleRef
from registry.errors import UnknownAliasError
from registry.refs import BASELINE, CHAMPION, ModelRef, PromptRef, Registry

PROMOTION_KIND = "promotion"


@dataclass(frozen=True, slots=True)
class PromotionPorts:
    """What a promotion works with."""

    bundles: BundleLog
    registry: Registry
    log: RunLog
    evaluations: EvaluationLog

    @classmethod
    def over(cls, postgres: Postgres, registry: Registry) -> PromotionPorts:
        """Open the logs of a database beside a registry."""
        return cls(BundleLog(postgres), registry, RunLog(postgres), EvaluationLog(postgres))


@dataclass(frozen=True, slots=True)
class Decision:
    """Who moves the champion, and why. `verdict` is what the gates said, where they were asked."""

    by: str
    reason: str
    forced: bool = False
    verdict: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.forced and not self.reason.strip():
            msg = "to promote against the gates is recorded with its reason; give one with --reason"
            raise InputError(msg)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for a promotion, who agrees, and why. `force` goes against the gates if need be."""

    by: str
    approved_by: str
    reason: str
    force: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of asking for a promotion. `verdict` is None where there was nothing to judge
    against: no champion yet, or the same one. `forced` where it went against the gates.
    """

    bundle: Bundle
    before: Bundle | None
    verdict: Verdict | None
    promoted: bool
    forced: bool = False

    @property
    def refused(self) -> bool:
        """Whether the gates kept it from being the champion."""
        return not (self.promoted or self.bundle == self.before)


@dataclass(frozen=True, slots=True)
class Shown:
    """An alias by which MLflow shows a part of a champion bundle."""

    task: str
    part: str
    alias: str
    ref: ModelRef | PromptRef


@dataclass(frozen=True, slots=True)
class Difference:
    """Where MLflow's alias means another version than the bundle; None where it means none."""

    shown: Shown
    in_mlflow: str | None

    def __str__(self) -> str:
        """Say it in one line."""
        found = f"version {self.in_mlflow}" if self.in_mlflow else "no version"
        own = self.shown
        return (
            f"{own.task}: {own.part}: {own.ref.name}@{own.alias} is {found} in MLflow, "
            f"version {own.ref.version} in the bundle"
        )


def shown_by_mlflow(bundle: Bundle) -> Iterator[Shown]:
    """Yield the aliases that tell of a champion bundle.

    The embedding is every tenant's, so no tenant's bundle moves its alias; and a model of the
    task's own pins the prompt it reads, so that no alias need tell of it.

    Raises `BundleMismatchError` where one alias would have to mean two versions.
    """
    told: dict[tuple[str, str], ModelRef | PromptRef] = {}
    for shown in _parts(bundle):
        key = (shown.ref.name, shown.alias)
        if told.setdefault(key, shown.ref) != shown.ref:
            msg = (
                f"{bundle.bundle_id} holds {told[key].uri} and {shown.ref.uri}, and "
                f"{shown.ref.name}@{shown.alias} can show only one; use one version in both places"
            )
            raise BundleMismatchError(msg)
        yield shown


def _parts(bundle: Bundle) -> Iterator[Shown]:
    for pins in bundle.tasks:
        if pins.champion != bundle.embedding:
            yield Shown(pins.task, "model", CHAMPION, pins.champion)
        elif pins.champion_prompt is not None:
            yield Shown(pins.task, "prompt of the model", CHAMPION, pins.champion_prompt)
        yield Shown(pins.task, "baseline", BASELINE, pins.baseline)
        yield Shown(pins.task, "zero-shot prompt", CHAMPION, pins.zero_shot)
    for finder in bundle.entities:
        yield Shown(finder.task, "model", CHAMPION, finder.model)


def differences(bundle: Bundle, registry: Registry) -> list[Difference]:
    """Return where MLflow's aliases mean something else than the bundle."""
    found = []
    for shown in shown_by_mlflow(bundle):
        meant = _meant(shown, registry)
        if meant != shown.ref:
            found.append(Difference(shown, None if meant is None else meant.version))
    return found


def _meant(shown: Shown, registry: Registry) -> ModelRef | PromptRef | None:
    resolve = registry.resolve_model if isinstance(shown.ref, ModelRef) else registry.resolve_prompt
    try:
        return resolve(shown.ref.name, shown.alias)
    except UnknownAliasError:
        return None


def reads_prompt(
    name: str, tenants: TenantDirectory, bundles: BundleLog
) -> tuple[TenantContext, Bundle] | None:
    """Return the tenant of a task's prompt and its champion, where the champion holds the prompt.

    A prompt of a task has a name that begins with its tenant's.
    """
    known = name.partition(".")[0]
    if known == name or known not in tenants.names():
        return None
    tenant = tenants.find(known)
    champion = champion_of(tenant, bundles)
    for pins in () if champion is None else champion.tasks:
        read = (pins.zero_shot, pins.champion_prompt)
        if champion is not None and any(ref is not None and ref.name == name for ref in read):
            return tenant, champion
    return None


def require_free(
    name: str, version: str, alias: str, tenants: TenantDirectory, bundles: BundleLog
) -> None:
    """Raise `InputError` where an alias shows a part of some tenant's champion: only its promotion
    moves it, so that MLflow and Postgres never disagree.
    """
    for known in tenants.names():
        tenant = tenants.find(known)
        champion = champion_of(tenant, bundles)
        for shown in () if champion is None else shown_by_mlflow(champion):
            if (shown.ref.name, shown.alias) == (name, alias):
                own = f"--tenant {tenant.tenant_id}"
                change = f"{shown.task}.baseline=models:/{name}/{version}"
                remedy = (
                    f"plata bundles create {own} --with {change} --promote"
                    if alias == BASELINE
                    else f"plata promote {name} {version} {own}"
                )
                msg = (
                    f"{name}@{alias} shows what answers '{shown.task}' of '{tenant.tenant_id}', "
                    f"and moves with its bundle: `{remedy}`"
                )
                raise InputError(msg)


def bundle_to_plan(
    tenant: TenantContext, tasks: Sequence[Task], ports: PromotionPorts, asked: str | None = None
) -> tuple[Bundle, str]:
    """Return the bundle a run is planned against, and the reference that meant it.

    The tenant's champion, which MLflow must show; or the one that was asked for. Raises
    `UnknownBundleError`, and `BundleMismatchError` with the differences and what mends them.
    """
    if asked is not None:
        bundle = ports.bundles.find(tenant, asked)
        check_tasks(bundle, tasks)
        return bundle, asked
    reference = BundleRef.champion(tenant)
    with ports.log.exclusive(tenant, PROMOTION_KIND):
        bundle = ports.bundles.find(tenant, reference)
        check_tasks(bundle, tasks)
        _require_agreement(tenant, bundle, ports.registry)
    return bundle, str(reference)


def _require_agreement(tenant: TenantContext, bundle: Bundle, registry: Registry) -> None:
    found = differences(bundle, registry)
    if not found:
        return
    own = f"--tenant {tenant.tenant_id}"
    msg = (
        f"MLflow shows other versions than {bundle.bundle_id}, the champion of "
        f"'{tenant.tenant_id}': {'; '.join(map(str, found))}. To run what MLflow shows: "
        f"`plata bundles create {own} --promote`. To show in MLflow what runs: "
        f"`plata bundles restore {own}`"
    )
    raise BundleMismatchError(msg)


def champion_of(tenant: TenantContext, bundles: BundleLog) -> Bundle | None:
    """Return the bundle a tenant's runs are planned against, None before the first."""
    meant = bundles.aliases(tenant, tenant.tenant_id).get(CHAMPION)
    return None if meant is None else bundles.find(tenant, meant)


def successor(
    tenant: TenantContext, tasks: Sequence[Task], changes: Changes, ports: PromotionPorts
) -> Bundle:
    """Return the champion with some parts changed, checked to fit; nothing is kept or moved.

    Raises `UnknownBundleError` where the tenant has no champion yet.
    """
    champion = ports.bundles.find(tenant, BundleRef.champion(tenant))
    bundle = with_changes(bundle_like(champion, tasks, ports.registry), changes, ports.registry)
    check_fit(bundle, tasks, ports.registry)
    return bundle


def judge_bundle(
    tenant: TenantContext,
    bundle: Bundle,
    asked: Asked,
    policy: GatePolicy,
    ports: PromotionPorts,
    *,
    also: Sequence[Gate] = (),
) -> Outcome:
    """Hold a bundle against the champion, gate by gate, and promote nothing.

    `also` are gates that were asked before, such as the tests of its prompts.
    """
    before = champion_of(tenant, ports.bundles)
    if before is None or before.bundle_id == bundle.bundle_id:
        return Outcome(bundle, before, None, promoted=False)
    measures = measures_of(
        tenant,
        bundle,
        before,
        log=ports.evaluations,
        registry=ports.registry,
        asked_by=asked.by,
        approved_by=asked.approved_by,
    )
    verdict = Verdict((*judge(policy, measures).gates, *also))
    return Outcome(bundle, before, verdict, promoted=False)


def judge_and_promote(
    tenant: TenantContext,
    bundle: Bundle,
    asked: Asked,
    policy: GatePolicy,
    ports: PromotionPorts,
    *,
    also: Sequence[Gate] = (),
    on_step: OnStep = unobserved,
) -> Outcome:
    """Promote a bundle if every gate lets it, or `asked.force` says to all the same.

    The first bundle has no champion to be judged against. Asked again for what is the champion
    already, it finishes what was begun.
    """
    with ports.log.exclusive(tenant, PROMOTION_KIND):
        judged = judge_bundle(tenant, bundle, asked, policy, ports, also=also)
        passed = judged.verdict is None or judged.verdict.passed
        if not (passed or asked.force):
            return judged
        said = None
        if judged.verdict is not None:
            said = {**judged.verdict.as_dict(), "policy": policy.as_dict()}
        decision = Decision(asked.by, asked.reason, forced=not passed, verdict=said)
        moved = _move(tenant, bundle, decision, ports, on_step)
        return replace(judged, promoted=moved, forced=not passed)


def promote_bundle(
    tenant: TenantContext,
    bundle: Bundle,
    decision: Decision,
    ports: PromotionPorts,
    *,
    on_step: OnStep = unobserved,
) -> bool:
    """Make a bundle the champion; False where it is already. Done again, it finishes what was
    begun. Runs planned from now on use it, a run that was planned keeps its own.
    """
    with ports.log.exclusive(tenant, PROMOTION_KIND):
        return _move(tenant, bundle, decision, ports, on_step)


def _move(
    tenant: TenantContext,
    bundle: Bundle,
    decision: Decision,
    ports: PromotionPorts,
    on_step: OnStep,
) -> bool:
    name = tenant.tenant_id
    tuple(shown_by_mlflow(bundle))
    ports.bundles.keep(tenant, name, bundle, by=decision.by, note=decision.reason)
    on_step("before the move in Postgres")
    moved = ports.bundles.move(
        tenant,
        name,
        CHAMPION,
        bundle.bundle_id,
        by=decision.by,
        reason=decision.reason,
        forced=decision.forced,
        verdict=decision.verdict,
    )
    on_step("after the move in Postgres")
    _show(bundle, ports.registry, on_step)
    return moved


def _show(bundle: Bundle, registry: Registry, on_step: OnStep) -> list[Difference]:
    found = differences(bundle, registry)
    for difference in found:
        own = difference.shown
        promote = (
            registry.promote_model if isinstance(own.ref, ModelRef) else registry.promote_prompt
        )
        promote(own.ref.name, own.ref.version, own.alias)
        on_step(f"after {own.ref.name}@{own.alias} in MLflow")
    return found


def restore(
    tenant: TenantContext, ports: PromotionPorts, *, on_step: OnStep = unobserved
) -> tuple[Bundle, list[Difference]]:
    """Let MLflow show the champion again; return it and what MLflow had shown instead."""
    with ports.log.exclusive(tenant, PROMOTION_KIND):
        bundle = ports.bundles.find(tenant, BundleRef.champion(tenant))
        return bundle, _show(bundle, ports.registry, on_step)


def roll_back(
    tenant: TenantContext,
    tasks: Sequence[Task],
    decision: Decision,
    ports: PromotionPorts,
    *,
    to: str | None = None,
    on_step: OnStep = unobserved,
) -> Bundle:
    """Make an earlier champion the champion again: the one before, or the one named.

    No gate is asked: what ran before may run again. One that was killed on its way to MLflow is
    finished, and goes no step further. Raises `InputError` where there is none before.
    """
    with ports.log.exclusive(tenant, PROMOTION_KIND):
        history = ports.bundles.history(tenant, tenant.tenant_id)
        champions = champions_in(history)
        if to is None and (begun := _begun_rollback(tenant, history, ports)) is not None:
            to = begun
        if to is None and len(champions) < 2:
            msg = (
                f"'{tenant.tenant_id}' has no champion before the one it has; name a bundle with "
                f"--to, see `plata bundles list --tenant {tenant.tenant_id}`"
            )
            raise InputError(msg)
        bundle = ports.bundles.find(tenant, champions[-2] if to is None else to)
        if all(bundle.bundle_id != move.after for move in history if move.alias == CHAMPION):
            msg = (
                f"{bundle.bundle_id} was never the champion of '{tenant.tenant_id}', so there is "
                f"nothing to go back to; judge it with `plata promote {bundle.bundle_id} "
                f"--tenant {tenant.tenant_id}`"
            )
            raise InputError(msg)
        check_tasks(bundle, tasks)
        _move(tenant, bundle, decision, ports, on_step)
        return bundle


def _begun_rollback(
    tenant: TenantContext, history: Sequence[Move], ports: PromotionPorts
) -> str | None:
    """Return where the newest move went back to, if MLflow does not show it yet."""
    moves = [move for move in history if move.alias == CHAMPION]
    if not moves or moves[0].after not in champions_in(moves[1:]):
        return None
    bundle = ports.bundles.find(tenant, moves[0].after)
    return bundle.bundle_id if differences(bundle, ports.registry) else None


def champions_in(history: Sequence[Move]) -> list[str]:
    """Return the champions that stand one upon the other, the newest last.

    `history` is newest first. Going back to an earlier champion takes away those upon it, so that
    going back twice goes two steps, and not there and back again.
    """
    standing: list[str] = []
    for move in reversed(history):
        if move.alias != CHAMPION:
            continue
        if move.after in standing:
            del standing[standing.index(move.after) + 1 :]
        else:
            standing.append(move.after)
    return standing
