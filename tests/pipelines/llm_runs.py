"""Runs whose champion of `tipo` is an LLM, over the quick models of `killable` for all the rest.

As a program it does one such run, to be killed while it asks.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from lakehouse.control.llm_ledger import LlmLedger
from lakehouse.control.postgres import Postgres
from models.chat import Caller, CallLimits
from models.llm import LlmModel
from models.llm_desk import LlmDesk
from models.llm_prompt import default_llm_prompt
from models.openai_endpoint import OpenAiEndpoint
from pipelines.enrich import ModelSteps
from pipelines.run import RunPorts, run_tenant
from registry.refs import ModelRef, PromptRef, text_digest

killable: Any = importlib.import_module("killable")

TITLES = {"peticion": "Petición", "queja": "Queja", "reclamo": "Reclamo"}
TEMPLATE = default_llm_prompt("tipo", TITLES).text()
PROMPT = PromptRef("norte.tipo.llm", "1", text_digest(TEMPLATE))


class LlmRegistry(killable.FixedRegistry):
    """The fixed registry, in which the champion of `norte.tipo` is an LLM."""

    def fetch(self, model: ModelRef) -> Path:
        folder: Path = super().fetch(model)
        if (model.name, model.version) == ("norte.tipo", "2"):
            LlmModel.of(
                {
                    "endpoint": "local",
                    "model": "prueba-1",
                    "labels": list(TITLES),
                    "prompt": {
                        "name": PROMPT.name,
                        "version": PROMPT.version,
                        "digest": PROMPT.digest,
                    },
                    "prices": {"prompt": "1", "completion": "2"},
                }
            ).save(folder)
        return folder

    def template(self, prompt: PromptRef) -> str:
        if prompt == PROMPT:
            return TEMPLATE
        return str(super().template(prompt))


def llm_ports(url: str, lake: Path, server_url: str, *, concurrency: int = 2) -> RunPorts:
    """Build the real ports of such a run."""
    limits = CallLimits(
        concurrency=concurrency, attempts=2, timeout=1.0, deadline=3.0, first_pause=0.01, failures=3
    )

    def caller() -> Caller:
        endpoint = OpenAiEndpoint(server_url, "una-llave-de-prueba", connections=concurrency)
        return Caller(endpoint, limits)

    desk = LlmDesk({"local": caller}, LlmLedger(Postgres(url)))
    models = ModelSteps(killable.quick_embed, killable.quick_classify, llm=desk.open)
    ports: RunPorts = killable.ports_at(url, lake, models)
    ports = replace(ports, registry=LlmRegistry(lake.parent))
    killable.promote_aliases(killable.NORTE, killable.tasks(), ports)
    return ports


if __name__ == "__main__":
    given_url, given_lake, given_server = sys.argv[1:]
    run_tenant(
        killable.NORTE,
        killable.tasks(),
        llm_ports(given_url, Path(given_lake), given_server, concurrency=1),
        at=killable.SECOND,
    )
