"""The arithmetic of features: the tiles of whole users in order of time -> one row per user and minute.

One pass, compiled. Everything summed is an integer, divided once at the end, so any split and order of the
tiles of a minute gives the same numbers to the bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from features.compiled import compiled
from features.definitions import FEATURE_NAMES

Longs = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NONE = -1
"""Stands for a missing session mark, page or minute."""
NEVER = np.iinfo(np.int64).min // 4
SESSION_BITS = (1 << 57) - 1
WIDTH = len(FEATURE_NAMES)
DAY, HOUR = 1440, 60


@compiled
def compute(  # noqa: C901 - one pass: the state of a session lives in local variables
    starts: Longs,
    minute: Longs,
    page: Longs,
    counts: Longs,
    mask: Longs,
    mark: Longs,
    received: Longs,
    fresh: Flags,
    rules: Longs,
    at: Longs,
    split: Flags,
    values: Doubles,
) -> int:
    """Fill ``at``, ``split`` and ``values`` with the rows that the fresh tiles make or change; return how many.

    Args:
        starts: (users + 1) first tile of each user, and the number of tiles.
        minute, page, mask, mark, received, fresh: (tiles) sorted by user and minute; ``mark`` is NONE where absent.
        counts: (tiles, 4) events, clicks, views, interactions.
        rules: gap, longest, own past, look-back in minutes.
        at: (tiles, 4) out: first tile of the user, minute, first minute of the session, newest arrival.
        split: (tiles) out: the session was cut by its longest length.
        values: (tiles, features) out: in the order of :data:`features.definitions.FEATURES`; NaN: not defined.
    """
    gap, longest, own_past, look_back = rules[0], rules[1], rules[2], rules[3]
    rows = 0
    for user in range(starts.shape[0] - 1):
        begin, end = starts[user], starts[user + 1]
        if not fresh[begin:end].any():
            continue
        newest_fresh = np.int64(NEVER)

        # Pages of the user: an open-addressing table, twice as large as can be needed.
        size = 4
        while size < 2 * (end - begin):
            size *= 2
        keys = np.empty(size, np.int64)
        used = np.zeros(size, np.bool_)
        last_touch = np.empty(size, np.int64)
        page_session = np.empty(size, np.int64)
        page_events = np.empty(size, np.int64)
        page_forms = np.empty(size, np.int64)

        # Active minutes of the user, for the own past.
        own_minute = np.empty(end - begin, np.int64)
        own_counts = np.empty((end - begin, 4), np.int64)
        before = np.zeros(4, np.int64)  # ... and their counts, of those before this session only
        hours = np.zeros(24, np.int64)
        clock = np.zeros(24, np.int64)
        known, tail, hour_head, hour_tail = 0, 0, 0, 0
        past_events = visits = np.int64(0)

        previous, previous_mark = np.int64(NEVER), np.int64(NONE)
        opened, cut, session = np.int64(NEVER), np.int64(NEVER), 0
        first_minute = events = clicks = views = interactions = np.int64(0)
        peak = pages = new_pages = top = square_pages = np.int64(0)
        seconds = first_second = last_second = np.int64(0)
        squares = equal = shortest = last_pause = np.int64(0)
        forms = active = unusual = np.int64(0)

        tile = begin
        while tile < end:
            now = minute[tile]
            stop = tile
            own_mark = np.int64(NONE)
            in_minute = np.zeros(4, np.int64)
            bits, newest = np.int64(0), np.int64(NEVER)
            while stop < end and minute[stop] == now:
                for kind in range(4):
                    in_minute[kind] += counts[stop, kind]
                bits |= mask[stop]
                own_mark = max(own_mark, mark[stop])
                newest = max(newest, received[stop])
                if fresh[stop]:
                    newest_fresh = now
                stop += 1

            # Sessions.
            pause = now - previous
            if previous == NEVER or pause > longest:
                opens = True
            elif previous_mark != NONE and own_mark != NONE:
                opens = (previous_mark & SESSION_BITS) != (own_mark & SESSION_BITS)
            else:
                opens = pause > gap
            if opens:
                opened = now
            is_split = now - opened >= longest
            now_cut = max(now - now % longest, opened + longest) if is_split else opened
            if now_cut != cut:
                cut = now_cut
                session += 1
                first_minute = now
                events = clicks = views = interactions = np.int64(0)
                peak = pages = new_pages = top = square_pages = np.int64(0)
                seconds = squares = equal = np.int64(0)
                forms = active = unusual = np.int64(0)
                shortest, last_pause = np.int64(NONE), np.int64(NONE)
                while hour_head < known:  # what came before this session is the past its hours are compared with
                    hours[own_minute[hour_head] % DAY // HOUR] += 1
                    for kind in range(4):
                        before[kind] += own_counts[hour_head, kind]
                    if hour_head > hour_tail and own_minute[hour_head] - own_minute[hour_head - 1] > gap:
                        visits += 1
                    hour_head += 1
            previous, previous_mark = now, own_mark

            events += in_minute[0]
            clicks += in_minute[1]
            views += in_minute[2]
            interactions += in_minute[3]
            peak = max(peak, in_minute[0])

            # Pages.
            for k in range(tile, stop):
                slot = (page[k] ^ (page[k] >> 32)) & (size - 1)
                while used[slot] and keys[slot] != page[k]:
                    slot = (slot + 1) & (size - 1)
                if not used[slot]:
                    used[slot] = True
                    keys[slot] = page[k]
                    last_touch[slot] = NEVER
                    page_session[slot] = 0
                if page_session[slot] != session:
                    page_session[slot] = session
                    page_events[slot] = page_forms[slot] = 0
                    pages += 1
                    if last_touch[slot] < now - own_past:
                        new_pages += 1
                last_touch[slot] = now
                so_far = page_events[slot]
                after = so_far + counts[k, 0]
                page_events[slot] = after
                square_pages += after * after - so_far * so_far
                top = max(top, after)
                if counts[k, 3] > 0:
                    if page_forms[slot] == 0:
                        forms += 1
                    page_forms[slot] += counts[k, 3]

            # Pauses between active seconds.
            rest = bits
            in_seconds = np.int64(0)
            while rest != 0:
                lowest = rest & -rest
                second = now * 60 + np.int64(math.log2(float(lowest)))
                rest ^= lowest
                in_seconds += 1
                if seconds == 0:
                    first_second = second
                else:
                    length = second - last_second
                    squares += length * length
                    if shortest == NONE or length < shortest:
                        shortest = length
                    if length == last_pause:
                        equal += 1
                    last_pause = length
                seconds += 1
                last_second = second

            # The own past: active minutes in [now - own_past, now).
            while tail < known and own_minute[tail] < now - own_past:
                past_events -= own_counts[tail, 0]
                clock[own_minute[tail] % DAY // HOUR] -= 1
                tail += 1
            while hour_tail < hour_head and own_minute[hour_tail] < now - own_past:
                hours[own_minute[hour_tail] % DAY // HOUR] -= 1
                for kind in range(4):
                    before[kind] -= own_counts[hour_tail, kind]
                hour_tail += 1
                if hour_tail < hour_head and own_minute[hour_tail] - own_minute[hour_tail - 1] > gap:
                    visits -= 1
            past_minutes = known - tail
            before_session = hour_head - hour_tail

            hour = now % DAY // HOUR
            clock[hour] += 1
            near = hours[hour] + hours[(hour + 1) % 24] + hours[(hour + 23) % 24]
            active += 1
            if before_session > 0 and near == 0:
                unusual += 1

            # Between two fresh tiles far apart there is nothing new, and the past of what is there may not be in sight.
            if newest_fresh != NEVER and now <= newest_fresh + look_back:
                length = now - first_minute + 1
                pauses = seconds - 1
                span = last_second - first_second
                at[rows, 0] = begin
                at[rows, 1] = now
                at[rows, 2] = first_minute
                at[rows, 3] = newest
                split[rows] = is_split
                row = values[rows]
                row[0] = in_minute[1]
                row[1] = in_minute[2]
                row[2] = in_minute[3]
                row[3] = in_minute[0]
                row[4] = in_seconds
                row[5] = views
                row[6] = pages
                row[7] = length
                row[8] = events
                row[9] = events / length
                row[10] = peak
                if pauses > 0:
                    # n * sum(x^2) - sum(x)^2 is n^2 times the variance, exact in integers.
                    deviation = math.sqrt(float(pauses * squares - span * span))
                    row[11] = span / pauses
                    row[12] = deviation / pauses
                    row[13] = deviation / span
                    row[14] = shortest
                    row[15] = equal / (pauses - 1) if pauses > 1 else math.nan
                else:
                    row[11:16] = math.nan
                row[16] = (events - pages) / events if events > pages else 0.0
                row[17] = top / events
                row[18] = square_pages / (events * events)
                row[19] = clicks / events
                row[20] = views / events
                row[21] = interactions / events
                row[22] = new_pages / pages if before_session > 0 else math.nan
                row[23] = in_minute[0] * past_minutes / past_events if past_minutes > 0 else math.nan
                row[24] = near / before_session if before_session > 0 else math.nan
                row[25] = before_session
                row[26] = seconds
                row[27] = seconds / length
                row[28] = past_events + in_minute[0]
                row[29] = past_minutes + 1
                row[30] = np.count_nonzero(clock)
                row[31] = interactions - forms
                row[32] = (interactions - forms) / events if interactions > forms else 0.0
                row[33] = (interactions - forms) / length
                if before_session > 0:
                    row[34] = events * (visits + 1) / before[0]
                    # In integers: the shift between equal mixes is 0, not nearly 0.
                    others = (events - clicks - views - interactions) * before[0]
                    apart = abs(others - (before[0] - before[1] - before[2] - before[3]) * events)
                    apart += abs(clicks * before[0] - before[1] * events)
                    apart += abs(views * before[0] - before[2] * events)
                    apart += abs(interactions * before[0] - before[3] * events)
                    row[35] = apart / (2 * events * before[0])
                    row[36] = unusual / active
                else:
                    row[34:37] = math.nan
                rows += 1

            own_minute[known] = now
            own_counts[known] = in_minute
            past_events += in_minute[0]
            known += 1
            tile = stop
    return rows


def rows_of(tiles: dict[str, npt.NDArray[Any]], starts: Longs, rules: Longs) -> tuple[Longs, Flags, Doubles]:
    """Call :func:`compute` on named columns; see there for shapes."""
    size = len(tiles["minute"])
    at = np.empty((size, 4), np.int64)
    split = np.empty(size, np.bool_)
    values = np.empty((size, WIDTH), np.float64)
    counts = np.column_stack([tiles[name] for name in ("events", "clicks", "views", "interactions")])
    rows = compute(
        starts, tiles["minute"], tiles["page"], np.ascontiguousarray(counts), tiles["second_mask"],
        tiles["session_mark"], tiles["received"], tiles["fresh"], rules, at, split, values,
    )  # fmt: skip
    return at[:rows], split[:rows], values[:rows]
