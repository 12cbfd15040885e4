"""The bodies of responses in the OpenAPI document, with an example."""

from __future__ import annotations

from typing import Any

from features import tables
from features.definitions import FEATURES
from online.entries import SCORE_COLUMNS
from serving.responses.json_schema import (
    NUMBER,
    TEXT,
    TIME,
    an_array,
    an_object,
    nullable,
    of_column,
    of_table,
    of_type,
)

REASON = of_type(tables.REASON)
ORIGIN = {"threshold": NUMBER, "model_name": TEXT, "model_version": TEXT}
ANSWER = an_object(
    {
        "behavior_prediction": {"enum": ["Anomaly", "Normal"]},
        "verdict": {"enum": ["normal", "anomaly", "insufficient_data"]},
        "anomaly_score": nullable(NUMBER | {"description": "0 to 1, higher is stranger"}),
        "anomaly_percentile": nullable(NUMBER | {"description": "share of the training rows with a lower score"}),
        **ORIGIN,
        "reasons": an_array(REASON),
        "assumed_typical": {"type": "object", "additionalProperties": NUMBER},
        "not_used": an_array(TEXT),
    }
)
ANSWER_EXAMPLE = {
    "behavior_prediction": "Anomaly",
    "verdict": "anomaly",
    "anomaly_score": 0.612,
    "anomaly_percentile": 99.7,
    "threshold": 0.571,
    "reasons": [
        {
            "feature": "clicks_per_minute",
            "value": 18.0,
            "expected": 2.0,
            "direction": "high",
            "contribution": 0.11,
            "text": "18 clicks per minute: clicking faster than people do; usually 2, and under 9 for 99 % of all",
        }
    ],
    "model_name": "user_behavior_anomaly_model",
    "model_version": "3",
    "assumed_typical": {"session_minutes": 6.0},
    "not_used": [],
}
PROBLEM = an_object(
    {"title": TEXT, "status": {"type": "integer"}, "detail": TEXT},
    errors=an_array(an_object({"field": TEXT, "reason": TEXT, "detail": TEXT})),
)
ALERT = of_table(tables.ALERTS, "batch_time", "batch_id")
FEEDBACK = an_object(
    {name: of_column(tables.FEEDBACK.schema[name]) for name in ("feedback_id", "verdict", "note", "analyst", "at")}
)
FEATURE_VALUES = an_object({feature.name: nullable(NUMBER) for feature in FEATURES})
MINUTE = an_object({"window_start": TIME, "session_start": TIME, "features": FEATURE_VALUES})
SCORE = {name: of_column(tables.SCORES.schema[name]) for name in ("window_start", *SCORE_COLUMNS)}
PAST = {name: SCORE[name] for name in ("window_start", "anomaly_score", "anomaly_percentile", "verdict")}
SEGMENT = an_object(
    {name: of_column(tables.SEGMENTS.schema[name]) for name in ("day", "segment_id", "name", "description", "share")}
)
LINK = an_object(
    {
        **dict.fromkeys(("user_id", "anonymous_id"), TEXT),
        "linked_at": of_column(tables.IDENTITIES.schema["linked_at"]),
        "source": TEXT | {"description": "the topic of the event that had both ids"},
        "is_undone": {"type": "boolean"},
        "lent_from": nullable(TIME | {"description": "from here on the user's rows are made of what the id did, too"}),
        "lent_until": nullable(TIME | {"description": "... up to here: then another user was linked to it"}),
    }
)
PERSON = an_object(
    {
        "user_id": TEXT,
        "latest": MINUTE,
        "judgement": nullable(an_object(SCORE)),
        "segment": nullable(SEGMENT),
        "alerts": an_array(ALERT),
        "history": an_array(an_object(PAST)),
    }
)
FEATURE = an_object(
    {
        "name": TEXT,
        "meaning": TEXT,
        "unit": TEXT,
        "most": nullable(NUMBER),
        "used": {"type": "boolean"},
        "typical": nullable(NUMBER),
    }
)


def problems(*answers: tuple[int, str]) -> dict[int | str, dict[str, Any]]:
    """Answers that are problem details."""
    content = {"application/problem+json": {"schema": PROBLEM}}
    return {status: {"description": description, "content": content} for status, description in answers}
