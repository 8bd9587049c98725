"""A call that forgets the tenant reads everybody's data: every port's method names one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import pytest

from features.index import EmbeddingIndex
from labeling.queue import ReviewQueue
from lakehouse.control.catalogue import TableCatalogue
from lakehouse.control.drift import DriftLog
from lakehouse.control.evaluations import EvaluationLog
from lakehouse.control.landings import LandingIndex
from lakehouse.control.llm_ledger import LlmLedger
from lakehouse.control.plans import PlanLog
from lakehouse.control.runs import RunLog
from lakehouse.control.served import ServedTables
from lakehouse.data.history import TableHistory
from lakehouse.data.maintenance import TableMaintenance
from lakehouse.data.storage import FileStore
from lakehouse.data.tables import TableStore
from lakehouse.run import RunContext
from lakehouse.tenancy import TenantContext
from registry.bundle_log import BundleLog

PORTS: list[type] = [
    TableStore,
    TableHistory,
    TableMaintenance,
    FileStore,
    PlanLog,
    RunLog,
    LandingIndex,
    DriftLog,
    EvaluationLog,
    TableCatalogue,
    ServedTables,
    LlmLedger,
    EmbeddingIndex,
    BundleLog,
    ReviewQueue,
]


def ports() -> Iterator[Any]:
    for port in PORTS:
        for name, method in inspect.getmembers(port, inspect.isfunction):
            if not name.startswith("_"):
                yield pytest.param(method, id=f"{port.__name__}.{name}")


@pytest.mark.parametrize("method", list(ports()))
def test_the_call_names_its_tenant(method: Callable[..., Any]) -> None:
    assert {TenantContext, RunContext} & set(get_type_hints(method).values())


@pytest.mark.parametrize("port", PORTS)
def test_the_walk_finds_methods_to_judge(port: type) -> None:
    public = [n for n, _ in inspect.getmembers(port, inspect.isfunction) if not n.startswith("_")]
    assert len(public) >= 2
