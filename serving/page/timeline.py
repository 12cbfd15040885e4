"""A user's time line: features over time with the flagged minutes, the user's own earlier values behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from features.definitions import FEATURES, Feature
from features.revisions import latest_in_arrow
from features.tables import SCORES
from lake.log import Commit, RecentCommits
from lake.reader import LakeReader
from serving.linked_ids import links_with
from serving.page.charts import Chart, Floats, own_baseline
from serving.page.words import clock, number, plural, utc

SPANS = (1, 6, 24, 168)
"""Hours that a reader may choose from."""
MAX_CHARTS = 6
MIN_SPAN_MINUTES = 30
MAX_MINUTES = 10_080
MAX_LINKS = 10
MAX_LISTED = 40
"""Flagged minutes that are listed with their reasons."""

USUAL_CHARTS = ("events_per_minute", "pages_per_session", "active_seconds", "gap_mean_seconds", "repeat_ratio")
"""Shown after the features that reasons name."""
_FEATURES = {feature.name: feature for feature in FEATURES}


@dataclass(frozen=True)
class Picture:
    """A chart with what stands around it."""

    title: str
    caption: str
    most: str
    svg: Markup


@dataclass(frozen=True)
class Linked:
    """Another id of the same person, within a sentence."""

    before: str
    other: str
    after: str


@dataclass(frozen=True)
class Line:
    """A user's time line over some hours that end with the newest minute."""

    user: str
    hours: int
    first: datetime
    begin: datetime
    end: datetime
    pictures: list[Picture]
    flagged: list[dict[str, Any]]
    count: int
    flagged_count: int
    scored_count: int
    newest: dict[str, Any]
    links: list[Linked]

    @property
    def ticks(self) -> list[str]:
        """Times along the lower edge."""
        middle = self.begin + (self.end - self.begin) / 2
        days = self.end - self.begin > timedelta(hours=25)
        return [f"{when:%m-%d %H:%M}" if days else f"{when:%H:%M}" for when in (self.begin, middle, self.end)]


class Timeline:
    """One user's score rows, read once and kept up to date with new commits.

    ``names`` are what the tables may call the user: the id, and its keyed hash where they have no ids.
    """

    def __init__(self, reader: LakeReader, user: str, hours: int, names: Sequence[str] = ()) -> None:
        self.user = user
        self.names = frozenset(names or (user,))
        self.hours = hours if hours in SPANS else SPANS[1]
        self._reader = reader
        self.version = -1
        """The newest version of table scores that is in it."""
        self._rows: pa.Table | None = None
        self._links: list[Linked] = []

    def load(self) -> None:
        """Read the user's newest rows: as many hours as wanted, counted back from the newest."""
        self.version = self._reader.version(SCORES)
        own = pc.field("user_id").isin(pa.array(self.names, pa.string()))
        links = links_with(self._reader, pa.array(self.names, pa.string()))[:MAX_LINKS]
        self._links = [linked(link, is_user=link["user_id"] in self.names) for link in links]
        newest = self._reader.newest(SCORES, 1, columns=["window_start"], keys=own)
        if not newest.num_rows:
            self._rows = None
            return
        since = utc(newest["window_start"][0].as_py()) - timedelta(hours=self.hours)
        self._rows = self._reader.rows(SCORES, since=since, where=own)

    def take(self, tail: RecentCommits, commit: Commit, has_user: bool) -> None:
        """Add the user's rows of a new commit."""
        self.version = commit.version
        rows = tail.read(commit, SCORES.columns) if has_user else None
        if rows is None:
            return
        own = rows.filter(pc.is_in(rows["user_id"], pa.array(self.names, pa.string())))
        kept = self._rows
        self._rows = own if kept is None else pa.concat_tables([kept, own.cast(kept.schema)])

    def line(self) -> Line | None:
        """The time line; None where the user has no scored minute."""
        if self._rows is None or not self._rows.num_rows:
            return None
        rows = latest_in_arrow(self._rows, SCORES).sort_by("window_start")
        end = utc(rows["window_start"][-1].as_py()) + timedelta(minutes=1)
        edge = pa.scalar(end - timedelta(hours=self.hours), pa.timestamp("us", "UTC"))
        rows = rows.filter(pc.greater_equal(rows["window_start"].cast(pa.timestamp("us", "UTC")), edge))
        return line_of(self.user, self.hours, rows.slice(max(0, rows.num_rows - MAX_MINUTES)), self._links)


