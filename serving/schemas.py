"""What the OpenAPI document says of each route, with examples; feature names and bounds come from their definitions."""

from __future__ import annotations

from typing import Any

from pyspark.sql.types import ArrayType, BooleanType, DataType, DoubleType, LongType, StructField, StructType

from features import tables
from features.definitions import FEATURES
from training.reference import LARGEST

Schema = dict[str, Any]

TIME: Schema = {"type": "string", "format": "date-time"}
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}


def maybe(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def an_object(required: Schema, /, **optional: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


def an_array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def of_column(field: StructField) -> Schema:
    """A table's column as JSON has it."""
    schema = _of_type(field.dataType)
    comment = (field.metadata or {}).get("comment")
    described = {**schema, "description": comment} if comment else schema
    return maybe(described) if field.nullable else described


def of_table(table: tables.Table, *without: str) -> Schema:
    """A row of a table."""
    return an_object({field.name: of_column(field) for field in table.schema if field.name not in without})


def _of_type(kind: DataType) -> Schema:
    if isinstance(kind, ArrayType):
        return an_array(_of_type(kind.elementType))
    if isinstance(kind, StructType):
        return an_object({field.name: of_column(field) for field in kind})
    if isinstance(kind, BooleanType):
        return {"type": "boolean"}
    if isinstance(kind, DoubleType):
        return NUMBER
    if isinstance(kind, LongType):
        return {"type": "integer"}
    return TIME if kind.typeName() == "timestamp" else TEXT


# --- requests ---

VALUES: Schema = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "properties": {
        feature.name: {
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": feature.most or LARGEST,
            "description": f"{feature.meaning} ({feature.unit})",
        }
        for feature in FEATURES
    },
}
"""Feature values; null is a feature that was left out."""
ORIGINAL = {"clicks_per_minute": 18, "pages_per_session": 5}
SCRAPER = {"events_per_minute": 120, "pages_per_session": 640, "gap_equal_share": 0.9, "view_share": 1}
EXAMPLES = {
    "original": {"summary": "two features", "value": ORIGINAL},
    "scraper": {"summary": "a scraper", "value": SCRAPER},
}
BATCH: Schema = {"anyOf": [an_array(VALUES) | {"minItems": 1}, an_object({"rows": an_array(VALUES) | {"minItems": 1}})]}
BATCH["anyOf"][1]["additionalProperties"] = False
WORD: Schema = {
    "type": "object",
    "required": ["verdict"],
    "additionalProperties": False,
    "properties": {
        "verdict": {"enum": [True, False, "true", "false"], "description": "true: an anomaly indeed"},
        "note": {"type": ["string", "null"], "maxLength": 2000},
        "analyst": {"type": ["string", "null"], "maxLength": 200},
    },
}

# --- answers ---

REASON = _of_type(tables.REASON)
ORIGIN = {"threshold": NUMBER, "model_name": TEXT, "model_version": TEXT}
ANSWER = an_object(
    {
        "behavior_prediction": {"enum": ["Anomaly", "Normal"]},
        "verdict": {"enum": ["normal", "anomaly", "insufficient_data"]},
        "anomaly_score": maybe(NUMBER | {"description": "0 to 1, higher is stranger"}),
        "anomaly_percentile": maybe(NUMBER | {"description": "share of the training rows with a lower score"}),
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
SAID = an_object(
    {name: of_column(tables.FEEDBACK.schema[name]) for name in ("feedback_id", "verdict", "note", "analyst", "at")}
)
FEATURE_VALUES = an_object({feature.name: maybe(NUMBER) for feature in FEATURES})
MINUTE = an_object({"window_start": TIME, "session_start": TIME, "features": FEATURE_VALUES})
JUDGEMENT = (
    "anomaly_score",
    "anomaly_percentile",
    "threshold",
    "verdict",
    "reasons",
    "model_version",
    "scored_at",
)
"""What an answer says of a judged minute, besides which minute it is."""

JUDGED = {name: of_column(tables.SCORES.schema[name]) for name in ("window_start", *JUDGEMENT)}
PAST = {name: JUDGED[name] for name in ("window_start", "anomaly_score", "anomaly_percentile", "verdict")}
SEGMENT = an_object(
    {name: of_column(tables.SEGMENTS.schema[name]) for name in ("day", "segment_id", "name", "description", "share")}
)
PERSON = an_object(
    {
        "user_id": TEXT,
        "latest": MINUTE,
        "judgement": maybe(an_object(JUDGED)),
        "segment": maybe(SEGMENT),
        "alerts": an_array(ALERT),
        "history": an_array(an_object(PAST)),
    }
)
FEATURE = an_object(
    {
        "name": TEXT,
        "meaning": TEXT,
        "unit": TEXT,
        "most": maybe(NUMBER),
        "used": {"type": "boolean"},
        "typical": maybe(NUMBER),
    }
)


def problems(*answers: tuple[int, str]) -> dict[int | str, dict[str, Any]]:
    """Answers that are problem details."""
    content = {"application/problem+json": {"schema": PROBLEM}}
    return {status: {"description": told, "content": content} for status, told in answers}


GENERAL = ((429, "Asked too often; ask again after Retry-After seconds"),)
BODY = (
    (400, "The body is no JSON"),
    (408, "The request did not arrive in time"),
    (413, "The body or the number of rows is too large"),
    (415, "The body is not application/json"),
    (422, "Fields are wrong: errors has each one's field, reason and detail"),
)
NO_CHAMPION = (503, "There is no champion yet, or it cannot be loaded; detail says why")
NO_TABLES = (503, "The tables cannot be read now; detail says why")


def route(
    schema: Schema,
    told: str,
    *answers: tuple[int, str],
    status: int = 200,
    body: Schema | None = None,
    examples: dict[str, Any] | None = None,
    example: Any = None,
    body_is_required: bool = True,
) -> dict[str, Any]:
    """Arguments for FastAPI's decorators."""
    content: dict[str, Any] = {"schema": schema}
    if example is not None:
        content["example"] = example
    said: dict[str, Any] = {
        "responses": {
            status: {"description": told, "content": {"application/json": content}},
            **problems(*answers, *GENERAL, *(BODY if body else ((422, "A parameter is wrong"),))),
        }
    }
    if body:
        media = {"schema": body, **({"examples": examples} if examples else {})}
        request = {"required": body_is_required, "content": {"application/json": media}}
        said["openapi_extra"] = {"requestBody": request}
    return said


PREDICT = route(ANSWER, "The judgement", NO_CHAMPION, body=VALUES, examples=EXAMPLES, example=ANSWER_EXAMPLE)
PREDICT_BATCH = route(
    an_object({"predictions": an_array(ANSWER), **ORIGIN}),
    "One judgement for each row, in the order of the rows",
    NO_CHAMPION,
    body=BATCH,
    examples={"two": {"summary": "two rows", "value": [ORIGINAL, SCRAPER]}},
)
FEATURE_LIST = route(an_object({"feature_version": TEXT, "features": an_array(FEATURE)}), "The features")
USER = route(PERSON, "What is known of the user", (404, "No such user in the newest days"), NO_TABLES)
USER_PREDICT = route(
    an_object(
        {
            "user_id": TEXT,
            "window_start": TIME,
            "session_start": TIME,
            "features": FEATURE_VALUES,
            "replaced": an_array(TEXT),
        }
    )
    | {"allOf": [ANSWER]},
    "The judgement of the user's newest minute",
    (404, "No such user in the newest days"),
    (409, "The user's features and the champion are of different feature versions"),
    NO_CHAMPION,
    body={**VALUES, "minProperties": 0},
    examples={"as it is": {"value": {}}, "what if": {"value": {"clicks_per_minute": 200}}},
    body_is_required=False,
)
ALERTS = route(
    an_object(
        {"alerts": an_array({"allOf": [ALERT, an_object({"feedback": maybe(SAID)})]}), "next_before": maybe(TIME)}
    ),
    "The alerts; next_before is the parameter before of the next page, null on the last one",
    NO_TABLES,
)
FEEDBACK = route(
    of_table(tables.FEEDBACK),
    "Kept",
    (404, "No such alert"),
    NO_TABLES,
    status=201,
    body=WORD,
    examples={"false alarm": {"value": {"verdict": False, "note": "our own load test", "analyst": "kim"}}},
)
PATTERNS = route(
    an_object(
        {
            "day": TIME,
            "patterns": an_array(of_table(tables.PATTERNS, "day")),
            "segments": an_array(of_table(tables.SEGMENTS, "day", "centre")),
            "transitions": an_array(of_table(tables.TRANSITIONS, "day")),
        }
    ),
    "What was mined from the day",
    (404, "The day was not mined"),
    NO_TABLES,
)
