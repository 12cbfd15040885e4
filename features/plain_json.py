"""The common record in one compiled pass over its bytes: a strict JSON reader that leaves whatever it doubts.

What it takes is an event beyond doubt: one JSON object in UTF-8, no key twice at any depth, the required fields there
and of their types, every time a usual ISO-8601 one within the limits. What it does not take (a number with an exponent,
half a surrogate pair, a blank user) is no verdict: :mod:`features.validation` reads those records and says what they
are.

The reader is a loop over bytes, which takes a tenth of the time of the libraries that read JSON as strictly (decision
112). It works on a copy of the values, in which it undoes escapes in place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from features.compiled import compiled

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

FIELD_NAMES = ("user_id", "action", "page", "event_id", "session_id", "timestamp", "sent_at", "properties")
"""In the order of the spans that :func:`read_records` fills."""
TEXT_COUNT = 5
TIMESTAMP, SENT_AT, PROPERTIES = 5, 6, 7

MAX_MEMBERS = 256
MAX_NUMBER = 200
MAX_NAME = 10_000
NEVER = -(2**63)
NULL, STRING, SCALAR, NESTED = 0, 1, 2, 3
FAILED = -1
QUOTE, BACKSLASH, COMMA, COLON = 0x22, 0x5C, 0x2C, 0x3A
OPEN, CLOSE, OPEN_ARRAY, CLOSE_ARRAY = 0x7B, 0x7D, 0x5B, 0x5D
MINUS, ZERO, NINE, DOT = 0x2D, 0x30, 0x39, 0x2E
SIMPLE_ESCAPES = np.zeros(256, np.uint8)
for _sign, _meant in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    SIMPLE_ESCAPES[_sign] = _meant
NAMES = np.frombuffer("".join(FIELD_NAMES).encode(), np.uint8)
NAME_ENDS = np.cumsum([0, *map(len, FIELD_NAMES)])
DAYS_BEFORE = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])
DAYS_IN = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
DAYS_TO_1970 = 719_162
"""From 1 January of the year 1, in the calendar that is carried back (proleptic Gregorian)."""


@compiled
def blank_end(data: Bytes, at: int, end: int) -> int:
    """The first place from ``at`` that is none of JSON's blanks."""
    while at < end and (data[at] == 0x20 or data[at] == 0x0A or data[at] == 0x0D or data[at] == 0x09):
        at += 1
    return at


@compiled
def character_end(data: Bytes, at: int, end: int) -> int:
    """Where the UTF-8 character of several bytes at ``at`` ends; FAILED where the bytes are none (RFC 3629)."""
    first = data[at]
    if 0xC2 <= first <= 0xDF:
        more, low, high = 1, 0x80, 0xBF
    elif 0xE0 <= first <= 0xEF:
        more, low, high = 2, 0xA0 if first == 0xE0 else 0x80, 0x9F if first == 0xED else 0xBF
    elif 0xF0 <= first <= 0xF4:
        more, low, high = 3, 0x90 if first == 0xF0 else 0x80, 0x8F if first == 0xF4 else 0xBF
    else:
        return FAILED
    if at + more >= end or data[at + 1] < low or data[at + 1] > high:
        return FAILED
    for place in range(at + 2, at + more + 1):
        if data[place] < 0x80 or data[place] > 0xBF:
            return FAILED
    return at + more + 1


@compiled
def string_end(data: Bytes, at: int, end: int) -> int:
    """The place of the quote that ends the string that starts at ``at``, behind its first quote; else FAILED.

    Of escapes only whether they are two characters long is looked at.
    """
    while at < end:
        byte = data[at]
        if byte == QUOTE:
            return at
        if byte < 0x20:
            return FAILED
        if byte == BACKSLASH:
            at += 2
        elif byte < 0x80:
            at += 1
        else:
            at = character_end(data, at, end)
            if at == FAILED:
                return FAILED
    return FAILED


@compiled
def hex_value(data: Bytes, at: int) -> int:
    """Of the four digits at ``at``; FAILED where they are none."""
    value = np.int64(0)
    for place in range(at, at + 4):
        byte = np.int64(data[place])
        if ZERO <= byte <= NINE:
            digit = byte - ZERO
        elif 0x41 <= byte <= 0x46:
            digit = byte - 0x41 + 10
        elif 0x61 <= byte <= 0x66:
            digit = byte - 0x61 + 10
        else:
            return FAILED
        value = value * 16 + digit
    return int(value)


