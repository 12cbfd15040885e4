"""Random streams of events: late, out of order, doubled, with clocks that jump, over the borders of days and months."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from hypothesis import strategies as st

from tests.unit.features.plain_features import Act

MIDNIGHT = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
"""End of a February: a day, a month, and no 29th."""
DAY = 86_400
BORDERS = [MIDNIGHT - 20 * 60, MIDNIGHT, MIDNIGHT - 31]
JUMPS = [0, 0, 0, 0, 0, 40 * 60, -7200, DAY, -DAY, -400 * DAY]
"""Most clocks are right; some are off by a day, and some by more than a year."""


@st.composite
def acts(draw: st.DrawFn) -> Act:
    """One event near a border, by a clock that may have jumped."""
    near = draw(st.sampled_from(BORDERS)) + draw(st.integers(-5 * 60, 15 * 60))
    return Act(
        second=near + draw(st.sampled_from(JUMPS)),
        action=draw(st.sampled_from(["click", "view", "interaction", "asset"])),
        page=draw(st.sampled_from(["/a", "/b", "/c", "/d"])),
        session=draw(st.sampled_from([None, None, None, "s1", "s2"])),
    )


@dataclass(frozen=True)
class Sent:
    """What an app sent: who, what, and whether its event came twice."""

    user: str
    act: Act
    twice: bool


def streams(least: int = 1, most: int = 60) -> st.SearchStrategy[list[Sent]]:
    """Events in the order in which they arrive, which is no order of time.

    A user has one event a second at most: which of two session ids of one second is the newest is not defined.
    """
    sent = st.builds(Sent, user=st.sampled_from(["ada", "bob"]), act=acts(), twice=st.booleans())
    return st.lists(sent, min_size=least, max_size=most, unique_by=lambda one: (one.user, one.act.second))
