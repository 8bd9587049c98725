from __future__ import annotations

from pipelines.plan import RunPlan
from registry.bundles import Bundle, TaskPins
from registry.refs import ModelRef, PromptRef

RULES = ModelRef("norte.tipo", "1", "c1")
PINS = TaskPins("tipo", ("p", "q"), "text", RULES, RULES, PromptRef("zs", "1", "d1"), 0.8, 0.05)
BUNDLE = Bundle(ModelRef("e5", "1", "a1"), PromptRef("e5-query", "1", "b1"), (PINS,), 7)


def test_a_plan_is_read_as_it_was_stored_and_names_its_bundle() -> None:
    plan = RunPlan(("file",), {"silver_tickets": 3}, (), BUNDLE, "bundle:/norte@champion")
    stored = plan.as_dict()
    assert stored["bundle_id"] == BUNDLE.bundle_id
    assert RunPlan.of(stored) == plan


def test_a_plan_stored_when_a_bundle_was_called_an_enrichment_is_read() -> None:
    plan = RunPlan((), {}, (), BUNDLE)
    stored = plan.as_dict()
    stored["enrichment"] = stored.pop("bundle")
    for name in ("bundle_id", "bundle_asked"):
        del stored[name]
    for task in stored["enrichment"]["tasks"]:
        del task["champion_prompt"]
    assert RunPlan.of(stored) == plan
