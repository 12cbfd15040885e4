"""No alert is lost however often its sender is killed, and none is there twice where receivers know a key."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from features.tables import ALERTS
from lake import arrow_tables
from lake.schemas import arrow_schema
from tests.paths import PROJECT
from tests.unit.alerts.sinks.receivers import NOON, Receiver, alert, receiver
from tests.unit.alerts.sinks.test_http_sinks import Jira

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("BEHAVIOR_TEST_KILLS", "5"))
RAISED = 120
NAMES = ("webhook", "slack", "pagerduty", "jira", "ocsf")


@pytest.fixture
def there() -> Iterator[dict[str, Receiver]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(receiver()) for name in NAMES if name != "ocsf"}


def write(root: Path) -> set[str]:
    """Alerts, some of which end, in commits of three; their revisions."""
    names = arrow_schema(ALERTS).names
    revisions = set()
    arrow_tables.opened(str(root), ALERTS)
    for number in range(0, RAISED, 3):
        rows = []
        for at in range(number, number + 3):
            rows.append(alert(f"a{at}", 1, user_id=f"user-{at}"))
            if at % 4 == 0:
                rows.append(alert(f"a{at}", 2, user_id=f"user-{at}", state="closed"))
        told = [row | {"batch_time": NOON + timedelta(seconds=number), "batch_id": f"b:{number}"} for row in rows]
        arrow_tables.append(str(root), ALERTS, [{name: row.get(name) for name in names} for row in told])
        revisions |= {f"{row['alert_id']}-{row['revision']}" for row in told}
    return revisions


def command(folder: Path, there: dict[str, Receiver]) -> list[str]:
    chosen = [
        f"alerts.sinks=[{', '.join(NAMES)}]", "alerts.webhook_attempts=5", "sinks.pause_seconds=0",
        f"alerts.webhook={there['webhook'].url}/hook", f"sinks.slack_url={there['slack'].url}/slack",
        f"sinks.pagerduty_url={there['pagerduty'].url}/v2/enqueue", "sinks.pagerduty_key=k",
        f"sinks.jira_url={there['jira'].url}", "sinks.jira_user=ada", "sinks.jira_token=t", "sinks.jira_project=SEC",
        f"sinks.ocsf={folder / 'ocsf.jsonl'}",
    ]  # fmt: skip
    return [sys.executable, "-m", "tests.integration.sending", str(folder / "lake"), str(folder / "places"), *chosen]


def test_alerts_reach_every_sink_although_their_sender_is_killed(tmp_path: Path, there: dict[str, Receiver]) -> None:
    chance = random.Random(9)
    jira = Jira()
    there["jira"].answer = jira.answer
    (tmp_path / "places").mkdir()
    for name in NAMES:  # as they were left before there was an alert
        (tmp_path / "places" / f"{name}.json").write_text(json.dumps({"through": (NOON - timedelta(1)).isoformat()}))
    revisions = write(tmp_path / "lake")
    words = command(tmp_path, there)
    for _ in range(KILLS):
        with subprocess.Popen(words, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as sending:
            assert sending.stdout is not None
            assert sending.stdout.readline() == "sending\n"
            time.sleep(chance.uniform(0, 0.4))
            sending.send_signal(signal.SIGKILL)
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]

    assert {asked.headers["idempotency-key"] for asked in there["webhook"].asked} == revisions
    told = [json.loads(line) for line in (tmp_path / "ocsf.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {one["metadata"]["uid"] for one in told} == revisions
    incidents = {(asked.json["dedup_key"], asked.json["event_action"]) for asked in there["pagerduty"].asked}
    assert {key for key, action in incidents if action == "trigger"} == {f"a{at}" for at in range(RAISED)}
    assert {key for key, action in incidents if action == "resolve"} == {f"a{at}" for at in range(0, RAISED, 4)}
    issues = Counter(issue["labels"][1] for issue in jira.issues)
    assert issues == {f"behavior-alert-a{at}": 1 for at in range(RAISED)}
    assert {key for key, _ in jira.comments} == {
        f"SEC-{at}" for at, issue in enumerate(jira.issues) if int(issue["labels"][1].split("-a")[-1]) % 4 == 0
    }
    sections = sum(
        int(block["elements"][0]["text"].split()[1]) if block["type"] == "context" else 1
        for asked in there["slack"].asked
        for block in asked.json["blocks"]
    )
    assert sections >= RAISED
