"""What the OpenAPI document says of each route: its body, its answers, and when which comes."""

from __future__ import annotations

from typing import Any

from features import tables
from serving.requests import schemas as requests
from serving.responses import schemas as responses
from serving.responses.json_schema import NUMBER, TEXT, TIME, Schema, an_array, an_object, nullable, of_table

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
    description: str,
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
    arguments: dict[str, Any] = {
        "responses": {
            status: {"description": description, "content": {"application/json": content}},
            **responses.problems(*answers, *GENERAL, *(BODY if body else ((422, "A parameter is wrong"),))),
        }
    }
    if body:
        media = {"schema": body, **({"examples": examples} if examples else {})}
        request = {"required": body_is_required, "content": {"application/json": media}}
        arguments["openapi_extra"] = {"requestBody": request}
    return arguments


PREDICT = route(
    responses.ANSWER,
    "The prediction",
    NO_CHAMPION,
    body=requests.VALUES,
    examples=requests.EXAMPLES,
    example=responses.ANSWER_EXAMPLE,
)
PREDICT_BATCH = route(
    an_object({"predictions": an_array(responses.ANSWER), **responses.ORIGIN}),
    "One prediction for each row, in the order of the rows",
    NO_CHAMPION,
    body=requests.BATCH,
    examples={"two": {"summary": "two rows", "value": [requests.ORIGINAL, requests.SCRAPER]}},
)
FEATURE_LIST = route(an_object({"feature_version": TEXT, "features": an_array(responses.FEATURE)}), "The features")
USER = route(responses.PERSON, "What is known of the user", (404, "No such user in the newest days"), NO_TABLES)
USER_PREDICT = route(
    an_object(
        {
            "user_id": TEXT,
            "window_start": TIME,
            "session_start": TIME,
            "features": responses.FEATURE_VALUES,
            "replaced": an_array(TEXT),
        }
    )
    | {"allOf": [responses.ANSWER]},
    "The prediction for the user's newest minute",
    (404, "No such user in the newest days"),
    (409, "The user's features and the champion are of different feature versions"),
    NO_CHAMPION,
    body={**requests.VALUES, "minProperties": 0},
    examples={"as it is": {"value": {}}, "what if": {"value": {"clicks_per_minute": 200}}},
    body_is_required=False,
)
IDENTITIES = route(
    an_object({"user_id": TEXT, "links": an_array(responses.LINK)}),
    "The links; none where nobody was linked to the id",
    NO_TABLES,
)
ALERTS = route(
    an_object(
        {
            "alerts": an_array({"allOf": [responses.ALERT, an_object({"feedback": nullable(responses.FEEDBACK)})]}),
            "next_before": nullable(TIME),
        }
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
    body=requests.FEEDBACK,
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
SPAN = {"since": TIME, "until": TIME, "traffic": TEXT}
STEP = an_object({"name": nullable(TEXT), "action": an_array(TEXT), "page": an_array(TEXT), "outcome": an_array(TEXT)})
FUNNEL_OF_CONF = an_object(
    {
        "name": TEXT,
        "steps": an_array(STEP),
        "within_minutes": nullable(NUMBER),
        "in_order": {"type": "boolean"},
    }
)
FUNNELS = route(
    an_object({"funnels": an_array(FUNNEL_OF_CONF)}),
    "The funnels; within_minutes null: in the same session",
)
PROPOSALS = route(
    an_object({"funnels": an_array(FUNNEL_OF_CONF)}),
    "Funnels in the same session, the one with the longest way to the rarest end first",
    (404, "No events"),
    NO_TABLES,
)
COUNT = {"type": "integer", "minimum": 0}
SHARE = NUMBER | {"minimum": 0, "maximum": 1}
REACHED = an_object(
    {
        "name": TEXT,
        "people": COUNT,
        "of_first": nullable(SHARE),
        "of_previous": nullable(SHARE),
        "seconds_median": nullable(NUMBER),
        "seconds_p90": nullable(NUMBER),
    }
)
EXIT = an_object({"step": TEXT, "action": nullable(TEXT), "kind": nullable(TEXT), "people": COUNT})
FUNNEL = route(
    an_object(
        {
            "name": TEXT,
            **SPAN,
            "steps": an_array(REACHED),
            "days": an_array(an_object({"day": TIME, "people": an_array(COUNT)})),
            "exits": an_array(EXIT),
        }
    ),
    "People at each step, in all and by the day on which they began; exits: what they did in place of the next step",
    (404, "No such funnel, or no events"),
    NO_TABLES,
)
FINDINGS = route(
    an_object(
        {
            "findings": an_array(
                an_object(
                    {
                        "what": {"type": "string", "enum": ["again", "back_and_forth", "dead_end"]},
                        "places": an_array(TEXT),
                        "action": nullable(TEXT),
                        "people": COUNT,
                        "share": SHARE,
                        "usual": nullable(SHARE),
                        "examples": an_array(TEXT),
                        "text": TEXT,
                    }
                )
            )
        }
    ),
    "Things that people stumble over, with some of these people",
    (404, "No events"),
    NO_TABLES,
)
WAY = an_object({"kind": TEXT, "visits": COUNT, "share": SHARE, "people": COUNT})
FLOW = route(
    an_object(
        {
            "kind": nullable(TEXT),
            "visits": COUNT,
            "people": COUNT,
            "before": an_array(WAY),
            "after": an_array(WAY),
            "kinds": an_array(an_object({"kind": TEXT, "visits": COUNT})),
        }
    ),
    "The kinds of pages right before and after one, (start) and (end) where there is none, and all kinds by visits",
    (404, "No events"),
    NO_TABLES,
)
AGAIN = an_object({"after_days": COUNT, "on_that_day": SHARE, "since_that_day": SHARE})
RETENTION = route(
    an_object(
        {
            **SPAN,
            "through": nullable(TIME),
            "cohorts": an_array(an_object({"day": TIME, "people": COUNT, "again": an_array(AGAIN)})),
            "days": an_array(
                an_object(
                    {
                        "day": TIME,
                        **dict.fromkeys(("people", "new", "returning", "back", "gone"), COUNT),
                        "stickiness": SHARE,
                    }
                )
            ),
        }
    ),
    "Cohorts by the day on which people were first seen; days; through: the last day that is over",
    (404, "No events"),
    NO_TABLES,
)
