"""What a request asks, read strictly: JSON without doubled names, and feature values that a minute can have.

JSON is read with Python's own parser (its C code, a few microseconds for a row), since it can tell doubled names. Every
fault is named with its field, what was found and what is needed; nothing that was sent is repeated in full.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from features.definitions import FEATURES
from serving.beside import beside
from serving.bodies import media_type
from serving.collector import RefusedError, body_of, declared_size
from serving.judging import first_repeated
from serving.limits import client_of, tokens_of
from serving.problems import problem
from serving.services import Services
from training.reference import LARGEST

MOST = {feature.name: feature.most or LARGEST for feature in FEATURES}
"""The greatest value of each feature."""
MOST_FAULTS = 20
"""Faults named in one answer."""
LONGEST_QUOTE = 60
ONE_ROW_BYTES = 65_536
"""Longest body of what asks about one row or one alert: all features and names of their length fit many times."""
ONE_ROW_PARTS = 10_000
PARTS_OF_A_ROW = len(FEATURES) + 2
"""Commas and brackets of a row of a batch."""

T = TypeVar("T")

Fault = dict[str, Any]
"""field, reason, detail."""


class _TwiceError(ValueError):
    """An object has two members of one name."""


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise _TwiceError(first_repeated(name for name, _ in members))
    return found


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=float)


async def json_of(
    request: Request, services: Services, read: Callable[[Any], T], *, rows: int = 1, empty: Any = None
) -> T:
    """What ``read`` makes of the body's JSON; ``empty`` stands for none where it is not None.

    A long body is decoded and read in a thread. ``rows`` are the most that it may have.

    Raises:
        RefusedError: it is too long or too slow, no JSON, or of another type; or ``read`` says so.
    """
    media = media_type(request.headers.get("content-type", ""))
    limits = services.settings.serving
    longest = min(limits.max_body_bytes, ONE_ROW_BYTES) if rows == 1 else limits.max_body_bytes
    client = client_of(request.client.host if request.client else "")

    def pay(size: int) -> None:
        seconds = services.buckets.take(client, tokens_of(size)) if tokens_of(size) else 0
        if seconds:
            told = "More bytes than one address may send in this time. Send smaller requests, or again later."
            raise RefusedError(problem(HTTPStatus.TOO_MANY_REQUESTS, told, retry_after=seconds))

    declared = declared_size(request)
    pay(min(declared, longest))  # before the body is read
    body = await body_of(request, longest, limits.read_seconds)
    pay(max(0, len(body) - declared))
    if not body and empty is not None:
        return read(empty)
    if media != "application/json" and not (media.startswith("application/") and media.endswith("+json")):
        found = f"a body of type {quoted(media)}" if media else "a body without a type"
        told = f"Found {found}; needed: the header Content-Type: application/json."
        raise RefusedError(problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, told))
    parts = ONE_ROW_PARTS if rows == 1 else rows * PARTS_OF_A_ROW
    return await beside(len(body), lambda: read(decoded(body, parts)))


def decoded(body: bytes, most_parts: int) -> Any:
    """JSON text as Python's objects, with at most so many commas and brackets: each stands for an object to be made.

    Raises:
        RefusedError: why it is none.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > most_parts:
        told = f"The body has more than {most_parts} values. Send smaller requests."
        raise RefusedError(problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told))
    try:
        text = body.decode()
        found, end = _decoder.raw_decode(text, len(text) - len(text.lstrip(" \t\r\n")))
        if text[end:].strip(" \t\r\n"):
            raise RefusedError(_bad(f"There is more text after the JSON value, at character {end}."))
    except _TwiceError as error:
        raise RefusedError(refusal([fault(str(error), "duplicate_field", "found twice; needed once")])) from None
    except UnicodeDecodeError:
        raise RefusedError(_bad("The body is not UTF-8 text.")) from None
    except json.JSONDecodeError as error:
        raise RefusedError(_bad(f"The body is not JSON: {error.msg} at character {error.pos}.")) from None
    except RecursionError:
        raise RefusedError(_bad("The body is nested too deeply.")) from None
    except ValueError:
        raise RefusedError(_bad("The body has a number of thousands of digits.")) from None
    return found


