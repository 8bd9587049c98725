"""The door to Prefect: runs and retrainings as flows of few, coarse tasks, seen in its own pages.

What happens is decided elsewhere, in plain functions; here each step gets a name, the tenant's and
the run's tags, and another try where its error says that it may pass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import Any

import httpx
from prefect import flow, tags
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.tasks import Task as PrefectTask

from lakehouse.errors import ServiceUnavailableError, Transient
from lakehouse.manifest import RunManifest
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from models.task import Task
from pipelines.plan import RUN_KIND
from pipelines.retrain import Retraining, RetrainPorts, carry_out
from pipelines.retrain_policy import RetrainPolicy
from pipelines.retrain_round import Round, retrain
from pipelines.run import (
    PlannedRun,
    RunPorts,
    Tell,
    close_run,
    execute,
    open_run,
    tell_nobody,
)
from pipelines.train import Tell as Progress
from pipelines.train import say_nothing

FLOW_NAME = "raw-to-gold"
RETRAIN_FLOW = "retraining"
_RETRY_SECONDS = [2.0, 10.0]


def run_flow(
    tenant: TenantContext,
    tasks: Sequence[Task],
    ports: RunPorts,
    *,
    prefect_api_url: str,
    at: datetime,
    code_version: str = "unknown",
    bundle: str | None = None,
    tell: Tell = tell_nobody,
) -> RunManifest | None:
    """Run a tenant from Raw to Gold as a Prefect flow; None where nothing waits.

    Raises `TenantBusyError` where another process is at it, `ServiceUnavailableError` where Prefect
    does not answer, and whatever error of ours a step ended with.
    """
    with ports.log.exclusive(tenant, RUN_KIND), _talking_to(prefect_api_url):
        planned = open_run(tenant, tasks, ports, at=at, code_version=code_version, bundle=bundle)
        if planned is None:
            return None
        with tags(*_tags(planned.run)):
            seconds = _flow_of(planned, ports, tell)()
        return close_run(planned, ports, seconds=seconds)[0]


def _flow_of(planned: PlannedRun, ports: RunPorts, tell: Tell) -> Callable[[], Mapping[str, float]]:
    name = f"{planned.run.tenant.tenant_id} {planned.run.run_id}"

    @flow(name=FLOW_NAME, flow_run_name=name, validate_parameters=False, persist_result=False)
    def raw_to_gold() -> Mapping[str, float]:
        return execute(planned, ports, tell=tell, around=_as_task)

    return raw_to_gold


def retrain_flow(
    tenant: TenantContext,
    tasks: Sequence[Task],
    policy: RetrainPolicy,
    ports: RetrainPorts,
    *,
    prefect_api_url: str,
    now: datetime,
    task: str | None = None,
    asked: bool = False,
    code_version: str = "unknown",
    tell: Progress = say_nothing,
) -> Round:
    """Do one round of retraining, each retraining a Prefect flow; see `pipelines.retrain_round`."""

    def carry(retraining: Retraining) -> None:
        run = retraining.run
        name = f"{run.tenant.tenant_id} {retraining.task} {run.run_id}"

        @flow(
            name=RETRAIN_FLOW, flow_run_name=name, validate_parameters=False, persist_result=False
        )
        def retraining_flow() -> None:
            carry_out(retraining, tasks, ports, tell=tell, around=_as_task)

        with tags(*_tags(run)):
            retraining_flow()

    with _talking_to(prefect_api_url):
        return retrain(
            tenant,
            tasks,
            policy,
            ports,
            now=now,
            carry=carry,
            task=task,
            asked=asked,
            code_version=code_version,
        )


def _as_task(step: StrEnum, work: Callable[[], None]) -> None:
    """Perform one step as a Prefect task, tried again only where the error is `Transient`."""

    def perform() -> None:
        work()

    PrefectTask(
        fn=perform,
        name=step.value,
        task_run_name=step.value,
        retries=len(_RETRY_SECONDS),
        retry_delay_seconds=_RETRY_SECONDS,
        retry_condition_fn=_may_pass,
        cache_policy=NO_CACHE,
        persist_result=False,
    )()


def _may_pass(task: Any, task_run: Any, state: Any) -> bool:
    return isinstance(state.result(raise_on_failure=False), Transient)


def _tags(run: RunContext) -> tuple[str, str]:
    return (f"tenant:{run.tenant.tenant_id}", f"run:{run.run_id}")


@contextmanager
def _talking_to(url: str) -> Iterator[None]:
    """Use the Prefect server at `url`, and keep its log lines in its own pages."""
    with temporary_settings({PREFECT_API_URL: url}):
        _quieten()
        try:
            with get_client(sync_client=True) as client:
                failed = client.api_healthcheck()
        except (httpx.HTTPError, PrefectHTTPStatusError) as error:
            failed = error
        if failed is not None:
            raise ServiceUnavailableError.of("Prefect", url, str(failed)) from failed
        yield


def _quieten() -> None:
    """Keep Prefect's lines from the root logger, where it hangs its console when it is imported."""
    logging.getLogger("prefect").propagate = False
