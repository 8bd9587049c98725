from __future__ import annotations

from dataclasses import replace

from lakehouse.manifest import Environment


def test_an_environment_names_what_we_import_without_the_builds_of_a_platform() -> None:
    here = Environment.here()
    assert {"numpy", "polars", "torch"} <= here.distributions.keys()
    assert not any("+" in version for version in here.distributions.values())
    assert here.digest == Environment.here().digest


def test_another_version_of_one_distribution_is_another_environment() -> None:
    here = Environment("3.11.7", {"numpy": "2.4.6", "polars": "2.1.0"})
    assert here.digest == "48316e47b8456ff9"
    assert replace(here, distributions={"polars": "2.1.0", "numpy": "2.4.6"}).digest == here.digest
    assert replace(here, python="3.11.8").digest != here.digest
    assert replace(here, distributions={"numpy": "2.4.7"}).digest != here.digest