@compiled
def unescape(data: Bytes, begin: int, end: int, keep: bool) -> int:  # noqa: C901 - one pass over bytes
    """Undo the escapes of a string's content in place; returns its new end, FAILED for NUL and half a pair.

    ``keep``: only look; the bytes stay and so does the end.
    """
    at, to = begin, begin
    while at < end:
        if data[at] != BACKSLASH:
            if not keep:
                data[to] = data[at]
            at, to = at + 1, to + 1
            continue
        if data[at + 1] != 0x75:  # u
            meant = SIMPLE_ESCAPES[data[at + 1]]
            if meant == 0:
                return FAILED
            if not keep:
                data[to] = meant
            at, to = at + 2, to + 1
            continue
        if at + 6 > end:
            return FAILED
        code = hex_value(data, at + 2)
        at += 6
        if code <= 0 or 0xDC00 <= code <= 0xDFFF:
            return FAILED
        if 0xD800 <= code <= 0xDBFF:
            if at + 6 > end or data[at] != BACKSLASH or data[at + 1] != 0x75:
                return FAILED
            second = hex_value(data, at + 2)
            if second < 0xDC00 or second > 0xDFFF:
                return FAILED
            at, code = at + 6, 0x10000 + (code - 0xD800) * 0x400 + second - 0xDC00
        if not keep:
            to = write_character(data, to, code)
    return end if keep else to


@compiled
def write_character(data: Bytes, to: int, code: int) -> int:
    """The code point as UTF-8 at ``to``; returns the place behind it."""
    if code < 0x80:
        data[to] = code
        return to + 1
    if code < 0x800:
        data[to] = 0xC0 | (code >> 6)
    elif code < 0x10000:
        data[to] = 0xE0 | (code >> 12)
        to += 1
        data[to] = 0x80 | ((code >> 6) & 0x3F)
    else:
        data[to] = 0xF0 | (code >> 18)
        data[to + 1] = 0x80 | ((code >> 12) & 0x3F)
        to += 2
        data[to] = 0x80 | ((code >> 6) & 0x3F)
    data[to + 1] = 0x80 | (code & 0x3F)
    return to + 2


@compiled
def digits_end(data: Bytes, at: int, end: int) -> int:
    while at < end and ZERO <= data[at] <= NINE:
        at += 1
    return at


@compiled
def scalar_end(data: Bytes, at: int, end: int) -> int:
    """Where a number without an exponent, or a literal, ends; else FAILED."""
    first = data[at]
    if first == 0x74:  # true
        fits = at + 4 <= end and data[at + 1] == 0x72 and data[at + 2] == 0x75 and data[at + 3] == 0x65
        return at + 4 if fits else FAILED
    if first == 0x6E:  # null
        fits = at + 4 <= end and data[at + 1] == 0x75 and data[at + 2] == 0x6C and data[at + 3] == 0x6C
        return at + 4 if fits else FAILED
    if first == 0x66:  # false
        fits = at + 5 <= end and data[at + 1] == 0x61 and data[at + 2] == 0x6C and data[at + 3] == 0x73
        return at + 5 if fits and data[at + 4] == 0x65 else FAILED
    begin = at + 1 if first == MINUS else at
    whole = digits_end(data, begin, end)
    if whole == begin or (data[begin] == ZERO and whole > begin + 1):
        return FAILED
    stop = whole
    if whole < end and data[whole] == DOT:
        stop = digits_end(data, whole + 1, end)
        if stop == whole + 1:
            return FAILED
    return stop if stop - at <= MAX_NUMBER else FAILED


@compiled
def same(data: Bytes, first: int, first_end: int, second: int, second_end: int) -> bool:
    length, i = first_end - first, 0
    if length != second_end - second:
        return False
    while i < length and data[first + i] == data[second + i]:
        i += 1
    return i == length


