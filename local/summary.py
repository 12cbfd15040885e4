"""What a run has done, at its end: counts, and how well labelled behaviour was found."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table as RichTable

from features.revisions import latest, latest_in_arrow
from features.sense import doubts
from features.tables import ALERTS, EVENTS, REJECTED_EVENTS, SCORES
from lake import arrow_tables
from lake.spark_tables import Lake
from local.watch import Watch


@dataclass(frozen=True)
class UserVerdict:
    """One user over all the newest scores: minutes scored and minutes flagged."""

    scored: int
    flagged: int


def verdicts(lake: Lake) -> dict[str, UserVerdict]:
    """Per user: how many of the user's minutes were scored, by their newest revisions, and how many are anomalies."""
    rows = (
        latest(lake.read(SCORES), SCORES)
        .groupBy("user_id")
        .agg(
            F.count_if(F.col("verdict") != "insufficient_data").alias("scored"),
            F.count_if(F.col("verdict") == "anomaly").alias("flagged"),
        )
        .collect()
    )
    return {row["user_id"]: UserVerdict(row["scored"], row["flagged"]) for row in rows}


def summarise(console: Console, lake: Lake, watch: Watch, *, labels: Path | None, seconds: float) -> None:
    """Print the summary of a run."""
    events, rejected = lake.read(EVENTS).count(), lake.read(REJECTED_EVENTS)
    reasons = {row["reason"]: row["count"] for row in rejected.groupBy("reason").count().collect()}
    by_user = verdicts(lake)
    windows = lake.read(SCORES).select("user_id", "window_start").distinct().count()
    numbers = RichTable(title=f"summary after {seconds:.0f} s", title_justify="left", show_header=False)
    rows = [
        ("events in", f"{watch.ingested:,} in this run, {events + sum(reasons.values()):,} in the tables"),
        ("  accepted", f"{events:,}"),
        (
            "  rejected",
            f"{sum(reasons.values()):,}" + "".join(f", {name} {count:,}" for name, count in reasons.items()),
        ),
        (
            "users",
            f"{len(by_user):,}, {sum(user.scored > 0 for user in by_user.values()):,} with enough behaviour to score",
        ),
        ("windows scored", f"{windows:,} user-minutes"),
        ("anomalous users", f"{sum(user.flagged > 0 for user in by_user.values()):,}"),
        ("alerts", _alerts(lake)),
    ]
    if watch.first_score_at is not None:
        rows.append(("first scores", f"{watch.first_score_at - watch.began:.0f} s after the start"))
    if (delay := watch.delay()) is not None:
        middle, late = delay
        measured = f"over the newest {len(watch.delays):,} live rows"
        rows.append(("event to score", f"p50 {middle:.1f} s, p95 {late:.1f} s {measured}"))
    for row in rows:
        numbers.add_row(*row)
    console.print(numbers)
    for sentence in doubts(watch.tally):
        console.print(f"Warning: {sentence}", markup=False, highlight=False, soft_wrap=True)
    if labels is not None:
        console.print(_by_persona(labels, by_user))


def _alerts(lake: Lake) -> str:
    """How many user sessions were told of, by state."""
    rows = arrow_tables.read(lake.root, ALERTS, ["alert_id", "state", "batch_time", "batch_id"])
    states = Counter(latest_in_arrow(rows, ALERTS)["state"].to_pylist())
    return f"{states.total():,} user sessions" + "".join(
        f", {count:,} {state}" for state, count in sorted(states.items())
    )


def _by_persona(labels: Path, by_user: dict[str, UserVerdict]) -> RichTable:
    """Users flagged by persona; precision and recall over users that could be scored."""
    people: dict[tuple[bool, str], list[UserVerdict]] = defaultdict(list)
    with labels.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["user_id"] in by_user:
                people[row["is_anomalous"] == "true", row["persona"]].append(by_user[row["user_id"]])
    table = RichTable(title="found by persona", title_justify="left")
    for name in ("persona", "label", "seen", "scored", "flagged"):
        table.add_column(name, justify="left" if name in ("persona", "label") else "right")
    caught = missed = false_alarms = 0
    for (strange, persona), users in sorted(people.items()):
        scored = [user for user in users if user.scored]
        flagged = sum(user.flagged > 0 for user in scored)
        if strange:
            caught, missed = caught + flagged, missed + len(scored) - flagged
        else:
            false_alarms += flagged
        label = "strange" if strange else "ordinary"
        table.add_row(persona, label, f"{len(users):,}", f"{len(scored):,}", f"{flagged:,}")
    precision = f"{caught / (caught + false_alarms):.2f}" if caught + false_alarms else "-"
    recall = f"{caught / (caught + missed):.2f}" if caught + missed else "-"
    table.caption = f"precision {precision}, recall {recall} over users that could be scored"
    return table