def values_of(found: Any, place: str = "") -> tuple[dict[str, float], list[Fault]]:
    """Feature values by name, and what is wrong with them; a feature that is null is one that was left out."""
    if type(found) is not dict:
        detail = f'found {kind_of(found)}; needed an object such as {{"clicks_per_minute": 18}}'
        return {}, [fault(place or "(body)", "wrong_type", detail)]
    if not found:
        return {}, [fault(place or "(body)", "no_feature", "found no feature; needed at least one")]
    values: dict[str, float] = {}
    faults: list[Fault] = []
    for name, value in found.items():
        most = MOST.get(name)
        if most is not None and (type(value) is float or type(value) is int) and 0 <= value <= most:
            values[name] = value
        elif most is not None and value is None:
            continue
        elif len(faults) < MOST_FAULTS:
            faults.append(_fault_of(name, value, most, place))
    return values, faults


def rows_of(found: Any, most_rows: int) -> list[dict[str, float]]:
    """The rows of a batch: an array of objects, or an object whose ``rows`` are one.

    Raises:
        RefusedError: what is wrong with them.
    """
    rows = found.get("rows") if type(found) is dict and set(found) == {"rows"} else found
    if type(rows) is not list:
        detail = f"found {kind_of(rows)}; needed an array of objects, one for each row"
        raise RefusedError(refusal([fault("rows", "wrong_type", detail)]))
    if not rows:
        raise RefusedError(refusal([fault("rows", "no_rows", "found none; needed at least one")]))
    if len(rows) > most_rows:
        told = f"{len(rows)} rows in one request; the limit is {most_rows}. Send smaller batches."
        raise RefusedError(problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told))
    read: list[dict[str, float]] = []
    faults: list[Fault] = []
    for place, row in enumerate(rows):
        values, wrong = values_of(row, f"rows[{place}]")
        read.append(values)
        faults += wrong
        if len(faults) >= MOST_FAULTS:
            break
    if faults:
        raise RefusedError(refusal(faults[:MOST_FAULTS]))
    return read


def _fault_of(name: str, value: Any, most: float | None, place: str) -> Fault:
    field = f"{place}.{quoted(name)}" if place else quoted(name)
    if most is None:
        close = difflib.get_close_matches(name[:100].lower(), MOST, n=1, cutoff=0.7)
        hint = f"did you mean {close[0]}?" if close else "GET /features has their names"
        return fault(field, "unknown_feature", f"there is no such feature; {hint}")
    if type(value) not in (int, float):
        return fault(field, "wrong_type", f"found {kind_of(value)}; needed a number")
    if isinstance(value, float) and not math.isfinite(value):
        return fault(field, "not_finite", "found NaN or Infinity; needed a number, or null where it is not known")
    if value < 0:
        return fault(field, "negative", f"found {quoted(str(value))}; needed 0 or more")
    return fault(field, "out_of_range", f"found {quoted(str(value))}; needed at most {most:g}")


def fault(field: str, reason: str, detail: str) -> Fault:
    return {"field": field, "reason": reason, "detail": detail}


def refusal(faults: list[Fault]) -> Response:
    """422 with every fault; the first one is also told in the sentence."""
    first = faults[0]
    more = f" There are {len(faults)} faults: errors has them." if len(faults) > 1 else ""
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{first['field']}: {first['detail']}.{more}", errors=faults)


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return f'the text "{quoted(value)}"'
    kinds = {bool: "true or false", dict: "an object", list: "an array"}
    return kinds.get(type(value), "a number")


def quoted(text: str) -> str:
    """At most some characters, and none that does something when it is printed."""
    shown = text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"
    return "".join(one if one.isprintable() else "\ufffd" for one in shown)


def _bad(told: str) -> Response:
    return problem(HTTPStatus.BAD_REQUEST, told)
