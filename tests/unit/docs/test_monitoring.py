"""The dashboard and the alert rules speak of series that exist, and each alert has its page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
import yaml
from prometheus_client import REGISTRY

from telemetry import metrics
from tests.paths import PROJECT

FOLDER = PROJECT / "docs" / "deploy" / "monitoring"
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]


def used_in(text: str) -> set[str]:
    return {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in re.findall(r"behavior_\w+", text)}


def test_dashboard_and_rules_name_only_series_that_the_jobs_serve() -> None:
    assert metrics.DELAY is not None
    served = {family.name for family in REGISTRY.collect()}
    panels = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    named = set().union(*map(used_in, [*shown, *[rule["expr"] for rule in RULES]]))
    assert named
    assert named <= served


def test_every_alert_has_its_page_in_the_runbook_and_no_page_is_left_over() -> None:
    pages = re.findall(r"^## (\w+)$", (FOLDER / "runbook.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert pages == [rule["alert"] for rule in RULES]
    assert all(rule["annotations"]["runbook"] == f"runbook.md#{rule['alert'].lower()}" for rule in RULES)


def test_every_trouble_raises_its_alert_and_a_job_that_is_well_none() -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("There is no promtool: apt-get install prometheus (Debian), then run the tests again.")
    tried = (FOLDER / "alerts_test.yaml").read_text(encoding="utf-8")
    assert all(tried.count(f"alertname: {rule['alert']}\n") == 1 for rule in RULES)
    done = subprocess.run(
        [program, "test", "rules", "alerts_test.yaml"], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
