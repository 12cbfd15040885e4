"""Rows of feature values: numbers that a minute can have, by names that features have.

Every fault is named with its field, what was found and what is needed; nothing that was sent is repeated in full.
"""

from __future__ import annotations

import difflib
import math
from http import HTTPStatus
from typing import Any

from features.definitions import FEATURES
from scoring.reference import MAX_VALUE
from serving.requests.json_body import kind_of, quoted
from serving.responses.problems import FieldFault, InvalidFieldsError, ProblemError

MAX_VALUES = {feature.name: feature.most or MAX_VALUE for feature in FEATURES}
"""The greatest value of each feature."""
MAX_FAULTS = 20
"""Faults named in one answer."""

Values = dict[str, float]


def parse_row(row: Any) -> Values:
    """Feature values by name; a feature that is null is one that was left out.

    Raises:
        InvalidFieldsError: what is wrong with them.
    """
    values, faults = _parse(row)
    if faults:
        raise InvalidFieldsError(faults)
    return values


def parse_changes(row: Any) -> Values:
    """:func:`parse_row`, where there may be none.

    Raises:
        InvalidFieldsError: what is wrong with them.
    """
    return {} if row == {} else parse_row(row)


def parse_rows(batch: Any, max_rows: int) -> list[Values]:
    """The rows of a batch: an array of objects, or an object whose ``rows`` are one.

    Raises:
        ProblemError: what is wrong with them.
    """
    rows = batch.get("rows") if type(batch) is dict and set(batch) == {"rows"} else batch
    if type(rows) is not list:
        detail = f"found {kind_of(rows)}; needed an array of objects, one for each row"
        raise InvalidFieldsError([FieldFault(field="rows", reason="wrong_type", detail=detail)])
    if not rows:
        fault = FieldFault(field="rows", reason="no_rows", detail="found none; needed at least one")
        raise InvalidFieldsError([fault])
    if len(rows) > max_rows:
        detail = f"{len(rows)} rows in one request; the limit is {max_rows}. Send smaller batches."
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    parsed: list[Values] = []
    faults: list[FieldFault] = []
    for number, row in enumerate(rows):
        values, wrong = _parse(row, f"rows[{number}]")
        parsed.append(values)
        faults += wrong
        if len(faults) >= MAX_FAULTS:
            break
    if faults:
        raise InvalidFieldsError(faults[:MAX_FAULTS])
    return parsed


def _parse(row: Any, place: str = "") -> tuple[Values, list[FieldFault]]:
    """The values, and what is wrong with them; ``place`` is where the row stands in its batch."""
    if type(row) is not dict:
        detail = f'found {kind_of(row)}; needed an object such as {{"clicks_per_minute": 18}}'
        return {}, [FieldFault(field=place or "(body)", reason="wrong_type", detail=detail)]
    if not row:
        detail = "found no feature; needed at least one"
        return {}, [FieldFault(field=place or "(body)", reason="no_feature", detail=detail)]
    values: Values = {}
    faults: list[FieldFault] = []
    for name, value in row.items():
        most = MAX_VALUES.get(name)
        if most is not None and (type(value) is float or type(value) is int) and 0 <= value <= most:
            values[name] = value
        elif most is not None and value is None:
            continue
        elif len(faults) < MAX_FAULTS:
            reason, detail = _why_wrong(name, value, most)
            field = f"{place}.{quoted(name)}" if place else quoted(name)
            faults.append(FieldFault(field=field, reason=reason, detail=detail))
    return values, faults


def _why_wrong(name: str, value: Any, most: float | None) -> tuple[str, str]:
    """Reason and detail of a value that is not one of the feature."""
    if most is None:
        close = difflib.get_close_matches(name[:100].lower(), MAX_VALUES, n=1, cutoff=0.7)
        hint = f"did you mean {close[0]}?" if close else "GET /features has their names"
        return "unknown_feature", f"there is no such feature; {hint}"
    if type(value) not in (int, float):
        return "wrong_type", f"found {kind_of(value)}; needed a number"
    if isinstance(value, float) and not math.isfinite(value):
        return "not_finite", "found NaN or Infinity; needed a number, or null where it is not known"
    if value < 0:
        return "negative", f"found {quoted(str(value))}; needed 0 or more"
    return "out_of_range", f"found {quoted(str(value))}; needed at most {most:g}"
