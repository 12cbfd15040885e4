"""What the page knows, brought up to date by :meth:`Board.poll`; the rest of the package turns it into HTML.

Every look reads the commits since the last one and no more. What is shown of people (alerts, time lines) is read from
the tables anew when they change, so that nobody who was erased is kept here.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from features.errors import BehaviorError
from features.revisions import latest_in_arrow
from features.sense import COUNTED, Tally, doubts
from features.tables import (
    ALERTS,
    DRIFT_REPORTS,
    EVENTS,
    FEATURE_TABLE,
    FEEDBACK,
    PATTERN_DAYS,
    PATTERNS,
    REJECTED_EVENTS,
    SCORES,
    SEGMENTS,
    TRANSITIONS,
    Table,
)
from kafka.backlog import Ends, lag_of
from lake.location import address_of, is_local
from lake.log import Commit, RecentCommits
from lake.reader import LakeReader
from serving.page.pace import KEPT_SECONDS, Delay, Rate
from serving.page.streams import Progress, Query, Status, progress_of, queries_of, status_of
from settings import Settings
from streams.flow import FLOW, running

log = logging.getLogger(__name__)

MAX_ALERTS = 20
MAX_PATTERNS, MAX_SEGMENTS, MAX_STEPS = 8, 8, 8
REJECTED_HOURS = 24
SCORED = ["user_id", "verdict", "last_received_at"]
SENSE_SECONDS, SENSE_ROWS, SENSE_EVERY = 600.0, 100_000, 15.0
"""How many of the newest events are looked over together, and how often, in seconds."""
LOOK_BACK = (timedelta(days=1), timedelta(days=7), None)
"""How far back alerts are looked for, the nearest first."""


@dataclass(frozen=True)
class Scored:
    """A commit to scores: who is in it, and how many rows were flagged."""

    commit: Commit
    users: frozenset[str]
    flagged: int


@dataclass
class Board:
    """The state of the platform. Not for several threads at a time; :meth:`ask_kafka` may run beside :meth:`poll`."""

    settings: Settings
    reader: LakeReader
    ends: Ends
    events: Rate = field(default_factory=Rate)
    delay: Delay = field(default_factory=Delay)
    scored: deque[Scored] = field(default_factory=lambda: deque(maxlen=200))
    rejected: Counter[str] = field(default_factory=Counter)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    open_alerts: int = 0
    verdicts: dict[str, str] = field(default_factory=dict)
    patterns: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    drift: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    """What can hardly be right about the newest events, in sentences."""
    lag: dict[int, int] | None = None
    trouble: dict[str, str] = field(default_factory=dict)
    """What could not be read: a sentence for each source."""
    has_tables: bool = False
    _tails: dict[str, RecentCommits] = field(default_factory=dict)
    _written: dict[str, tuple[float, int]] = field(default_factory=dict)
    _progress: dict[str, Progress] = field(default_factory=dict)
    _versions: dict[str, int] = field(default_factory=dict)
    _kafka: dict[int, tuple[int, int]] = field(default_factory=dict)
    _rejected_at: float = 0.0
    _came: deque[Commit] = field(default_factory=deque)
    _sensed_at: float = 0.0

    def poll(self, now: float | None = None) -> None:
        """Look at everything but Kafka and the registry; what cannot be read becomes a sentence in ``trouble``."""
        now = time.time() if now is None else now
        self._try("tables", lambda: self._follow(now))
        self._try("alerts", self._read_alerts)
        self._try("patterns", self._read_patterns)
        self._try("drift", self._read_drift)
        self._try("streams", lambda: self._look_at_streams(now))

    def ask_kafka(self) -> None:
        """Ask Kafka how much of the topic there is."""
        self._try("kafka", self._ask_kafka)

    def _try(self, what: str, look: Any) -> None:
        try:
            look()
        except BehaviorError as problem:
            self.trouble[what] = str(problem)
        except Exception:
            log.exception("The page could not look at %s", what)
            self.trouble[what] = f"The page could not look at {what}: the server's log says why."
        else:
            self.trouble.pop(what, None)

    # --- commits ---

    def _follow(self, now: float) -> None:
        for table in (EVENTS, FEATURE_TABLE, SCORES, REJECTED_EVENTS, ALERTS):
            for commit in self._tail(table).poll():
                self._written[table.name] = (commit.at, commit.rows)
                if table is EVENTS:
                    self.events.series.add(commit.at, commit.rows)
                    self._came.append(commit)
                if table is SCORES and commit.at > now - KEPT_SECONDS:
                    self._take_scores(commit)
        self._make_sense(now)
        self.has_tables = any(tail.version >= 0 for tail in self._tails.values())
        self.events.series.forget(now)
        self.delay.series.forget(now)
        self._count_rejected(now)

    @property
    def scores(self) -> RecentCommits:
        """The table of scores, to read what a commit of :attr:`scored` brought."""
        return self._tail(SCORES)

    def _tail(self, table: Table) -> RecentCommits:
        if table.name not in self._tails:
            self._tails[table.name] = RecentCommits(self.reader.location(table))
        return self._tails[table.name]

    def _take_scores(self, commit: Commit) -> None:
        rows = self._tail(SCORES).read(commit, SCORED)
        if rows is None:
            return
        received = pc.cast(pc.drop_null(rows["last_received_at"]), pa.int64()).to_numpy() / 1e6
        self.delay.add(commit.at, (commit.at - received).tolist())
        flagged = int(pc.sum(pc.equal(rows["verdict"], "anomaly")).as_py() or 0)
        self.scored.append(Scored(commit, frozenset(rows["user_id"].to_pylist()), flagged))

    def _count_rejected(self, now: float) -> None:
        """Rejected records of the last day by reason, counted anew when more came, at most every ten seconds."""
        version = self._tail(REJECTED_EVENTS).version
        if version == self._versions.get(REJECTED_EVENTS.name, -1) or now - self._rejected_at < 10:
            return
        since = datetime.fromtimestamp(now, UTC) - timedelta(hours=REJECTED_HOURS)
        rows = self.reader.rows(REJECTED_EVENTS, columns=["reason"], since=since)
        counts = pc.value_counts(rows["reason"]).to_pylist()
        self.rejected = Counter({count["values"]: count["counts"] for count in counts})
        self._versions[REJECTED_EVENTS.name], self._rejected_at = version, now

    def _make_sense(self, now: float) -> None:
        """Look over the newest events for what can hardly be right, at most every so often, when more came."""
        while self._came and self._came[0].at < now - SENSE_SECONDS:
            self._came.popleft()
        while len(self._came) > 1 and sum(one.rows for one in self._came) > SENSE_ROWS:
            self._came.popleft()
        newest = self._came[-1].version if self._came else -1
        if newest == self._versions.get(EVENTS.name, -1) or now - self._sensed_at < SENSE_EVERY:
            return
        self._versions[EVENTS.name], self._sensed_at = newest, now
        tally = Tally()
        for commit in list(self._came):
            rows = self._tail(EVENTS).read(commit, COUNTED)
            if rows is not None:
                tally.add_rows(rows)
        self.doubts = doubts(tally)

    def flagged(self, now: float, within: float = KEPT_SECONDS) -> tuple[int, int]:
        """User-minutes that were flagged and that were scored within the last seconds; revisions count again."""
        recent = [one for one in self.scored if one.commit.at > now - within]
        return sum(one.flagged for one in recent), sum(one.commit.rows for one in recent)

    # --- what is read anew when it changes ---

    def _changed(self, table: Table) -> bool:
        version = self.reader.version(table)
        changed = version != self._versions.get(table.name, -1)
        self._versions[table.name] = version
        return changed

    def _read_alerts(self) -> None:
        feedback, alerts = self._changed(FEEDBACK), self._changed(ALERTS)
        if alerts:
            newest = self._newest_alerts()
            standing = newest.filter(pc.is_in(newest["state"], pa.array(["open", "closed"])))
            self.open_alerts = int(pc.sum(pc.equal(newest["state"], "open")).as_py() or 0)
            order = [("last_window_start", "descending"), ("raised_at", "descending"), ("alert_id", "ascending")]
            self.alerts = standing.sort_by(order).slice(0, MAX_ALERTS).to_pylist()
        if feedback or alerts:
            self._read_feedback()

    def _newest_alerts(self) -> pa.Table:
        """The newest revision of every alert touched lately: a revision is never older than one it replaces."""
        newest = None
        for back in LOOK_BACK:
            since = None if back is None else datetime.now(UTC) - back
            newest = latest_in_arrow(self.reader.rows(ALERTS, by="batch_time", since=since), ALERTS)
            if newest.num_rows >= MAX_ALERTS:
                break
        assert newest is not None
        return newest

    def _read_feedback(self) -> None:
        shown = [alert["alert_id"] for alert in self.alerts]
        about = pc.field("alert_id").isin(shown)
        rows = self.reader.rows(FEEDBACK, columns=["alert_id", "verdict", "at"], where=about)
        self.verdicts = {row["alert_id"]: row["verdict"] for row in rows.sort_by("at").to_pylist()}

    def _read_patterns(self) -> None:
        if not self._changed(PATTERN_DAYS):
            return
        days = self.reader.rows(PATTERN_DAYS).sort_by([("day", "descending")]).slice(0, 1).to_pylist()
        if not days:
            self.patterns = {}
            return
        day = days[0]["day"]
        rows = {
            table.name: self.reader.rows(table, since=day, until=day + timedelta(days=1))
            for table in (PATTERNS, SEGMENTS, TRANSITIONS)
        }
        steps = rows["transitions"].filter(
            pc.and_(rows["transitions"]["is_significant"], pc.greater(rows["transitions"]["lift"], 1.0))
        )
        self.patterns = {
            "days": days,
            "patterns": rows["patterns"].sort_by([("sessions", "descending")]).slice(0, MAX_PATTERNS).to_pylist(),
            "segments": rows["segments"].sort_by([("share", "descending")]).to_pylist(),
            "transitions": steps.sort_by([("sessions", "descending")]).slice(0, MAX_STEPS).to_pylist(),
        }

    def _read_drift(self) -> None:
        if self._changed(DRIFT_REPORTS):
            columns = ["checked_at", "model_version", "retrain", "because"]
            self.drift = self.reader.newest(DRIFT_REPORTS, 1, columns=columns).to_pylist()

    # --- streams ---

    @property
    def local(self) -> bool:
        """Whether checkpoints are in a folder of this machine."""
        return is_local(self._checkpoints)

    @property
    def _checkpoints(self) -> str:
        return address_of(self.settings.storage.checkpoints.rstrip("/"))

    def _look_at_streams(self, now: float) -> None:
        queries = queries_of(running(self.settings) if self.local else FLOW)
        self._progress = {
            query.name: progress for query in queries if (progress := self._progress_of(query)) is not None
        }
        first = self._progress.get(queries[0].name)
        self.lag = lag_of(self._kafka, first.offsets if first else {}) if self._kafka else None
        self.statuses = [self._status(query, now) for query in queries]

    def _progress_of(self, query: Query) -> Progress | None:
        return progress_of(f"{self._checkpoints}/{query.folder}", query.note) if self.local else None

    def _status(self, query: Query, now: float) -> Status:
        progress, written = self._progress.get(query.name), self._written.get(query.writes)
        input_at = self._input_at(query, progress)
        return status_of(query, progress, now, local=self.local, input_at=input_at, written=written)

    def _input_at(self, query: Query, progress: Progress | None) -> float | None:
        """Since when the query has rows to read, at the latest; None when it has read what there is."""
        if progress is None:
            return None
        if query.reads is None:
            return progress.planned_at if self.lag and sum(self.lag.values()) else None
        at, _ = self._written.get(query.reads, (None, 0))
        return at if at is not None and at > progress.planned_at else None

    def _ask_kafka(self) -> None:
        try:
            self._kafka = self.ends.ask()
        except BehaviorError:
            self._kafka = {}
            raise
