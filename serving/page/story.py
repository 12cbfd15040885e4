"""A person's story: what was done, visit by visit, as people would tell it, with the flagged minutes in it.

Read from the tables when a time line is loaded; the charts above it go on by themselves, the story says how old it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from features.revisions import latest_in_arrow
from features.tables import EVENTS, SCORES
from lake.reader import LakeReader
from serving.page.words import utc
from serving.user_segments import segment_of

MAX_VISITS, MAX_ACTS = 8, 60
"""Shown; of more, the newest visits and the first acts of a visit."""
MAX_EVENTS = 20_000
"""Events of the person that are looked at, the newest."""
MAX_OTHERS, MAX_PLACES = 10, 5
"""People who share an address or a device, and addresses or devices that are looked for."""
SHOWN = ("user_id", "action", "page", "timestamp", "event_id", "session_id", "outcome", "country", "ip", "device_id",
         "user_agent", "anonymous_id", "properties")  # fmt: skip
"""What a raw event is shown of."""
READ = [*SHOWN, "topic", "partition", "offset", "part"]


@dataclass(frozen=True)
class Act:
    """The same action on the same page, once or several times in a row.

    Attributes:
        until: of the last time.
        is_flagged: whether it was done in a flagged minute.
        raw: the first time's event, as JSON.
    """

    at: datetime
    until: datetime
    action: str
    page: str
    times: int
    failed: int
    is_flagged: bool
    raw: str


@dataclass(frozen=True)
class Visit:
    """A session: its first ``acts``, and how many ``events`` it has in all; ``start`` None: not scored yet."""

    start: datetime | None
    first: datetime
    last: datetime
    events: int
    acts: tuple[Act, ...]
    more: int
    flagged_minutes: int
    places: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Other:
    """Somebody else who came by the same address or device."""

    user: str
    by: str
    value: str
    events: int


@dataclass(frozen=True)
class Story:
    """Visits, the newest first; ``earlier`` are more of them than are shown."""

    visits: tuple[Visit, ...]
    earlier: int
    others: tuple[Other, ...]
    kind: Mapping[str, Any] | None
    as_of: datetime = field(default_factory=lambda: datetime.now(UTC))


def story_of(reader: LakeReader, names: Sequence[str], hours: int) -> Story | None:
    """The story of the hours that end with the person's newest event; None where there is none. Blocks.

    Args:
        names: what the tables may call the person.

    Raises:
        EnvironmentProblem: a table cannot be read.
    """
    who = pa.array(sorted(names), pa.string())
    own = pc.field("user_id").isin(who)
    newest = reader.newest(EVENTS, 1, columns=["timestamp"], keys=own)
    if not newest.num_rows:
        return None
    until = utc(newest["timestamp"][0].as_py())
    since = until - timedelta(hours=hours)
    events = reader.rows(EVENTS, columns=READ, since=since, where=own)
    order = [(name, "ascending") for name in ("timestamp", "topic", "partition", "offset", "part")]
    events = events.sort_by(order).slice(max(0, events.num_rows - MAX_EVENTS))
    columns = ["user_id", "window_start", "session_start", "verdict", "batch_time", "batch_id"]
    scores = reader.rows(SCORES, columns=columns, since=since - timedelta(minutes=1), where=own)
    minutes = {utc(row["window_start"]): row for row in latest_in_arrow(scores, SCORES).to_pylist()}
    visits = list(told(events.to_pylist(), minutes))
    return Story(
        tuple(reversed(visits[-MAX_VISITS:])),
        max(0, len(visits) - MAX_VISITS),
        tuple(_others(reader, visits, who, since)),
        segment_of(reader, who),
    )


def told(events: Iterable[Mapping[str, Any]], minutes: Mapping[datetime, Mapping[str, Any]]) -> Iterator[Visit]:
    """Visits of events in their order.

    Args:
        minutes: by their start, the session and the verdict of scored minutes.
    """

    def at(event: Mapping[str, Any]) -> datetime:
        return utc(event["timestamp"]).replace(second=0, microsecond=0)

    def minute(event: Mapping[str, Any]) -> Mapping[str, Any]:
        return minutes.get(at(event), {})

    def is_flagged(event: Mapping[str, Any]) -> bool:
        return minute(event).get("verdict") == "anomaly"

    for start, inside in groupby(events, key=lambda event: minute(event).get("session_start")):
        own = list(inside)
        runs = groupby(own, key=lambda event: (event["action"], event["page"], is_flagged(event)))
        acts = [_act(list(run), is_flagged=flagged) for (_, _, flagged), run in runs]
        flagged_minutes = {at(event) for event in own if is_flagged(event)}
        names = ("ip", "device_id", "country")
        places = {name: tuple(dict.fromkeys(event[name] for event in own if event.get(name))) for name in names}
        yield Visit(
            None if start is None else utc(start), utc(own[0]["timestamp"]), utc(own[-1]["timestamp"]), len(own),
            tuple(acts[:MAX_ACTS]), max(0, len(acts) - MAX_ACTS), len(flagged_minutes), places,
        )  # fmt: skip


def _act(run: Sequence[Mapping[str, Any]], *, is_flagged: bool) -> Act:
    first = run[0]
    failed = sum(event.get("outcome") == "failed" for event in run)
    return Act(
        utc(first["timestamp"]), utc(run[-1]["timestamp"]), first["action"], first["page"], len(run), failed,
        is_flagged, raw_of(first),
    )  # fmt: skip


def raw_of(event: Mapping[str, Any]) -> str:
    """An event as JSON: what it has of :data:`SHOWN`."""
    properties = event.get("properties")
    given = {name: event.get(name) for name in SHOWN} | {"properties": dict(properties) if properties else None}
    known = {name: value for name, value in given.items() if value is not None}
    return json.dumps(known, default=lambda value: utc(value).isoformat(), ensure_ascii=False, indent=1)


def _others(reader: LakeReader, visits: Sequence[Visit], who: pa.Array, since: datetime) -> Iterator[Other]:
    """Who else came by the addresses and devices of the visits, those with most events first."""
    wanted: dict[str, list[str]] = {}
    for name in ("ip", "device_id"):
        seen = dict.fromkeys(value for visit in reversed(visits) for value in visit.places[name])
        wanted[name] = list(seen)[:MAX_PLACES]
    same = [pc.field(name).isin(pa.array(values, pa.string())) for name, values in wanted.items() if values]
    if not same:
        return
    either = same[0] if len(same) == 1 else same[0] | same[1]
    rows = reader.rows(
        EVENTS, columns=["user_id", "ip", "device_id"], since=since, where=either & ~pc.field("user_id").isin(who)
    )
    found: dict[tuple[str, str, str], int] = {}
    for name, values in wanted.items():
        shared = rows.filter(pc.is_in(rows[name], pa.array(values, pa.string()))) if values else rows.slice(0, 0)
        counted = shared.group_by(["user_id", name]).aggregate([([], "count_all")])
        for row in counted.to_pylist():
            found[row["user_id"], name, row[name]] = row["count_all"]
    for (user, by, value), events in sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MAX_OTHERS]:
        yield Other(user, by, value, events)
