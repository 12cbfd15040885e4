"""The arithmetic of features: the tiles of whole users in order of time -> one row per user and minute.

One pass, compiled. Everything summed is an integer, divided once at the end, so any split and order of the
tiles of a minute gives the same numbers to the bit.

What a part of the pass remembers is a record with named fields, a row too: its fields are the features, by name.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.compiled import compiled
from features.counts import COUNT_NAMES
from features.definitions import FEATURE_NAMES

Longs = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Record = Any
"""One element of a structured array; compiled code reads and writes its fields as attributes."""
Records = npt.NDArray[np.void]

NONE = -1
"""Stands for a missing session mark, page or minute."""
NEVER = np.iinfo(np.int64).min // 4
SESSION_BITS = (1 << 57) - 1
DAY, HOUR = 1440, 60

KINDS = len(COUNT_NAMES)
EVENTS, CLICKS, VIEWS, INTERACTIONS = (
    COUNT_NAMES.index(name) for name in ("events", "clicks", "views", "interactions")
)
"""Places in what is counted."""


def _record(*names: str, **arrays: int) -> np.dtype[np.void]:
    """Whole numbers by name, and arrays of them by name and length."""
    return np.dtype([*((name, np.int64) for name in names), *((name, np.int64, size) for name, size in arrays.items())])


MINUTE = _record("now", "seconds", "mark", "received", counts=KINDS)
"""The minute at hand, all pages together; ``seconds`` is a mask of the active ones."""
SESSION = _record(
    "number", "opened", "cut", "first_minute", "previous", "previous_mark", "peak", "pages", "new_pages", "top_page",
    "square_pages", "forms", "active", "unusual", counts=KINDS,
)  # fmt: skip
"""The session so far, and the active minute before (``previous``)."""
PAUSES = _record("seconds", "first", "last", "last_pause", "shortest", "equal", "squares")
"""Active seconds of the session so far, and the pauses between them."""
PAST = _record(
    "known", "tail", "events", "before", "before_tail", "visits", before_counts=KINDS, before_hours=24, hours=24
)
"""The own past: places in the user's active minutes, and sums over those in sight.

``known`` minutes are there, from ``tail`` on they are in the own past. Those before the session end at ``before``;
of these, ``before_tail`` is the first in the own past.
"""
ACTIVE = _record("now", counts=KINDS)
"""An active minute of the user."""
PAGE = _record("key", "is_used", "touched", "session", "events", "forms")
"""A page of the user; ``events`` and ``forms`` are those of ``session``."""
HEAD = np.dtype([*_record("first_tile", "minute", "first_minute", "received").descr, ("is_split", np.bool_)])
"""Whose row it is: a tile of the user, the minute, the session's first, the newest arrival, was the session cut."""
ROW = np.dtype([(name, np.float64) for name in FEATURE_NAMES])


class TileColumns(NamedTuple):
    """Tiles sorted by user and minute; ``mark`` is NONE where absent. Shape (tiles), ``counts`` (tiles, kinds)."""

    minute: Longs
    page: Longs
    counts: Longs
    seconds: Longs
    mark: Longs
    received: Longs
    fresh: Flags


class Lengths(NamedTuple):
    """Minutes: idle time that ends a session, its longest length, the own past, and how far a row looks back."""

    gap: int
    longest: int
    own_past: int
    look_back: int


# --- pages ---


@compiled
def empty_pages(tiles: int) -> Records:
    """Room for the pages of a user: an open-addressing table, twice as large as can be needed."""
    size = 4
    while size < 2 * tiles:
        size *= 2
    pages = np.empty(size, PAGE)
    for slot in range(size):
        pages[slot].is_used = 0
    return pages


@compiled
def slot_of(key: int, pages: Records) -> int:
    """Where the page ``key`` is in the table; it is put there where it is new."""
    size = pages.shape[0]
    slot: int = (key ^ (key >> 32)) & (size - 1)
    while pages[slot].is_used and pages[slot].key != key:
        slot = (slot + 1) & (size - 1)
    if not pages[slot].is_used:
        page = pages[slot]
        page.key = key
        page.is_used = 1
        page.touched = NEVER
        page.session = 0
    return slot


@compiled
def count_page(page: Record, events: int, forms: int, now: int, session: Record, lengths: Lengths) -> None:
    """Add a page's ``events``, of which ``forms`` are interactions, in minute ``now`` to it and to the session."""
    if page.session != session.number:
        page.session = session.number
        page.events = page.forms = 0
        session.pages += 1
        if page.touched < now - lengths.own_past:
            session.new_pages += 1
    page.touched = now
    so_far = page.events
    after = so_far + events
    page.events = after
    session.square_pages += after * after - so_far * so_far
    session.top_page = max(session.top_page, after)
    if forms > 0:
        if page.forms == 0:
            session.forms += 1
        page.forms += forms


