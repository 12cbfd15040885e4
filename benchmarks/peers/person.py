"""What a peer remembers of one user, and the features it makes of it: plain Python, as one writes it for a consumer.

The definitions are those of :mod:`features.definitions`, for events in order of time: within a batch the caller sorts
them; an event of an earlier minute than the user's newest is late and is left out (``late`` counts it). Nothing of the
platform is imported here: the peers' environments lack it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

GAP, LONGEST, OWN_PAST, DAY, HOUR = 30, 480, 1440, 1440, 60
NAN = math.nan

FEATURES = (
    "clicks_per_minute",
    "events_per_minute",
    "pages_per_session",
    "distinct_pages_per_session",
    "session_minutes",
    "gap_mean_seconds",
    "gap_variation",
    "gap_equal_share",
    "repeat_ratio",
    "click_share",
    "view_share",
    "interaction_share",
    "own_rate_ratio",
    "session_active_rate",
    "recent_minutes",
    "recent_hours",
    "form_repeat_share",
    "session_events",
)
"""The model's, and the number of events that says whether a row can be scored."""

Event = tuple[int, str, str]
"""Second since 1970, action, page."""
Row = tuple[Any, ...]
"""Minute since 1970, then :data:`FEATURES`."""


class Person:
    """One user: the session so far, and the active minutes of a day."""

    __slots__ = (
        "clicks", "dirty", "equal", "events", "form_pages", "forms", "in_clicks", "in_events", "interactions",
        "last_pause", "last_second", "late", "mask", "minute", "opened", "pages", "part", "past", "past_events",
        "pauses", "seconds", "span", "squares", "start", "views",
    )  # fmt: skip

    def __init__(self) -> None:
        self.minute = self.opened = self.part = self.start = -1
        self.late = self.past_events = 0
        self.past: deque[tuple[int, int]] = deque()
        self.dirty = False
        self.mask = self.in_events = self.in_clicks = 0
        self._begin(-1)

    def _begin(self, minute: int) -> None:
        self.start = minute
        self.events = self.clicks = self.views = self.interactions = 0
        self.pages: set[str] = set()
        self.form_pages: set[str] = set()
        self.seconds = self.span = self.squares = self.pauses = self.equal = 0
        self.last_second = self.last_pause = -1

    def take(self, events: Iterable[Event]) -> list[Row]:
        """Take events in order of time; give a row for each minute they touch."""
        rows: list[Row] = []
        for second, action, page in events:
            minute = second // 60
            if minute != self.minute:
                if minute < self.minute:
                    self.late += 1
                    continue
                if self.dirty:
                    rows.append(self.row())
                self._next(minute)
            self.mask |= 1 << second % 60
            self.in_events += 1
            self.events += 1
            self.pages.add(page)
            if action == "view":
                self.views += 1
            elif action == "click":
                self.clicks += 1
                self.in_clicks += 1
            elif action == "interaction":
                self.interactions += 1
                self.form_pages.add(page)
            self.dirty = True
        if self.dirty:
            rows.append(self.row())
        return rows

    def _next(self, minute: int) -> None:
        """Close the minute in hand and begin the next one."""
        if self.minute >= 0:
            pauses = self._pauses()
            (self.seconds, self.span, self.squares, self.pauses, self.equal, self.last_second, self.last_pause) = pauses
            self.past.append((self.minute, self.in_events))
            self.past_events += self.in_events
        while self.past and self.past[0][0] < minute - OWN_PAST:
            self.past_events -= self.past.popleft()[1]
        if self.minute < 0 or minute - self.minute > GAP:
            self.opened = minute
        is_split = minute - self.opened >= LONGEST
        part = max(minute - minute % LONGEST, self.opened + LONGEST) if is_split else self.opened
        if part != self.part:
            self.part = part
            self._begin(minute)
        self.minute = minute
        self.mask = self.in_events = self.in_clicks = 0

    def _pauses(self) -> tuple[int, int, int, int, int, int, int]:
        """The session's pauses with those of the minute in hand."""
        seconds, span, squares, pauses, equal = self.seconds, self.span, self.squares, self.pauses, self.equal
        last_second, last_pause, rest, base = self.last_second, self.last_pause, self.mask, self.minute * 60
        while rest:
            lowest = rest & -rest
            rest ^= lowest
            second = base + lowest.bit_length() - 1
            if last_second >= 0:
                pause = second - last_second
                span += pause
                squares += pause * pause
                pauses += 1
                equal += pause == last_pause
                last_pause = pause
            seconds += 1
            last_second = second
        return seconds, span, squares, pauses, equal, last_second, last_pause

    def row(self) -> Row:
        """The row of the minute in hand."""
        self.dirty = False
        seconds, span, squares, pauses, equal, _, _ = self._pauses()
        events, pages, length, known = self.events, len(self.pages), self.minute - self.start + 1, len(self.past)
        hours = {minute % DAY // HOUR for minute, _ in self.past}
        hours.add(self.minute % DAY // HOUR)
        return (
            self.minute,
            self.in_clicks,
            self.in_events,
            self.views,
            pages,
            length,
            span / pauses if pauses else NAN,
            math.sqrt(pauses * squares - span * span) / span if pauses else NAN,
            equal / (pauses - 1) if pauses > 1 else NAN,
            (events - pages) / events,
            self.clicks / events,
            self.views / events,
            self.interactions / events,
            self.in_events * known / self.past_events if known else NAN,
            seconds / length,
            known + 1,
            len(hours),
            (self.interactions - len(self.form_pages)) / events,
            events,
        )
