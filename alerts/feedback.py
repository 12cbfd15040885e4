"""What analysts say of alerts: written and read without Spark, so that the API can; read as frames for training."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from features.errors import UsageError
from features.tables import FEEDBACK
from lake import arrow_tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from lake.spark_tables import Lake

MICROSECOND = timedelta(microseconds=1)
MAX_NOTE = 2000
MAX_NAME = 200
CONFIRMED = ("user_id", "first_window_start", "last_window_start")
COPIED = ("alert_id", "user_id", "session_start", "first_window_start", "last_window_start")


def record(
    root: str, alert: Mapping[str, Any], *, is_true: bool, analyst: str | None = None, note: str | None = None
) -> dict[str, Any]:
    """Append what an analyst found out about an alert (a row of table ``alerts``); returns the row of ``feedback``.

    Raises:
        UsageError: the note or the name is too long.
        EnvironmentProblem: the table cannot be written.
    """
    for name, text, most in (("note", note, MAX_NOTE), ("analyst", analyst, MAX_NAME)):
        if text is not None and len(text) > most:
            raise UsageError(f"The {name} has {len(text)} characters; needed: at most {most}.")
    # The newest verdict is valid: one that is given after another is later, whatever the clock says.
    before = newest(root, str(alert["alert_id"])).get(str(alert["alert_id"]))
    now = datetime.now(UTC)
    row = {
        "feedback_id": uuid.uuid4().hex,
        **{name: alert[name] for name in COPIED},
        "verdict": "true" if is_true else "false",
        "note": note,
        "analyst": analyst,
        "at": now if before is None else max(now, before["at"] + MICROSECOND),
    }
    arrow_tables.append(root, FEEDBACK, [row])
    return row


def newest(root: str, alert_id: str | None = None) -> dict[str, dict[str, Any]]:
    """The newest feedback of every alert (or of one), by ``alert_id``."""
    where = None if alert_id is None else pc.field("alert_id") == alert_id
    rows = arrow_tables.read(root, FEEDBACK, where=where).to_pylist()
    return {row["alert_id"]: row for row in sorted(rows, key=lambda row: (row["at"], row["feedback_id"]))}


def verdicts(lake: Lake) -> DataFrame | None:
    """The newest feedback of every alert, with the columns of table ``feedback``; None where there is no table yet."""
    from pyspark.sql import functions as F  # noqa: PLC0415  # the server and raise_alerts do without Spark

    if not lake.exists(FEEDBACK):
        return None
    last = F.max_by(F.struct(*FEEDBACK.columns), F.struct("at", "feedback_id"))
    return lake.read(FEEDBACK).groupBy("alert_id").agg(last.alias("row")).select("row.*")


def confirmed(lake: Lake) -> DataFrame | None:
    """What is anomalous indeed: user_id, first_window_start and last_window_start (inclusive) of such alerts."""
    rows = verdicts(lake)
    return None if rows is None else rows.where("verdict = 'true'").select(*CONFIRMED)
