"""Following ``scores``: what is flagged becomes rows of ``alerts`` and ``risk``.

Needs no Spark: a look at what is new costs milliseconds, where a micro-batch would cost half a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from alerts import feedback
from alerts.book import ALWAYS, EPOCH, MINUTE_COLUMNS, OPEN, Alert, AlertBook, AlertRules
from alerts.risk import RiskRules, day_of, days_of, risk_at
from features.revisions import latest_in_arrow
from features.tables import ALERTS, FEEDBACK, RISK, SCORES, Table
from lake import arrow_tables, notes
from lake.arrow_tables import Fence
from lake.snapshot import OpenTable
from lake.tail import Tail
from scoring.arrays import ANOMALY
from settings import Settings
from streams import claims, queries
from streams.flow import ALERTING

QUERY = ALERTING.query
PLACE = "scores"
FORGET_SECONDS = 600.0
MICROSECOND = timedelta(microseconds=1)


class ScoreFollower:
    """Follows ``scores`` and keeps ``alerts`` and ``risk`` true to it.

    All that is kept in memory can be made again from the tables, so a start after a kill works everything in sight out
    anew and writes only what differs from what was written. The one note it keeps is how far it has read.

    Attributes:
        when_raised: called when revisions are written, before what else follows from them is.
    """

    def __init__(self, settings: Settings) -> None:
        chosen = settings.alerts
        self.settings, self.root = settings, settings.storage.root
        self.folder = queries.checkpoint(settings, QUERY)
        self.rules = AlertRules(settings.features.session_gap_minutes, chosen.worse_by)
        self.risk = RiskRules(chosen.risk_half_life_days, chosen.risk_half_points, chosen.risk_days)
        self.written = EPOCH
        self.total = 0
        self._in_doubt = False
        self.open = 0
        if "://" not in self.folder:
            claims.claim(self.folder)
        self._tables = {table: arrow_tables.opened(self.root, table) for table in (ALERTS, RISK, FEEDBACK)}
        self.when_raised: Callable[[], None] = lambda: None
        self._start_over()

    def poll(self, now: datetime | None = None) -> int:
        """Take in what is new; returns the number of revisions written. ``now`` is the clock's, unless given.

        Raises:
            EnvironmentProblem: the storage cannot be read or written; the next call tries again.
            BehaviorError: another process raises alerts, too.
        """
        if self._in_doubt:
            self._start_over()
        self._in_doubt = True  # until all of this is written
        now = now or datetime.now(UTC)
        self._take(now)
        changed = self.book.revise(self._clock(now), now)
        self._write(changed)
        self._note()
        self._in_doubt = False
        return len(changed)

    # --- reading ---

    def _start_over(self) -> None:
        """Forget everything, and read what is in sight."""
        self._tail = Tail(self.root, SCORES)
        self._tail.skip()
        self._noted: dict[str, Any] = notes.read(self.folder, PLACE) or {}
        self._feedback_version = -1
        self._verdicts: dict[str, str] = {}
        self._without_risk: dict[str, datetime] = {}
        self._forgot_at = time.monotonic()
        self.book = AlertBook(self.rules)
        self._number: int | None = self._opened(ALERTS).transaction_version(QUERY)
        self.written = self._newest(ALERTS, "batch_time") or EPOCH
        self._newest_risk = self._newest(RISK, "batch_time") or EPOCH
        self._newest_minute = self._newest(SCORES, "window_start")
        self._came_at = min(self._tail.newest or datetime.now(UTC), datetime.now(UTC))
        if self._newest_minute is not None:
            through = self._noted.get("through")
            self._load(None if through is None else datetime.fromisoformat(through))

    def _load(self, through: datetime | None) -> None:
        """Read the people under watch; ``through`` is the ``batch_time`` up to which scores were taken in before."""
        assert self._newest_minute is not None
        clock = min(self._newest_minute, datetime.now(UTC))
        rows = self._alerts(clock - timedelta(days=self.risk.days))
        known = [Alert.of_row(row) for row in rows]
        rolled_up = self._newest_risk
        self._without_risk = _first_days(
            alert for alert, row in zip(known, rows, strict=True) if row["batch_time"] > rolled_up
        )
        since = ALWAYS
        if through is not None:
            open_ones = [alert.session_start for alert in known if alert.state == OPEN]
            since = min([clock - timedelta(hours=self.settings.alerts.remember_hours), *open_ones])
        self.book.since = since
        news = pc.scalar(True)
        if through is not None:
            news = (pc.field("window_start") >= since) | (pc.field("batch_time") > through)
        flagged = self._scores(["user_id"], (pc.field("verdict") == ANOMALY) & news)["user_id"]
        users = pa.array(
            {*flagged.to_pylist(), *(alert.user_id for alert in known if alert.state == OPEN)}, pa.string()
        )
        of_users = pc.field("user_id").isin(users)
        minutes = self._scores(MINUTE_COLUMNS, of_users & news)
        # A person whose scores are gone was erased: nothing more is said of him.
        seen = set(minutes["user_id"].to_pylist())
        self.book.know(alert for alert in known if alert.user_id in seen or alert.session_start < since)
        self.book.take(minutes.to_pylist())

    def _take(self, now: datetime) -> None:
        columns = list(MINUTE_COLUMNS)
        rows = self._tail.poll(columns)
        if self._tail.rewritten:
            # Rows were deleted, or files only joined: what is in memory may be of somebody who was erased.
            self._start_over()
            rows = None
        if rows is not None:
            self._came_at = now
            newest = pc.max(rows["window_start"]).as_py()
            self._newest_minute = max(newest, self._newest_minute or newest)
            flagged = rows.filter(pc.equal(rows["verdict"], ANOMALY))["user_id"].to_pylist()
            watched = pa.array({*flagged, *self.book.watched()}, pa.string())
            self.book.take(rows.filter(pc.is_in(rows["user_id"], watched)).select(columns).to_pylist())
        self._reach_back()

    def _reach_back(self) -> None:
        """Read again what was forgotten of people whose old sessions have changed."""
        old = self.book.out_of_sight()
        if not old:
            return
        longest = timedelta(minutes=self.settings.features.session_max_minutes)
        since = min(old.values()) - longest
        users = pa.array(old, pa.string())
        for row in self._alerts(since):
            if row["user_id"] in old:
                self.book.know([Alert.of_row(row)])
        rows = self._scores(MINUTE_COLUMNS, pc.field("user_id").isin(users) & (pc.field("window_start") >= since))
        by_user: dict[str, list[dict[str, Any]]] = {user: [] for user in old}
        for row in rows.to_pylist():
            by_user[row["user_id"]].append(row)
        for user, minutes in by_user.items():
            self.book.load(user, minutes, since)

    def _scores(self, columns: Iterable[str], where: ds.Expression) -> pa.Table:
        return arrow_tables.read(self.root, SCORES, list(columns), where)

    def _alerts(self, since: datetime) -> list[dict[str, Any]]:
        rows = arrow_tables.read(self.root, ALERTS, where=pc.field("session_start") >= since)
        return list(latest_in_arrow(rows, ALERTS).to_pylist())

    def _newest(self, table: Any, column: str) -> datetime | None:
        value = pc.max(arrow_tables.read(self.root, table, [column])[column]).as_py()
        return value if isinstance(value, datetime) else None

    def _clock(self, now: datetime) -> datetime:
        """How far event time has come: the newest minute (a future one counts as now), and the silence since then."""
        if self._newest_minute is None:
            return EPOCH
        return min(self._newest_minute, now) + max(now - self._came_at, timedelta())

    # --- writing ---

    def _write(self, changed: list[Alert]) -> None:
        users = self._without_risk | self._feedback()
        if changed:
            batch_time, batch_id = self._next_batch()
            rows = [alert.row(batch_time, batch_id) for alert in changed]
            self._append(ALERTS, rows, batch_id, self._fence(batch_time))
            self.written, self._number = batch_time, _micros(batch_time)
            self.total += sum(alert.revision == 1 for alert in changed)
            self.when_raised()
        for user, day in _first_days(changed).items():
            users[user] = min(day, users.get(user, day))
        if users:
            self._write_risk(users)
        self._without_risk = {}
        self._forget()

    def _write_risk(self, users: dict[str, datetime]) -> None:
        """Renew a user's days from the given one on: a day bears on those after it."""
        batch_time, batch_id = self._next_batch()
        self._newest_risk = batch_time
        rows = []
        for user, first in sorted(users.items()):
            days = days_of(self.book.alerts.get(user, {}).values(), self._verdicts)
            for day, one in days.items():
                if day >= first:
                    risk = risk_at(day, days.values(), self.risk)
                    rows.append(
                        {**vars(one), "user_id": user, "risk": risk, "batch_time": batch_time, "batch_id": batch_id}
                    )
        if rows:
            self._append(RISK, rows, batch_id)

    def _append(self, table: Table, rows: list[dict[str, Any]], batch_id: str, fence: Fence | None = None) -> None:
        arrow_tables.append(self.root, table, rows, batch_id=batch_id, fence=fence, there=self._tables[table])

    def _opened(self, table: Table) -> OpenTable:
        """As it is now."""
        arrow_tables.make(self._tables[table], table)
        return self._tables[table]

    def _fence(self, batch_time: datetime) -> Fence:
        return Fence(QUERY, _micros(batch_time), self._number)

    def _next_batch(self) -> tuple[datetime, str]:
        batch_time = max(datetime.now(UTC), self.written + MICROSECOND, self._newest_risk + MICROSECOND)
        return batch_time, f"{QUERY}:{_micros(batch_time)}"

    def _feedback(self) -> dict[str, datetime]:
        """Read new feedback; for each user whose alerts were reviewed, the first day that changes."""
        version = self._opened(FEEDBACK).version
        if version == self._feedback_version:
            return {}
        newest = feedback.newest(self.root)
        changed = [row for name, row in newest.items() if self._verdicts.get(name) != row["verdict"]]
        self._verdicts = {name: row["verdict"] for name, row in newest.items()}
        was_rolled_up = self._feedback_version < 0 and self._noted.get("feedback") == version
        self._feedback_version = version
        if was_rolled_up:
            return {}
        days: dict[str, datetime] = {}
        for row in changed:
            day = day_of(row["session_start"])
            days[row["user_id"]] = min(day, days.get(row["user_id"], day))
        return days

    def _note(self) -> None:
        if self._tail.version is None or self._tail.newest is None:
            return
        place = {
            "version": self._tail.version,
            "through": self._tail.newest.isoformat(),
            "feedback": self._feedback_version,
        }
        if place != self._noted:
            notes.write(self.folder, PLACE, place)
            self._noted = place

    def _forget(self) -> None:
        self.open = sum(alert.state == OPEN for alerts in self.book.alerts.values() for alert in alerts.values())
        if time.monotonic() - self._forgot_at < FORGET_SECONDS and self.book.since != ALWAYS:
            return
        if self._newest_minute is None:
            return
        self._forgot_at = time.monotonic()
        clock = min(self._newest_minute, datetime.now(UTC))
        open_ones = [a.session_start for of in self.book.alerts.values() for a in of.values() if a.state == OPEN]
        since = min([clock - timedelta(hours=self.settings.alerts.remember_hours), *open_ones])
        self.book.forget(since, clock - timedelta(days=self.risk.days))


def _first_days(alerts: Iterable[Alert]) -> dict[str, datetime]:
    """The first day that each user's alerts lie in."""
    first_days: dict[str, datetime] = {}
    for alert in alerts:
        day = day_of(alert.session_start)
        first_days[alert.user_id] = min(day, first_days.get(alert.user_id, day))
    return first_days


def _micros(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000)
