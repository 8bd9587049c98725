"""Promotions and rollbacks on a real Postgres and a real MLflow over SQLite, killed by SIGKILL.

As a program it kills one promotion and one rollback before each of the writes that are named by
their numbers; after each death it says what a plan finds, does the same again where that is not
done, and says what a plan finds then. It opens neither database itself: only its children do.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from mlflow.tracking import MlflowClient

from features.embed import EMBEDDING_MODEL, QUERY_PROMPT, QUERY_TEMPLATE
from lakehouse.control.postgres import Postgres
from lakehouse.control.tenants import TenantDirectory
from lakehouse.tenancy import TenantContext
from models.folder import write_config
from models.routing import RoutingPolicy
from models.task import Task
from models.zero_shot import default_prompt
from pipelines.bundles import Changes, bundle_of_aliases
from pipelines.errors import BundleMismatchError
from pipelines.promotion import (
    Decision,
    PromotionPorts,
    bundle_to_plan,
    promote_bundle,
    roll_back,
    successor,
)
from pipelines.train import register_baseline, register_zero_shot_prompt
from registry.mlflow_registry import MlflowRegistry
from registry.refs import ModelPackage, ModelRef

WRITES: tuple[tuple[type[Any], str], ...] = (
    (psycopg.Connection, "execute"),
    (psycopg.Connection, "commit"),
    (MlflowClient, "set_registered_model_alias"),
    (MlflowClient, "set_prompt_alias"),
)
"""Through what a promotion writes; statements that only read, and their commits, do not count."""


class Town:
    """A tenant with one task, whose champions are the rules, then version 2, then version 3."""

    def __init__(self, url: str, folder: Path, name: str) -> None:
        self.folder = folder
        self.tenant = TenantContext.parse(name)
        titles = {"agua": "Agua potable", "luz": "Energía"}
        model = f"{name}.tema"
        self.task = Task("tema", titles, "text", model, f"{model}.zero-shot", RoutingPolicy(0.8))
        self.postgres = Postgres(url)
        self.registry = MlflowRegistry(f"sqlite:///{folder}/mlflow.db", folder / "cache")
        self.ports = PromotionPorts.over(self.postgres, self.registry)

    def prepare(self) -> None:
        """Register everything, and promote the first champion and the second."""
        TenantDirectory(self.postgres).create(self.tenant, name="Muertes")
        embedding = self._register(EMBEDDING_MODEL, family="embedding")
        self.registry.promote_model(EMBEDDING_MODEL, embedding.version)
        read = self.registry.register_prompt(QUERY_PROMPT, QUERY_TEMPLATE, note="")
        self.registry.promote_prompt(QUERY_PROMPT, read.version)
        register_baseline(self.registry, self.tenant, self.task)
        register_zero_shot_prompt(self.registry, self.tenant, self.task)
        first = bundle_of_aliases([self.task], self.registry)
        promote_bundle(self.tenant, first, Decision("ana", "the first"), self.ports)
        for number in (2, 3):
            labels = list(self.task.labels)
            self._register(self.task.model, family="linear", labels=labels, number=number)
        words = default_prompt("tema", self.task.titles).text().replace("Energía", "Luz")
        self.registry.register_prompt(self.task.zero_shot_prompt, words, note="")
        self.promote("2")

    def _register(self, name: str, **config: object) -> ModelRef:
        folder = self.folder / f"{name}-{config.get('number', 1)}"
        folder.mkdir()
        write_config(folder, config)
        package = ModelPackage(name, folder, str(config["family"]), card="", example={"text": "a"})
        return self.registry.register_model(package)

    def promote(self, version: str = "3") -> None:
        """Promote a version as champion and baseline, beside another prompt: three aliases."""
        model = self.registry.model_version(self.task.model, version)
        prompt = self.registry.prompt_version(self.task.zero_shot_prompt, "2")
        models = {"tema": model} if version == "2" else {"tema": model, "tema.baseline": model}
        prompts = {} if version == "2" else {"tema.zero_shot": prompt}
        changes = Changes(models=models, prompts=prompts)
        bundle = successor(self.tenant, [self.task], changes, self.ports)
        promote_bundle(self.tenant, bundle, Decision("ana", "better"), self.ports)

    def go_back(self) -> None:
        """Go back to the champion before."""
        roll_back(self.tenant, [self.task], Decision("eva", "worse"), self.ports)

    def found(self) -> dict[str, Any]:
        """Tell what there is: in Postgres, in MLflow, and for a plan."""
        history = self.ports.bundles.history(self.tenant, self.tenant.tenant_id)
        champion = self.ports.bundles.find(self.tenant, f"bundle:/{self.tenant.tenant_id}@champion")
        try:
            bundle, _ = bundle_to_plan(self.tenant, [self.task], self.ports)
            plan = bundle.tasks[0].champion.version
        except BundleMismatchError as error:
            plan = str(error)
        return {
            "champion": champion.tasks[0].champion.version,
            "told": history[0].after == champion.bundle_id,
            "moves": len(history),
            "plan": plan,
        }


def die_at(number: int) -> None:
    """Make this process die right before the Nth write it would do."""
    left, inserted = [number], [False]

    def guarded(write: Callable[..., Any], *values: Any, **more: Any) -> Any:
        words = str(values[1]) if len(values) > 1 else ""
        inserts = write.__name__ == "execute" and "INSERT" in words
        counts = {"execute": inserts, "commit": inserted[0]}.get(write.__name__, True)
        inserted[0] = inserts or (inserted[0] and write.__name__ != "commit")
        left[0] -= counts
        if counts and left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(*values, **more)

    for kind, name in WRITES:
        setattr(kind, name, _method(guarded, getattr(kind, name)))


def _method(guarded: Callable[..., Any], write: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that hands itself and its values to `guarded`."""
    return lambda *values, **more: guarded(write, *values, **more)


def _in_child(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(url: str, folder: Path, name: str, numbers: Sequence[int]) -> None:
    """Kill promotions and rollbacks in turns; write a line of JSON about each."""
    assert _in_child(lambda: Town(url, folder, name).prepare()) == 0
    for number in numbers:
        for kind in ("promote", "go_back"):
            code = _in_child(partial(_die, url, folder, name, kind, number))
            assert _in_child(partial(_again, url, folder, name, kind, number, code)) == 0


def _die(url: str, folder: Path, name: str, kind: str, number: int) -> None:
    town = Town(url, folder, name)
    die_at(number)
    getattr(town, kind)()


def _again(url: str, folder: Path, name: str, kind: str, number: int, code: int) -> None:
    town, new = Town(url, folder, name), "3" if kind == "promote" else "2"
    found = town.found()
    if found["plan"] != new:
        getattr(town, kind)()
    line = {"kind": kind, "number": number, "code": code, "found": found, "then": town.found()}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    os.chdir(sys.argv[2])
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], [int(word) for word in sys.argv[4:]])
