"""What the gates of a promotion read: evaluations on record, and what a bundle changes."""

from __future__ import annotations

from lakehouse.control.evaluations import EvaluationLog
from lakehouse.tenancy import TenantContext
from models.folder import EMBEDDING, family_of, read_config
from models.gates import Measures, TaskContract, TaskMeasures, contract_changes
from registry.bundles import Bundle, TaskPins
from registry.refs import Registry


def measures_of(
    tenant: TenantContext,
    challenger: Bundle,
    champion: Bundle,
    *,
    log: EvaluationLog,
    registry: Registry,
    asked_by: str,
    approved_by: str | None,
) -> Measures:
    """Gather what is known of a challenger beside the champion.

    A task that both answer alike needs no evaluation; of the others the newest comparison counts.
    """
    known = {pins.task for pins in champion.tasks}
    measured: list[TaskMeasures] = []
    unmeasured: list[str] = []
    for task in (pins.task for pins in challenger.tasks if pins.task in known):
        new, old = challenger.answers_id(task), champion.answers_id(task)
        if new == old:
            continue
        found = log.newest(tenant, task, new, old)
        if found is None:
            unmeasured.append(task)
        else:
            measured.append(TaskMeasures.of(found.measures))
    return Measures(
        tasks=tuple(measured),
        unmeasured=tuple(unmeasured),
        contract_changes=contract_changes(
            [_contract(pins, registry) for pins in champion.tasks],
            [_contract(pins, registry) for pins in challenger.tasks],
        ),
        asked_by=asked_by,
        approved_by=approved_by,
    )


def _contract(pins: TaskPins, registry: Registry) -> TaskContract:
    """Say what the task promises; a folder that names no inputs reads what every run has."""
    folder = registry.fetch(pins.champion)
    config = {} if family_of(folder) == EMBEDDING else read_config(folder)
    inputs = tuple(config.get("inputs", ("text",)))
    return TaskContract(pins.task, pins.labels, pins.text_field, inputs)