@compiled
def nested_end(data: Bytes, at: int, end: int, deepest: int, keys: Ints) -> int:  # noqa: C901 - one pass over bytes
    """Where the array or object at ``at`` ends; else FAILED. Nothing in it is changed.

    Args:
        deepest: levels that are followed, its own among them.
        keys: (members, 2) room for the keys of all objects that are open.
    """
    closing = np.empty(deepest, np.uint8)
    begins = np.empty(deepest, np.int64)
    depth, known, wants_value = 0, 0, True
    while True:
        at = blank_end(data, at, end)
        if at >= end:
            return FAILED
        byte = data[at]
        if wants_value and byte in (OPEN, OPEN_ARRAY):
            if depth == deepest:
                return FAILED
            closing[depth], begins[depth] = CLOSE if byte == OPEN else CLOSE_ARRAY, known
            depth += 1
            at = blank_end(data, at + 1, end)
            if at < end and data[at] == closing[depth - 1]:
                wants_value = False
                continue
        elif wants_value:
            if byte == QUOTE:
                stop = string_end(data, at + 1, end)
                if stop == FAILED or unescape(data, at + 1, stop, True) == FAILED:
                    return FAILED
                at = stop + 1
            else:
                at = scalar_end(data, at, end)
                if at == FAILED:
                    return FAILED
            wants_value = False
            continue
        elif byte == closing[depth - 1]:
            depth -= 1
            known = begins[depth]
            at += 1
            if depth == 0:
                return at
            continue
        elif byte == COMMA:
            at = blank_end(data, at + 1, end)
        else:
            return FAILED
        wants_value = True  # at the first value of what was opened, or behind a comma
        if closing[depth - 1] == CLOSE:
            if at >= end or data[at] != QUOTE or known == MAX_MEMBERS:
                return FAILED
            stop = string_end(data, at + 1, end)
            if stop == FAILED or stop - at > MAX_NAME:
                return FAILED
            for i in range(at + 1, stop):
                if data[i] == BACKSLASH:  # it could be another spelling of a key that is known
                    return FAILED
            for i in range(begins[depth - 1], known):
                if same(data, keys[i, 0], keys[i, 1], at + 1, stop):
                    return FAILED
            keys[known, 0], keys[known, 1] = at + 1, stop
            known += 1
            at = blank_end(data, stop + 1, end)
            if at >= end or data[at] != COLON:
                return FAILED
            at += 1


@compiled
def read_members(data: Bytes, at: int, end: int, deepest: int, members: Ints, keys: Ints) -> int:  # noqa: C901 - one pass over bytes
    """Read the object at ``at`` into ``members``; returns how many, FAILED where it is in doubt.

    Args:
        members: (members, 5) out: begin and end of the key and of the value, both without escapes, and the value's
            kind. Numbers and nested values are left as written.
        keys: room for :func:`nested_end`.

    Nothing but blanks may follow the object up to ``end``.
    """
    if at >= end or data[at] != OPEN:
        return FAILED
    count, at = 0, blank_end(data, at + 1, end)
    if at < end and data[at] == CLOSE:
        return 0 if blank_end(data, at + 1, end) == end else FAILED
    while True:
        if at >= end or data[at] != QUOTE or count == MAX_MEMBERS:
            return FAILED
        stop = string_end(data, at + 1, end)
        if stop == FAILED or stop - at > MAX_NAME:
            return FAILED
        name, name_end = at + 1, unescape(data, at + 1, stop, False)
        if name_end == FAILED:
            return FAILED
        for i in range(count):
            if same(data, members[i, 0], members[i, 1], name, name_end):
                return FAILED
        at = blank_end(data, stop + 1, end)
        if at >= end or data[at] != COLON:
            return FAILED
        at = blank_end(data, at + 1, end)
        if at >= end:
            return FAILED
        begin, byte = at, data[at]
        if byte == QUOTE:
            stop = string_end(data, at + 1, end)
            if stop == FAILED:
                return FAILED
            begin, value_end, kind = at + 1, unescape(data, at + 1, stop, False), STRING
            at = stop + 1
        elif byte in (OPEN, OPEN_ARRAY):
            value_end, kind = nested_end(data, at, end, deepest - 1, keys), NESTED
            at = value_end
        else:
            value_end, kind = scalar_end(data, at, end), NULL if byte == 0x6E else SCALAR
            at = value_end
        if value_end == FAILED:
            return FAILED
        members[count, 0], members[count, 1] = name, name_end
        members[count, 2], members[count, 3], members[count, 4] = begin, value_end, kind
        count += 1
        at = blank_end(data, at, end)
        if at >= end:
            return FAILED
        if data[at] == CLOSE:
            return count if blank_end(data, at + 1, end) == end else FAILED
        if data[at] != COMMA:
            return FAILED
        at = blank_end(data, at + 1, end)


