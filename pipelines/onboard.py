"""Make a tenant ready to run: its row, its configuration, and the baseline it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lakehouse.control.tenants import TenantDirectory
from lakehouse.tenancy import TenantContext
from pipelines.tenant_config import tasks_of
from pipelines.train import register_baseline, register_zero_shot_prompt
from registry.refs import ModelRef, PromptRef, Registry


@dataclass(frozen=True, slots=True)
class Onboarded:
    """What a tenant has now. `created` is False where it was there before."""

    tenant: TenantContext
    created: bool
    config_version: int
    baselines: tuple[ModelRef, ...]
    prompts: tuple[PromptRef, ...]


def onboard(
    tenant: TenantContext,
    *,
    name: str,
    values: Mapping[str, Any],
    tenants: TenantDirectory,
    registry: Registry,
) -> Onboarded:
    """Register a tenant with its rules baselines and zero-shot prompts; twice changes nothing."""
    tasks = tasks_of(values, tenant)
    created = tenants.create(tenant, name=name)
    config = tenants.configure(tenant, values)
    baselines = tuple(register_baseline(registry, tenant, task) for task in tasks)
    prompts = tuple(register_zero_shot_prompt(registry, tenant, task) for task in tasks)
    return Onboarded(tenant, created, config.version, baselines, prompts)