def linked(link: dict[str, Any], *, is_user: bool) -> Linked:
    """A link (:func:`serving.linked_ids.links_with`) as the time line of its user says it, or that of the other id."""
    if link["is_undone"]:
        what = "the link was undone."
    elif link["lent_from"] is None:
        what = "others were linked to that id, too: what it did counts for nobody."
    elif link["lent_until"] is None:
        what = "what it did counts as the user's from then on."
    else:
        what = f"what it did counts as the user's from then until {moment(link['lent_until'])}, when another user came."
    other, name = ("Was called", "anonymous_id") if is_user else ("Is the user", "user_id")
    return Linked(other, link[name], f"{'before' if is_user else 'since'} {moment(link['linked_at'])}: {what}")


def line_of(user: str, hours: int, rows: pa.Table, links: list[Linked]) -> Line:
    """The time line of ``rows``: score rows of one user, at least one, ascending in time, one per minute."""
    times = [utc(when) for when in rows["window_start"].to_pylist()]
    end = times[-1] + timedelta(minutes=1)
    begin = min(times[0], end - timedelta(minutes=MIN_SPAN_MINUTES))
    minutes = np.array([(when - begin).total_seconds() / 60 for when in times])
    span = (end - begin).total_seconds() / 60
    flagged = np.array([verdict == "anomaly" for verdict in rows["verdict"].to_pylist()])
    flagged_rows = rows.filter(pa.array(flagged)).to_pylist()
    pictures = [_score_picture(rows, minutes, flagged, span)]
    pictures += [
        _picture(feature, _values(rows, feature.name), minutes, flagged, span)
        for feature in _chosen(flagged_rows)[: MAX_CHARTS - 1]
    ]
    scored = sum(verdict != "insufficient_data" for verdict in rows["verdict"].to_pylist())
    newest = rows.slice(rows.num_rows - 1).to_pylist()[0]
    latest_first = flagged_rows[::-1][:MAX_LISTED]
    return Line(
        user, hours, times[0], begin, end, pictures, latest_first, len(times), int(flagged.sum()), scored, newest, links
    )


def _chosen(flagged: Sequence[dict[str, Any]]) -> list[Feature]:
    """The features that reasons name most often, then the usual ones."""
    named = Counter(reason["feature"] for row in flagged for reason in row["reasons"] or [])
    order = [name for name, _ in named.most_common()] + list(USUAL_CHARTS)
    return [_FEATURES[name] for name in dict.fromkeys(order) if name in _FEATURES]


def _values(rows: pa.Table, name: str) -> Floats:
    column = rows[name].cast(pa.float64())
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _score_picture(rows: pa.Table, minutes: Floats, flagged: Any, span: float) -> Picture:
    limit = float(rows["threshold"][-1].as_py())
    values = _values(rows, "anomaly_score")
    chart = Chart("Anomaly score", "", minutes, values, flagged, span, limit=limit)
    now = number(_last(values))
    caption = f"now {now}, flagged from {number(limit)}"
    return Picture(chart.title, caption, number(chart.most), chart.svg(_spoken(chart, caption)))


def _picture(feature: Feature, values: Floats, minutes: Floats, flagged: Any, span: float) -> Picture:
    low, usual, high = own_baseline(values, flagged)
    title = title_of(feature)
    chart = Chart(title, feature.unit, minutes, values, flagged, span, low, high, usual)
    own = _last(usual)
    caption = f"now {number(_last(values), feature.unit)}"
    caption += f", own usual {number(own, feature.unit)}" if own is not None else ""
    return Picture(title, caption, number(chart.most, feature.unit), chart.svg(_spoken(chart, caption)))


def title_of(feature: Feature) -> str:
    """A heading from the feature's noun, which completes "96 % …": "of events are clicks" is the share of clicks."""
    noun = feature.noun
    if noun.startswith("of "):
        noun = f"share of {noun.removeprefix('of events are ').removeprefix('of ')}"
    return noun[0].upper() + noun[1:]


def _last(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known[-1]) if known.size else None


def _spoken(chart: Chart, caption: str) -> str:
    strange = int(chart.flagged.sum())
    return (
        f"{chart.title} over {plural(len(chart.minutes), 'active minute')}: {caption}; "
        f"highest {number(chart.most, chart.unit)}; {plural(strange, 'flagged minute')}."
    )


def moment(when: datetime) -> str:
    """A minute as the list of flagged minutes names it."""
    return clock(when)[:5] if len(clock(when)) == 8 else clock(when)
