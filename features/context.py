"""Context of an event: from where it came, and how it ended. Optional fields beside those of the contract.

``ip``, ``user_agent``, ``device_id``, ``country``, ``outcome`` and ``anonymous_id`` are taken from the event's own
fields or its properties, and become columns of table ``events``. A value that makes no sense refuses nothing: it stays
in ``properties`` as it was sent, and ``invalid_fields`` names the field. What is null or blank counts as not sent.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pycountry

from features.maps import Ints, map_of, offsets_of, rows_of
from features.validation import is_blank

OUTCOMES = ("ok", "failed")
_PSEUDONYM = re.compile(r"[a-z]?[0-9a-f]{16,64}")
MAX_AGENT, MAX_DEVICE, MAX_ANONYMOUS = 1024, 256, 256
"""Characters."""
USER_ASSIGNED = frozenset({"XK"})
"""Codes that ISO 3166-1 leaves to its users, and that senders use: Kosovo."""


class Context(NamedTuple):
    """Columns of table ``events``, one value for each event."""

    ip: pa.Array
    user_agent: pa.Array
    device_id: pa.Array
    country: pa.Array
    outcome: pa.Array
    anonymous_id: pa.Array
    invalid_fields: pa.Array


def address_of(text: str) -> str | None:
    """An IP address in its shortest form (RFC 5952); an IPv4 address within an IPv6 one is itself. None: none.

    A sender's pseudonym of one, 16 to 64 hex digits with a letter before them or none, is taken as it is.
    """
    return ip_of(text) or (text if _PSEUDONYM.fullmatch(text) else None)


def ip_of(text: str) -> str | None:
    """:func:`address_of` without pseudonyms."""
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def country_of(text: str) -> str | None:
    """The ISO 3166-1 alpha-2 code of an alpha-2 or alpha-3 code, in any case; None where there is no such country."""
    code = text.strip()
    if not code.isascii():  # upper() makes two letters of some that are one
        return None
    return code.upper() if code.upper() in USER_ASSIGNED else _countries().get(code.upper())


@cache
def _countries() -> dict[str, str]:
    known = {country.alpha_2: country.alpha_2 for country in pycountry.countries}
    return known | {country.alpha_3: country.alpha_2 for country in pycountry.countries}


def outcome_of(text: str) -> str | None:
    """``ok`` or ``failed``; None of anything else."""
    outcome = text.strip().lower()
    return outcome if outcome in OUTCOMES else None


def _no_longer_than(most: int) -> Callable[[str], str | None]:
    return lambda text: text if len(text) <= most else None


READ: dict[str, Callable[[str], str | None]] = {
    "ip": address_of,
    "user_agent": _no_longer_than(MAX_AGENT),
    "device_id": _no_longer_than(MAX_DEVICE),
    "country": country_of,
    "outcome": outcome_of,
    "anonymous_id": _no_longer_than(MAX_ANONYMOUS),
}
CONTEXT_FIELDS = tuple(READ)
_NAMES = pa.array(CONTEXT_FIELDS)


def context_of(properties: pa.MapArray) -> tuple[Context, pa.MapArray]:
    """What properties (maps of texts, null where there are none) say of the context, and what is left of them."""
    rows, (row, used) = len(properties), rows_of(properties)
    keys, items = properties.keys[used], properties.items[used]
    field = pc.fill_null(pc.index_in(keys, _NAMES), -1).to_numpy(zero_copy_only=False)
    if not (field >= 0).any():
        nothing = [pa.nulls(rows, pa.string()) for _ in CONTEXT_FIELDS]
        return Context._make([*nothing, pa.nulls(rows, pa.list_(pa.string()))]), properties
    gone = np.zeros(len(field), bool)
    columns: list[pa.Array] = []
    wrong: list[Ints] = []
    for number, read in enumerate(READ.values()):
        at = np.flatnonzero(field == number)
        columns.append(_column(row[at], at, items, rows, read, gone, wrong))
    kept = np.flatnonzero(~gone)
    left = map_of(row[kept], keys.take(pa.array(kept)), items.take(pa.array(kept)), rows)
    return Context._make([*columns, _named(wrong, rows)]), left


def _column(
    row: Ints, at: Ints, items: pa.Array, rows: int, read: Callable[[str], str | None], gone: npt.NDArray[np.bool_],
    wrong: list[Ints],
) -> pa.Array:  # fmt: skip
    """One field's column: each different text is read once.

    Args:
        row, at: of each entry of the field its row, and its place among ``items``.
        gone: (items) out: marked where an entry is used up.
        wrong: the rows whose value makes no sense are added.
    """
    texts = items.take(pa.array(at)).dictionary_encode()
    sent = texts.dictionary.to_pylist()
    understood = [read(text) for text in sent]
    code = pc.fill_null(texts.indices, len(sent)).to_numpy(zero_copy_only=False)
    is_blank_text = np.array([*map(is_blank, sent), True])[code]  # null counts as blank
    is_known = np.array([*(value is not None for value in understood), False])[code] & ~is_blank_text
    gone[at] = is_known | is_blank_text
    wrong.append(row[~gone[at]])
    place = np.full(rows, -1, np.int64)
    place[row[is_known]] = code[is_known]
    return pa.array(understood, pa.string()).take(pa.array(place, mask=place < 0))


def _named(wrong: list[Ints], rows: int) -> pa.Array:
    """Names of the fields with a wrong value, by row; null where there is none."""
    row, field = np.concatenate(wrong), np.repeat(np.arange(len(wrong)), [len(each) for each in wrong])
    names = _NAMES.take(pa.array(field[np.argsort(row, kind="stable")]))
    return pa.ListArray.from_arrays(offsets_of(np.bincount(row, minlength=rows)), names)
