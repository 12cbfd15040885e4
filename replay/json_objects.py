"""One line as a JSON object, for formats that look into it."""

from __future__ import annotations

import json


def object_in(line: str | bytes) -> dict[str, object] | None:
    """The JSON object that a line is; None where it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