@compiled
def two_digits(data: Bytes, at: int) -> int:
    """Their value; a large negative number where they are none."""
    tens, ones = data[at], data[at + 1]
    if tens < ZERO or tens > NINE or ones < ZERO or ones > NINE:
        return -10_000
    return int(10 * (np.int64(tens) - ZERO) + np.int64(ones) - ZERO)


@compiled
def instant(data: Bytes, at: int, end: int) -> int:  # noqa: C901 - one pass over bytes
    """Microseconds since 1970 of a usual ISO-8601 text; the least number where it is none.

    Usual: ``2024-10-05T12:00:00``, up to nine decimals (cut to six), and ``Z`` or an offset ``+05:30``.
    """
    none = NEVER
    if end - at < 20 or data[at + 4] != MINUS or data[at + 7] != MINUS or data[at + 10] != 0x54:
        return none
    if data[at + 13] != COLON or data[at + 16] != COLON:
        return none
    year = 100 * two_digits(data, at) + two_digits(data, at + 2)
    month, day = two_digits(data, at + 5), two_digits(data, at + 8)
    hour, minute, second = two_digits(data, at + 11), two_digits(data, at + 14), two_digits(data, at + 17)
    if year < 1 or month < 1 or month > 12 or day < 1 or hour < 0 or minute < 0 or second < 0:
        return none
    if hour > 23 or minute > 59 or second > 59:
        return none
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > DAYS_IN[month - 1] + (1 if is_leap and month == 2 else 0):
        return none
    place, micros = at + 19, np.int64(0)
    if data[place] == DOT:
        stop = digits_end(data, place + 1, end)
        if stop == place + 1 or stop > place + 10:
            return none
        for i in range(6):
            micros = 10 * micros + (np.int64(data[place + 1 + i]) - ZERO if place + 1 + i < stop else 0)
        place = stop
    offset = 0
    if place == end:
        return none
    if data[place] != 0x5A:  # Z
        if end - place != 6 or data[place + 3] != COLON or (data[place] != 0x2B and data[place] != MINUS):
            return none
        hours, minutes = two_digits(data, place + 1), two_digits(data, place + 4)
        if hours < 0 or minutes < 0 or minutes > 59 or 60 * hours + minutes > 18 * 60:
            return none
        offset = -(60 * hours + minutes) if data[place] == MINUS else 60 * hours + minutes
    elif place + 1 != end:
        return none
    before = year - 1
    days = 365 * before + before // 4 - before // 100 + before // 400 + DAYS_BEFORE[month - 1] + day - 1
    days += (1 if is_leap and month > 2 else 0) - DAYS_TO_1970
    return int(((days * 1440 + 60 * hour + minute - offset) * 60 + second) * 1_000_000 + micros)


@compiled
def field_of(data: Bytes, begin: int, end: int) -> int:
    """The number of the field with this name in FIELD_NAMES; FAILED where there is none."""
    for field in range(len(NAME_ENDS) - 1):
        first = NAME_ENDS[field]
        if end - begin == NAME_ENDS[field + 1] - first:
            i = 0
            while i < end - begin and data[begin + i] == NAMES[first + i]:
                i += 1
            if i == end - begin:
                return field
    return FAILED