# --- sessions ---


@compiled
def read_minute(tiles: TileColumns, tile: int, end: int, minute: Record) -> tuple[int, bool]:
    """Add up the minute that begins at ``tile``; return where it stops and whether anything of it is fresh."""
    now = tiles.minute[tile]
    counts = minute.counts
    counts[:] = 0
    seconds, mark, received = np.int64(0), np.int64(NONE), np.int64(NEVER)
    is_fresh = False
    stop = tile
    while stop < end and tiles.minute[stop] == now:
        for kind in range(KINDS):
            counts[kind] += tiles.counts[stop, kind]
        seconds |= tiles.seconds[stop]
        mark = max(mark, tiles.mark[stop])
        received = max(received, tiles.received[stop])
        is_fresh |= tiles.fresh[stop]
        stop += 1
    minute.now = now
    minute.seconds = seconds
    minute.mark = mark
    minute.received = received
    return stop, is_fresh


@compiled
def forget_user(session: Record, past: Record) -> None:
    """Before the first minute of a user."""
    session.number = 0
    session.opened = session.cut = session.previous = NEVER
    session.previous_mark = NONE
    past.known = past.tail = past.events = past.before = past.before_tail = past.visits = 0
    past.before_counts[:] = 0
    past.before_hours[:] = 0
    past.hours[:] = 0


@compiled
def enter_minute(minute: Record, session: Record, lengths: Lengths) -> tuple[bool, bool]:
    """Whether the minute begins a session, and whether its session was cut by the longest length."""
    now, pause = minute.now, minute.now - session.previous
    if session.previous == NEVER or pause > lengths.longest:
        opens = True
    elif session.previous_mark != NONE and minute.mark != NONE:
        opens = (session.previous_mark & SESSION_BITS) != (minute.mark & SESSION_BITS)
    else:
        opens = pause > lengths.gap
    session.previous, session.previous_mark = now, minute.mark
    if opens:
        session.opened = now
    is_split = now - session.opened >= lengths.longest
    cut = max(now - now % lengths.longest, session.opened + lengths.longest) if is_split else session.opened
    begins = cut != session.cut
    session.cut = cut
    return begins, is_split


@compiled
def begin_session(minute: Record, session: Record, pauses: Record) -> None:
    """Nothing of the session is known but its first minute."""
    session.number += 1
    session.first_minute = minute.now
    session.counts[:] = 0
    session.peak = session.pages = session.new_pages = session.top_page = session.square_pages = 0
    session.forms = session.active = session.unusual = 0
    pauses.seconds = pauses.squares = pauses.equal = 0
    pauses.shortest = pauses.last_pause = NONE


@compiled
def count_events(minute: Record, session: Record) -> None:
    for kind in range(KINDS):
        session.counts[kind] += minute.counts[kind]
    session.peak = max(session.peak, minute.counts[EVENTS])


# --- pauses between active seconds ---


@compiled
def count_pauses(minute: Record, pauses: Record) -> np.int64:
    """Add the minute's active seconds to the session's; return how many they are."""
    # A compiler cannot know that records do not overlap: what a loop changes is held in variables.
    rest, active = minute.seconds, np.int64(0)
    last, last_pause, shortest = pauses.last, pauses.last_pause, pauses.shortest
    equal, squares = pauses.equal, pauses.squares
    while rest != 0:
        lowest = rest & -rest
        second = minute.now * 60 + np.int64(math.log2(float(lowest)))
        rest ^= lowest
        if active == 0 and pauses.seconds == 0:
            pauses.first = second
        else:
            length = second - last
            squares += length * length
            if shortest == NONE or length < shortest:
                shortest = length
            if length == last_pause:
                equal += 1
            last_pause = length
        active += 1
        last = second
    pauses.seconds += active
    pauses.last, pauses.last_pause, pauses.shortest = last, last_pause, shortest
    pauses.equal, pauses.squares = equal, squares
    return active


# --- the own past ---


@compiled
def hour_of(minute: int) -> int:
    return minute % DAY // HOUR


@compiled
def end_session(past: Record, active: Records, lengths: Lengths) -> None:
    """What is known now is the past that the hours of the next session are compared with."""
    while past.before < past.known:
        one = active[past.before]
        past.before_hours[hour_of(one.now)] += 1
        for kind in range(KINDS):
            past.before_counts[kind] += one.counts[kind]
        if past.before > past.before_tail and one.now - active[past.before - 1].now > lengths.gap:
            past.visits += 1
        past.before += 1


