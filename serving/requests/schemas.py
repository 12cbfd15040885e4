"""The bodies of requests in the OpenAPI document; names and bounds of features come from their definitions."""

from __future__ import annotations

from features.definitions import FEATURES
from scoring.reference import MAX_VALUE
from serving.responses.json_schema import Schema, an_array, an_object

VALUES: Schema = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "properties": {
        feature.name: {
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": feature.most or MAX_VALUE,
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
FEEDBACK: Schema = {
    "type": "object",
    "required": ["verdict"],
    "additionalProperties": False,
    "properties": {
        "verdict": {"enum": [True, False, "true", "false"], "description": "true: an anomaly indeed"},
        "note": {"type": ["string", "null"], "maxLength": 2000},
        "analyst": {"type": ["string", "null"], "maxLength": 200},
    },
}
