"""JSON bodies, read strictly: a name that is there twice is refused, and nothing that was sent is repeated in full.

JSON is read with Python's own parser (its C code, a few microseconds for a row), since it can tell doubled names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.requests import Request

from features.definitions import FEATURES
from features.strict_json import first_repeated
from serving.access.rate_limits import client_of, tokens_of
from serving.off_loop import run_off_loop
from serving.requests.body import declared_size, media_type, read_body
from serving.responses.problems import FieldFault, InvalidFieldsError, ProblemError
from serving.services import Services

MAX_QUOTE = 60
"""Characters of a text that are repeated."""
ONE_ROW_BYTES = 65_536
"""Longest body of what asks about one row or one alert: all features and names of their length fit many times."""
ONE_ROW_PARTS = 10_000
PARTS_OF_A_ROW = len(FEATURES) + 2
"""Commas and brackets of a row of a batch."""

T = TypeVar("T")


class _RepeatedNameError(ValueError):
    """An object has two members of one name."""


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(members)
    if len(unique) < len(members):
        raise _RepeatedNameError(first_repeated(name for name, _ in members))
    return unique


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=float)


async def read_json(
    request: Request, services: Services, parse: Callable[[Any], T], *, rows: int = 1, empty: Any = None
) -> T:
    """What ``parse`` makes of the body's JSON; ``empty`` stands for none where it is not None.

    A long body is decoded and parsed in a thread. ``rows`` are the most that it may have.

    Raises:
        ProblemError: it is too long or too slow, no JSON, or of another type; or ``parse`` says so.
    """
    media = media_type(request)
    limits = services.settings.serving
    max_bytes = min(limits.max_body_bytes, ONE_ROW_BYTES) if rows == 1 else limits.max_body_bytes
    client = client_of(request.client.host if request.client else "")

    def pay(size: int) -> None:
        seconds = services.buckets.take(client, tokens_of(size)) if tokens_of(size) else 0
        if seconds:
            detail = "More bytes than one address may send in this time. Send smaller requests, or again later."
            raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, detail, retry_after=seconds)

    declared = declared_size(request)
    pay(min(declared, max_bytes))  # before the body is read
    body = await read_body(request, max_bytes, limits.read_seconds)
    pay(max(0, len(body) - declared))
    if not body and empty is not None:
        return parse(empty)
    if media != "application/json" and not (media.startswith("application/") and media.endswith("+json")):
        sent = f"a body of type {quoted(media)}" if media else "a body without a type"
        detail = f"Found {sent}; needed: the header Content-Type: application/json."
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
    max_parts = ONE_ROW_PARTS if rows == 1 else rows * PARTS_OF_A_ROW
    return await run_off_loop(len(body), lambda: parse(decode_json(body, max_parts)))


def decode_json(body: bytes, max_parts: int) -> Any:
    """JSON text as Python's objects, with at most so many commas and brackets: each stands for an object to be made.

    Raises:
        ProblemError: why it is none.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > max_parts:
        detail = f"The body has more than {max_parts} values. Send smaller requests."
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    try:
        text = body.decode()
        value, end = _decoder.raw_decode(text, len(text) - len(text.lstrip(" \t\r\n")))
    except _RepeatedNameError as error:
        fault = FieldFault(field=str(error), reason="duplicate_field", detail="found twice; needed once")
        raise InvalidFieldsError([fault]) from None
    except UnicodeDecodeError:
        raise _bad("The body is not UTF-8 text.") from None
    except json.JSONDecodeError as error:
        raise _bad(f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    except RecursionError:
        raise _bad("The body is nested too deeply.") from None
    except ValueError:
        raise _bad("The body has a number of thousands of digits.") from None
    if text[end:].strip(" \t\r\n"):
        raise _bad(f"There is more text after the JSON value, at character {end}.")
    return value


def _bad(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, detail)


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
    shown = text if len(text) <= MAX_QUOTE else text[: MAX_QUOTE - 1] + "…"
    return "".join(one if one.isprintable() else "\ufffd" for one in shown)
