"""Common sense about many events: what can hardly be right although each of them is, told with figures.

Each check is about *who*: a log of which the balancer's address is read, a tracker that sends one name for all, or a
new one for each event, gives events that are sound one by one, and scores that are wrong for everybody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

ENOUGH = 50
"""Fewer events say nothing about who or what is missing among them."""
NEARLY_ALL = 0.9
MAX_USERS = 200_000
"""Users that are counted by name; who comes later is counted together."""
PLACEHOLDERS = frozenset(
    {
        "undefined", "null", "(null)", "nil", "none", "nan", "[object object]", "-", "unknown", "anonymous", "n/a",
        "(not set)", "guest", "0", "-1", "false", "true", "00000000-0000-0000-0000-000000000000",
    }
)  # fmt: skip
"""What programs write in place of a user they do not know, in lower case."""
SAMPLE_NAMES = 5
COUNTED = ["user_id", "action", "timestamp"]
"""Columns of table ``events`` that are looked at."""


def is_placeholder(name: str) -> bool:
    """Whether a program wrote ``name`` for somebody it did not know: one of those, or blank, or nothing but zeros."""
    return name.strip().lower() in PLACEHOLDERS or not name.strip(" 0-")


@dataclass
class Tally:
    """What a number of events say together; :meth:`add` counts one more group of them."""

    events: int = 0
    users: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    first: int | None = None
    last: int | None = None
    """Microseconds since 1970."""
    rejected: Counter[str] = field(default_factory=Counter)
    others: int = 0
    """Events of users beyond :data:`MAX_USERS`."""

    def add(self, user: str, action: str, first: int | None, last: int | None = None, count: int = 1) -> None:
        """Count events of one user and action, the first and the last of them (None: the same) at these times."""
        self.events += count
        if user in self.users or len(self.users) < MAX_USERS:
            self.users[user] += count
        else:
            self.others += count
        if action in self.actions or len(self.actions) < MAX_USERS:
            self.actions[action] += count
        if first is not None:
            last = first if last is None else last
            self.first = first if self.first is None else min(self.first, first)
            self.last = last if self.last is None else max(self.last, last)

    def add_rows(self, events: pa.Table) -> None:
        """Count rows of table ``events``: :data:`COUNTED`."""
        groups = events.group_by(["user_id", "action"]).aggregate(
            [("timestamp", "min"), ("timestamp", "max"), ("timestamp", "count")]
        )
        columns = [groups[name].to_pylist() for name in ("user_id", "action", "timestamp_count")]
        ends = [groups[name].cast(pa.int64()).to_pylist() for name in ("timestamp_min", "timestamp_max")]
        for user, action, count, first, last in zip(*columns, *ends, strict=True):
            self.add(user, action, first, last, count)

    def add_rejected(self, reasons: Mapping[str, int]) -> None:
        self.rejected.update(reasons)


def doubts(tally: Tally) -> list[str]:
    """What can hardly be right, each in a sentence with figures; empty where nothing is.

    Placeholders are told of whenever one is there, all else from :data:`ENOUGH` events on.
    """
    return [*_placeholders(tally), *(_about_many(tally) if tally.events >= ENOUGH else ()), *_rejections(tally)]


def _placeholders(tally: Tally) -> Iterable[str]:
    found = {user: count for user, count in tally.users.items() if is_placeholder(user)}
    if found:
        names = ", ".join(f"{user!r} ({count:,})" for user, count in Counter(found).most_common(SAMPLE_NAMES))
        yield (
            f"{sum(found.values()):,} of {tally.events:,} events are of users called {names}: a program wrote that for "
            "somebody it did not know, and all of them count as one person. Mend the sender, or leave such events out."
        )


def _about_many(tally: Tally) -> Iterable[str]:
    user, most = tally.users.most_common(1)[0]
    if most >= NEARLY_ALL * tally.events:
        yield (
            f"{most:,} of {tally.events:,} events are of one user ({user[:40]!r}): is that a proxy's address, or a "
            "program's, in the place of people's? In a log, --client-field says where the client is."
        )
    if len(tally.users) + tally.others >= NEARLY_ALL * tally.events:
        yield (
            f"{tally.events:,} events are of {len(tally.users) + tally.others:,} users: nearly every event has a user "
            "of its own, such as a port, a time or a request's id within the name. Nobody can be scored so."
        )
    if tally.first is not None and tally.last is not None and tally.last - tally.first < 1_000_000:
        at = datetime.fromtimestamp(tally.first / 1e6, UTC)
        yield (
            f"All {tally.events:,} events are of one second ({at:%Y-%m-%d %H:%M:%S} UTC): is that the time of an "
            "export, in the place of the time at which each was done?"
        )
    if len(tally.actions) == 1:
        action = next(iter(tally.actions))
        yield (
            f"All {tally.events:,} events have the action {action[:40]!r}: what people do besides is not sent, or its "
            "name is lost on the way."
        )


def _rejections(tally: Tally) -> Iterable[str]:
    rejected = tally.rejected.total()
    if rejected >= ENOUGH and rejected > tally.events:
        reason, count = tally.rejected.most_common(1)[0]
        yield (
            f"{rejected:,} of {rejected + tally.events:,} records were rejected, {count:,} of them as {reason}: table "
            "rejected_events has each with its reason and detail."
        )
