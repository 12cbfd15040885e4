"""Alerts as events of two published schemas, to a topic of Kafka or to a file.

The Open Cybersecurity Schema Framework, OCSF 1.5: Detection Finding. The Elastic Common Schema, ECS 8.11.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from alerts.sinks.base import AlertSink, Row, millis_of, needed, text_of
from alerts.sinks.kafka import AlertTopic
from alerts.sinks.wording import Severity, details, headline, reasons, severity
from features.errors import EnvironmentProblem
from settings import Settings

TOPIC = "kafka:"
PRODUCT = "User Behavior Analysis"
OCSF_VERSION, ECS_VERSION = "1.5.0", "8.11.0"
CATEGORY, CLASS = 2, 2004
"""Findings; Detection Finding."""
ACTIVITIES = {"open": (2, "Update"), "closed": (3, "Close"), "withdrawn": (3, "Close"), "merged": (3, "Close")}
STATUSES = {"open": (1, "New"), "closed": (4, "Resolved"), "withdrawn": (4, "Resolved"), "merged": (4, "Resolved")}
SEVERITIES = {
    Severity.LOW: (2, "Low"), Severity.MEDIUM: (3, "Medium"), Severity.HIGH: (4, "High"),
    Severity.CRITICAL: (5, "Critical"),
}  # fmt: skip
LEARNING = 4
"""Analytic type: learning, by a model."""


class _SecurityEvents(AlertSink):
    """Appends every revision, from the first alert on."""

    from_start = True
    max_rows = 500
    name: str

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        target = needed(self.name, self.name, getattr(settings.sinks, self.name))
        is_topic = target.startswith(TOPIC)
        self._topic = AlertTopic(settings.kafka, target.removeprefix(TOPIC)) if is_topic else None
        self._file = Path(target)

    def event(self, row: Row) -> dict[str, Any]:
        raise NotImplementedError

    def send(self, rows: Sequence[Row]) -> int:
        texts = [json.dumps(self.event(row), ensure_ascii=False).encode(errors="replace") for row in rows]
        if self._topic is not None:
            self._topic.send(zip(rows, texts, strict=True))
            return 0
        try:
            with self._file.open("ab+") as file:
                if file.tell() and _last_byte(file) != b"\n":  # somebody was killed within a line
                    texts.insert(0, b"")
                file.write(b"".join(text + b"\n" for text in texts))
        except OSError as error:
            raise EnvironmentProblem(f"{self._file} cannot be written: {error.strerror}.") from error
        return 0


class OcsfSink(_SecurityEvents):
    """To ``sinks.ocsf``; ``finding_info.uid`` is the alert, ``metadata.uid`` the revision, which tells a repetition."""

    name = "ocsf"

    def event(self, row: Row) -> dict[str, Any]:
        return ocsf_finding(row)


class EcsSink(_SecurityEvents):
    """To ``sinks.ecs``; ``event.id`` is the revision, by which a repetition is told."""

    name = "ecs"

    def event(self, row: Row) -> dict[str, Any]:
        return ecs_alert(row)


def ocsf_finding(row: Row) -> dict[str, Any]:
    """A Detection Finding; times in milliseconds."""
    number, name = SEVERITIES[severity(row)]
    activity, activity_name = (1, "Create") if row["revision"] == 1 else ACTIVITIES[row["state"]]
    status, status_name = STATUSES[row["state"]]
    return {
        "activity_id": activity,
        "activity_name": activity_name,
        "category_uid": CATEGORY,
        "category_name": "Findings",
        "class_uid": CLASS,
        "class_name": "Detection Finding",
        "type_uid": 100 * CLASS + activity,
        "type_name": f"Detection Finding: {activity_name}",
        "time": millis_of(row["batch_time"]),
        "start_time": millis_of(row["first_window_start"]),
        "end_time": millis_of(row["last_window_start"]),
        "count": row["flagged_minutes"],
        "message": headline(row),
        "severity_id": number,
        "severity": name,
        "status_id": status,
        "status": status_name,
        "confidence_score": round(float(row["anomaly_percentile"])),
        "is_alert": True,
        "metadata": {
            "uid": f"{row['alert_id']}-{row['revision']}",
            "version": OCSF_VERSION,
            "product": {"name": PRODUCT, "vendor_name": PRODUCT},
        },
        "finding_info": {
            "uid": row["alert_id"],
            "title": headline(row),
            "desc": "; ".join([*reasons(row), details(row)]),
            "created_time": millis_of(row["raised_at"]),
            "modified_time": millis_of(row["batch_time"]),
            "first_seen_time": millis_of(row["first_window_start"]),
            "last_seen_time": millis_of(row["last_window_start"]),
            "types": ["Unusual behaviour"],
            "analytic": {
                "uid": f"{PRODUCT}, model {row['model_version']}", "name": "IsolationForest",
                "type_id": LEARNING, "type": "Learning (ML/DL)", "version": row["model_version"],
            },
        },
        "evidences": [{"actor": {"user": {"uid": row["user_id"]}}}],
    }  # fmt: skip


def ecs_alert(row: Row) -> dict[str, Any]:
    """An event of kind alert; the score as Elastic has it, 0 to 100."""
    number, _ = SEVERITIES[severity(row)]
    return {
        "@timestamp": text_of(row["batch_time"]),
        "ecs": {"version": ECS_VERSION},
        "message": headline(row),
        "event": {
            "kind": "alert",
            "category": ["intrusion_detection"],
            "type": ["end"] if row["state"] != "open" else ["start"] if row["revision"] == 1 else ["change"],
            "id": f"{row['alert_id']}-{row['revision']}",
            "dataset": "behavior.alerts",
            "module": "behavior",
            "provider": PRODUCT,
            "created": text_of(row["raised_at"]),
            "start": text_of(row["first_window_start"]),
            "end": text_of(row["last_window_start"]),
            "reason": "; ".join(reasons(row)) or headline(row),
            "severity": number,
            "risk_score": float(row["anomaly_percentile"]),
        },
        "rule": {"id": row["alert_id"], "name": "unusual behaviour", "version": row["model_version"]},
        "user": {"id": row["user_id"]},
        "related": {"user": [row["user_id"]]},
        "labels": {"state": row["state"], "alert_id": row["alert_id"]},
    }


def _last_byte(file: BinaryIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)