@compiled
def move_past(now: int, past: Record, active: Records, lengths: Lengths) -> None:
    """Forget active minutes before ``[now - own_past, now)``."""
    since = now - lengths.own_past
    while past.tail < past.known and active[past.tail].now < since:
        one = active[past.tail]
        past.events -= one.counts[EVENTS]
        past.hours[hour_of(one.now)] -= 1
        past.tail += 1
    while past.before_tail < past.before and active[past.before_tail].now < since:
        one = active[past.before_tail]
        past.before_hours[hour_of(one.now)] -= 1
        for kind in range(KINDS):
            past.before_counts[kind] -= one.counts[kind]
        past.before_tail += 1
        if past.before_tail < past.before and active[past.before_tail].now - one.now > lengths.gap:
            past.visits -= 1


@compiled
def near_hour(now: int, session: Record, past: Record) -> int:
    """Active minutes before the session within an hour of this time of day; counts the session's unusual ones."""
    hour = hour_of(now)
    past.hours[hour] += 1
    near: int = past.before_hours[hour] + past.before_hours[(hour + 1) % 24] + past.before_hours[(hour + 23) % 24]
    session.active += 1
    if past.before > past.before_tail and near == 0:
        session.unusual += 1
    return near


@compiled
def remember(minute: Record, past: Record, one: Record) -> None:
    """The minute belongs to the own past of the next: as ``one``, the next of the active minutes."""
    one.now = minute.now
    for kind in range(KINDS):
        one.counts[kind] = minute.counts[kind]
    past.events += minute.counts[EVENTS]
    past.known += 1


# --- a row ---


@compiled
def write_minute(row: Record, minute: Record, active_seconds: np.int64) -> None:
    row.clicks_per_minute = minute.counts[CLICKS]
    row.views_per_minute = minute.counts[VIEWS]
    row.interactions_per_minute = minute.counts[INTERACTIONS]
    row.events_per_minute = minute.counts[EVENTS]
    row.active_seconds = active_seconds


@compiled
def write_session(row: Record, session: Record, length: int) -> None:
    """``length`` in minutes."""
    events, views = session.counts[EVENTS], session.counts[VIEWS]
    clicks, interactions = session.counts[CLICKS], session.counts[INTERACTIONS]
    repeats = interactions - session.forms
    row.pages_per_session = views
    row.distinct_pages_per_session = session.pages
    row.session_minutes = length
    row.session_events = events
    row.session_rate = events / length
    row.session_peak_rate = session.peak
    row.repeat_ratio = (events - session.pages) / events if events > session.pages else 0.0
    row.top_page_share = session.top_page / events
    row.page_concentration = session.square_pages / (events * events)
    row.click_share = clicks / events
    row.view_share = views / events
    row.interaction_share = interactions / events
    row.form_repeats = repeats
    row.form_repeat_share = repeats / events if repeats > 0 else 0.0
    row.form_repeats_per_minute = repeats / length


@compiled
def write_pauses(row: Record, pauses: Record, length: int) -> None:
    """``length`` of the session in minutes."""
    row.session_active_seconds = pauses.seconds
    row.session_active_rate = pauses.seconds / length
    count = pauses.seconds - 1
    if count > 0:
        span = pauses.last - pauses.first
        # n * sum(x^2) - sum(x)^2 is n^2 times the variance, exact in integers.
        deviation = math.sqrt(float(count * pauses.squares - span * span))
        row.gap_mean_seconds = span / count
        row.gap_std_seconds = deviation / count
        row.gap_variation = deviation / span
        row.gap_min_seconds = pauses.shortest
        row.gap_equal_share = pauses.equal / (count - 1) if count > 1 else math.nan
    else:
        row.gap_mean_seconds = row.gap_std_seconds = row.gap_variation = math.nan
        row.gap_min_seconds = row.gap_equal_share = math.nan


@compiled
def write_past(row: Record, minute: Record, session: Record, past: Record, near: int) -> None:
    events_now, past_minutes, before = minute.counts[EVENTS], past.known - past.tail, past.before - past.before_tail
    row.own_rate_ratio = events_now * past_minutes / past.events if past_minutes > 0 else math.nan
    row.own_past_minutes = before
    row.recent_events = past.events + events_now
    row.recent_minutes = past_minutes + 1
    row.recent_hours = np.count_nonzero(past.hours)
    if before > 0:
        row.new_page_share = session.new_pages / session.pages
        row.own_hours_share = near / before
        row.own_volume_ratio = session.counts[EVENTS] * (past.visits + 1) / past.before_counts[EVENTS]
        row.own_mix_shift = mix_shift(session.counts, past.before_counts)
        row.own_night_share = session.unusual / session.active
    else:
        row.new_page_share = row.own_hours_share = row.own_volume_ratio = math.nan
        row.own_mix_shift = row.own_night_share = math.nan


