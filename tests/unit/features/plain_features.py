"""The features once more, as their definitions read: slow, per row, from the events themselves. An oracle for tests."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from features.behavior import SessionRules
from features.definitions import FEATURE_NAMES

NAN = math.nan


@dataclass(frozen=True)
class Act:
    """One event of one user: second since 1970, action, page, the sender's session id."""

    second: int
    action: str = "view"
    page: str = "/a"
    session: str | None = None

    @property
    def minute(self) -> int:
        return self.second // 60


def session_of_each_minute(acts: Sequence[Act], rules: SessionRules) -> dict[int, tuple[int, bool]]:
    """Active minute -> (identity of its session, whether it was cut by the longest length)."""
    minutes = sorted({act.minute for act in acts})
    ids = {m: _newest_id([act for act in acts if act.minute == m]) for m in minutes}
    found: dict[int, tuple[int, bool]] = {}
    opened = previous = -1
    for m in minutes:
        pause = m - previous
        if previous < 0 or pause > rules.longest:
            opens = True
        elif ids[m] is not None and ids[previous] is not None:
            opens = ids[m] != ids[previous]
        else:
            opens = pause > rules.gap
        if opens:
            opened = m
        split = m - opened >= rules.longest
        found[m] = (max(m // rules.longest * rules.longest, opened + rules.longest) if split else opened, split)
        previous = m
    return found


def _newest_id(acts: Sequence[Act]) -> str | None:
    known = [act for act in acts if act.session is not None]
    return max(known, key=lambda act: act.second).session if known else None


def plain_features(acts: Sequence[Act], rules: SessionRules) -> dict[int, dict[str, float]]:
    """Minute -> its features, for the acts of one user."""
    sessions = session_of_each_minute(acts, rules)
    return {m: _row(m, acts, sessions, rules) for m in sessions}


def _row(m: int, acts: Sequence[Act], sessions: dict[int, tuple[int, bool]], rules: SessionRules) -> dict[str, float]:
    here = [act for act in acts if act.minute == m]
    past = [act for act in acts if act.minute <= m]
    session = [act for act in past if sessions[act.minute] == sessions[m]]
    first = min(act.minute for act in session)
    before = [act for act in past if m - rules.own_past <= act.minute < m]
    before_minutes = {act.minute for act in before}
    earlier_minutes = {x for x in before_minutes if sessions[x] != sessions[m]}
    earlier = [act for act in before if act.minute in earlier_minutes]
    pages, total = Counter(act.page for act in session), len(session)
    repeats = _count(session, "interaction") - len({act.page for act in session if act.action == "interaction"})
    seconds = sorted({act.second for act in session})
    pauses = [b - a for a, b in itertools.pairwise(seconds)]
    mean = sum(pauses) / len(pauses) if pauses else NAN
    deviation = math.sqrt(sum((x - mean) ** 2 for x in pauses) / len(pauses)) if pauses else NAN
    equal = [a == b for a, b in itertools.pairwise(pauses)]
    hour = m // 60 % 24
    near = [x for x in earlier_minutes if (x // 60 % 24 - hour) % 24 in (0, 1, 23)]
    row = {
        **{f"{kind}s_per_minute": _count(here, kind) for kind in ("click", "view", "interaction")},
        "events_per_minute": len(here),
        "active_seconds": len({act.second for act in here}),
        "pages_per_session": _count(session, "view"),
        "distinct_pages_per_session": len(pages),
        "session_minutes": m - first + 1,
        "session_events": total,
        "session_rate": total / (m - first + 1),
        "session_peak_rate": max(Counter(act.minute for act in session).values()),
        "gap_mean_seconds": mean,
        "gap_std_seconds": deviation,
        "gap_variation": deviation / mean if pauses else NAN,
        "gap_min_seconds": min(pauses, default=NAN),
        "gap_equal_share": sum(equal) / len(equal) if equal else NAN,
        "repeat_ratio": 1 - len(pages) / total,
        "top_page_share": max(pages.values()) / total,
        "page_concentration": sum(n * n for n in pages.values()) / total**2,
        **{f"{kind}_share": _count(session, kind) / total for kind in ("click", "view", "interaction")},
        "new_page_share": _novel(session, past, sessions, m, rules) / len(pages) if earlier_minutes else NAN,
        "own_rate_ratio": len(here) / (len(before) / len(before_minutes)) if before else NAN,
        "own_hours_share": len(near) / len(earlier_minutes) if earlier_minutes else NAN,
        "own_past_minutes": len(earlier_minutes),
        "session_active_seconds": len(seconds),
        "session_active_rate": len(seconds) / (m - first + 1),
        "recent_events": len(before) + len(here),
        "recent_minutes": len(before_minutes | {m}),
        "recent_hours": len({x // 60 % 24 for x in before_minutes | {m}}),
        "form_repeats": repeats,
        "form_repeat_share": repeats / total,
        "form_repeats_per_minute": repeats / (m - first + 1),
        "own_volume_ratio": total / (len(earlier) / _visits(earlier_minutes, rules)) if earlier else NAN,
        "own_mix_shift": sum(abs(_mix(session)[k] - _mix(earlier)[k]) for k in range(4)) / 2 if earlier else NAN,
        "own_night_share": _at_night(session, past, sessions, rules) if earlier else NAN,
    }
    assert list(row) == list(FEATURE_NAMES)
    return {name: float(value) for name, value in row.items()}


def _count(acts: Sequence[Act], action: str) -> int:
    return sum(act.action == action for act in acts)


def _novel(
    session: Sequence[Act], past: Sequence[Act], sessions: dict[int, tuple[int, bool]], m: int, rules: SessionRules
) -> int:
    """Pages of the session that the user did not touch in the own past of the minute that first touched them."""
    novel = 0
    for page in {act.page for act in session}:
        first = min(act.minute for act in session if act.page == page)
        touched = [a for a in past if a.page == page and sessions[a.minute] != sessions[m]]
        novel += not any(first - rules.own_past <= a.minute < first for a in touched)
    return novel


def _visits(minutes: set[int], rules: SessionRules) -> int:
    """Visits in these active minutes, one more than the pauses between them that are longer than a session's gap."""
    return 1 + sum(later - one > rules.gap for one, later in itertools.pairwise(sorted(minutes)))


def _mix(acts: Sequence[Act]) -> list[float]:
    """Shares of clicks, views, interactions and others."""
    known = [_count(acts, kind) / len(acts) for kind in ("click", "view", "interaction")]
    return [*known, 1 - sum(known)]


def _at_night(
    session: Sequence[Act], past: Sequence[Act], sessions: dict[int, tuple[int, bool]], rules: SessionRules
) -> float:
    """Share of the session's active minutes whose own past before the session has no activity within an hour."""
    nights = []
    for m in {act.minute for act in session}:
        earlier = {a.minute for a in past if m - rules.own_past <= a.minute < m and sessions[a.minute] != sessions[m]}
        near = [x for x in earlier if (x // 60 % 24 - m // 60 % 24) % 24 in (0, 1, 23)]
        nights.append(bool(earlier) and not near)
    return sum(nights) / len(nights)