@compiled
def read_record(  # noqa: C901 - one pass over members
    data: Bytes, at: int, end: int, deepest: int, spans: Ints, entries: Ints, entry: int, members: Ints, keys: Ints
) -> int:
    """Read one record; returns how many properties it has, FAILED where it is in doubt.

    Args:
        spans: (fields, 2) out: begin and end of each text field and time; FAILED: none.
        entries: (properties, 4) out from ``entry`` on: begin and end of key and value.
        members, keys: room for :func:`read_members`; ``members`` has twice as much as one object may need.
    """
    spans[:, :] = FAILED
    count = read_members(data, blank_end(data, at, end), end, deepest, members, keys)
    if count == FAILED:
        return FAILED
    own_count, extra = 0, 0
    for i in range(count):
        field, kind = field_of(data, members[i, 0], members[i, 1]), members[i, 4]
        if field == FAILED:
            extra += 1
        elif field == PROPERTIES and kind == NESTED:
            own_count = read_members(data, members[i, 2], members[i, 3], deepest - 1, members[count:], keys)
            if own_count == FAILED:
                return FAILED
        elif kind == STRING and field != PROPERTIES:
            spans[field, 0], spans[field, 1] = members[i, 2], members[i, 3]
        elif kind != NULL:
            return FAILED
    for i in range(count, count + own_count):
        entries[entry, :] = members[i, :4]
        if members[i, 4] == NULL:
            entries[entry, 3] = FAILED
        entry += 1
    for i in range(count):
        if extra and field_of(data, members[i, 0], members[i, 1]) == FAILED:
            for own in range(count, count + own_count):
                if same(data, members[i, 0], members[i, 1], members[own, 0], members[own, 1]):
                    return FAILED
            entries[entry, :] = members[i, :4]
            if members[i, 4] == NULL:
                entries[entry, 3] = FAILED
            entry += 1
    return own_count + extra


@compiled
def is_visible(data: Bytes, span: Ints) -> bool:
    """Whether the text has a character that is no doubt visible."""
    at, end = span[0], span[1]
    while at < end and not 0x20 < data[at] < 0x7F:
        at += 1
    return bool(at < end)


@compiled
def read_records(
    data: Bytes,
    ends: Ints,
    sizes: Ints,
    now: Ints,
    earliest: Ints,
    limits: Ints,
    spans: Ints,
    times: Ints,
    entries: Ints,
    counts: Ints,
) -> None:
    """Read records from one buffer.

    Args:
        data: the values, one behind the other; strings lose their escapes in place.
        ends: (records + 1) first byte of each value, and the end.
        sizes: (records) 0 where the value is null.
        now: (records) microseconds since 1970 from which the future counts.
        earliest: (records) microseconds since 1970 before which an event's time is too late for its arrival.
        limits: longest value, deepest nesting, oldest time and farthest future, both in microseconds.
        spans: (records, fields, 2) out: begin and end of each field.
        times: (records, 2) out: timestamp and sent_at; the least number where there is none.
        entries: (properties, 4) out, see :func:`read_record`.
        counts: (records) out: how many properties, FAILED where the record is in doubt.
    """
    members, keys = np.empty((2 * MAX_MEMBERS, 5), np.int64), np.empty((MAX_MEMBERS, 2), np.int64)
    none, entry = NEVER, 0
    for i in range(counts.shape[0]):
        counts[i] = FAILED
        times[i, :] = none
        if sizes[i] == 0 or ends[i + 1] - ends[i] > limits[0]:
            continue
        own = spans[i]
        count = read_record(data, ends[i], ends[i + 1], limits[1], own, entries, entry, members, keys)
        if count == FAILED or own[TIMESTAMP, 1] == FAILED:
            continue
        fits = is_visible(data, own[0]) and is_visible(data, own[1]) and is_visible(data, own[2])
        for field in range(3, TEXT_COUNT):
            fits = fits and (own[field, 1] == FAILED or is_visible(data, own[field]))
        for field in range(TIMESTAMP, SENT_AT + 1):
            if fits and own[field, 1] != FAILED:
                moment = instant(data, own[field, 0], own[field, 1])
                times[i, field - TIMESTAMP] = moment
                fits = moment != none and limits[2] <= moment <= now[i] + limits[3]
                fits = fits and (field != TIMESTAMP or moment >= earliest[i])
        if fits:
            counts[i] = count
            entry += count


@compiled
def gather(data: Bytes, begins: Ints, ends: Ints, offsets: npt.NDArray[np.int32], out: Bytes) -> None:
    """Copy pieces of ``data`` behind one another; an end of FAILED is an empty piece."""
    to = 0
    for i in range(begins.shape[0]):
        for at in range(begins[i], ends[i]):
            out[to] = data[at]
            to += 1
        offsets[i + 1] = to