@compiled
def mix_shift(now: Longs, before: Longs) -> float:
    """Half the sum of differences between the shares of clicks, views, interactions and others."""
    # In integers: the shift between equal mixes is 0, not nearly 0.
    events, past_events = now[EVENTS], before[EVENTS]
    others = (events - now[CLICKS] - now[VIEWS] - now[INTERACTIONS]) * past_events
    apart: int = abs(others - (past_events - before[CLICKS] - before[VIEWS] - before[INTERACTIONS]) * events)
    apart += abs(now[CLICKS] * past_events - before[CLICKS] * events)
    apart += abs(now[VIEWS] * past_events - before[VIEWS] * events)
    apart += abs(now[INTERACTIONS] * past_events - before[INTERACTIONS] * events)
    return float(apart / (2 * events * past_events))


# --- the pass ---


@compiled
def compute(
    starts: Longs,
    tiles: TileColumns,
    lengths: Lengths,
    minute: Record,
    session: Record,
    pauses: Record,
    past: Record,
    heads: Records,
    rows: Records,
) -> int:
    """Fill ``heads`` and ``rows``, see :func:`rows_of`; return how many. The four records are room to work in."""
    written = 0
    for user in range(starts.shape[0] - 1):
        begin, end = starts[user], starts[user + 1]
        if not tiles.fresh[begin:end].any():
            continue
        pages, active = empty_pages(end - begin), np.empty(end - begin, ACTIVE)
        forget_user(session, past)
        newest_fresh = np.int64(NEVER)
        tile = begin
        while tile < end:
            stop, is_fresh = read_minute(tiles, tile, end, minute)
            now = minute.now
            if is_fresh:
                newest_fresh = now
            begins, is_split = enter_minute(minute, session, lengths)
            if begins:
                begin_session(minute, session, pauses)
                end_session(past, active, lengths)
            count_events(minute, session)
            for k in range(tile, stop):
                page = pages[slot_of(tiles.page[k], pages)]
                count_page(page, tiles.counts[k, EVENTS], tiles.counts[k, INTERACTIONS], now, session, lengths)
            active_seconds = count_pauses(minute, pauses)
            move_past(now, past, active, lengths)
            near = near_hour(now, session, past)
            # Between two fresh tiles far apart there is nothing new, and the past of what is there may not be in sight.
            if newest_fresh != NEVER and now <= newest_fresh + lengths.look_back:
                head, row = heads[written], rows[written]
                head.first_tile = begin
                head.minute = now
                head.first_minute = session.first_minute
                head.received = minute.received
                head.is_split = is_split
                length = now - session.first_minute + 1
                write_minute(row, minute, active_seconds)
                write_session(row, session, length)
                write_pauses(row, pauses, length)
                write_past(row, minute, session, past, near)
                written += 1
            remember(minute, past, active[past.known])
            tile = stop
    return written


def rows_of(tiles: dict[str, npt.NDArray[Any]], starts: Longs, lengths: Lengths) -> tuple[Records, Doubles]:
    """The rows that the fresh tiles make or change.

    Args:
        tiles: (tiles) by name, sorted by user and minute: the counts, ``minute``, ``page``, ``second_mask``,
            ``session_mark`` (NONE where absent), ``received``, ``fresh``.
        starts: (users + 1) first tile of each user, and the number of tiles.

    Returns:
        (rows) of :data:`HEAD`, and (rows, features) in the order of :data:`features.definitions.FEATURES`; NaN: not
        defined.
    """
    size = len(tiles["minute"])
    columns = TileColumns(
        tiles["minute"],
        tiles["page"],
        np.ascontiguousarray(np.column_stack([tiles[name] for name in COUNT_NAMES])),
        tiles["second_mask"],
        tiles["session_mark"],
        tiles["received"],
        tiles["fresh"],
    )
    heads, rows = np.empty(size, HEAD), np.empty(size, ROW)
    minute, session, pauses, past = (np.zeros(1, kind)[0] for kind in (MINUTE, SESSION, PAUSES, PAST))
    count = compute(starts, columns, lengths, minute, session, pauses, past, heads, rows)
    return heads[:count], rows[:count].view(np.float64).reshape(count, len(FEATURE_NAMES))
