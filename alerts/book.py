"""From scored minutes to alerts: one per user and session, as a pure function of the newest revisions.

Only people with a flagged minute are kept in memory, with all their minutes since. When a late event changes a minute's
verdict or joins two sessions, scoring appends new revisions, and the alerts of that person are simply worked out anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from features.tables import ALERTS
from scoring.arrays import ANOMALY

OPEN, CLOSED, WITHDRAWN, MERGED = "open", "closed", "withdrawn", "merged"
STANDING = (OPEN, CLOSED)
"""States of alerts that count."""

MINUTE_COLUMNS = (
    "user_id", "window_start", "session_start", "verdict", "anomaly_score", "anomaly_percentile", "reasons",
    "model_version", "batch_time", "batch_id",
)  # fmt: skip
"""Columns of table ``scores`` that alerts are made of."""

ALWAYS = datetime.min.replace(tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Before every batch."""
Reasons = list[dict[str, Any]] | None


@dataclass(frozen=True, slots=True)
class Minute:
    """The newest score of a user's minute; ``written`` orders its revisions."""

    window_start: datetime
    session_start: datetime
    flagged: bool
    score: float
    percentile: float
    reasons: Reasons
    model_version: str
    written: tuple[datetime, str]


@dataclass(frozen=True)
class Alert:
    """A row of table ``alerts`` without the batch's columns."""

    alert_id: str
    revision: int
    user_id: str
    session_start: datetime
    session_end: datetime
    window_start: datetime
    first_window_start: datetime
    last_window_start: datetime
    flagged_minutes: int
    anomaly_score: float
    anomaly_percentile: float
    reasons: Reasons
    model_version: str
    state: str
    merged_into: str | None
    raised_at: datetime

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Alert:
        return cls(**{name: row[name] for name in ALERTS.columns if name not in ("batch_time", "batch_id")})

    def row(self, batch_time: datetime, batch_id: str) -> dict[str, Any]:
        return {**vars(self), "batch_time": batch_time, "batch_id": batch_id}


@dataclass(frozen=True)
class AlertRules:
    """When a session has ended (idle minutes), and how much higher or lower a score is worth a revision."""

    session_gap_minutes: int = 30
    worse_by: float = 0.01


def alert_id_of(user_id: str, session_start: datetime) -> str:
    """The stable id of a user's session: 128 bits of SHA-256 in hex, over the start in whole seconds and the user."""
    text = f"{int(session_start.timestamp())}:{user_id}"
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


@dataclass
class AlertBook:
    """The people under watch: their scored minutes, and their alerts as last written.

    Sessions that start before ``since`` (for some people: ``since_of``) are not wholly in memory; their alerts are left
    as they are until :meth:`load` has brought the rest.
    """

    rules: AlertRules
    since: datetime = ALWAYS
    since_of: dict[str, datetime] = field(default_factory=dict)
    minutes: dict[str, dict[datetime, Minute]] = field(default_factory=dict)
    alerts: dict[str, dict[str, Alert]] = field(default_factory=dict)
    _touched: set[str] = field(default_factory=set)

    def know(self, alerts: Iterable[Alert]) -> None:
        """Take in alerts as they were last written."""
        for alert in alerts:
            self.alerts.setdefault(alert.user_id, {})[alert.alert_id] = alert

    def take(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take in new rows of ``scores``; the rows of people who were never flagged may be left out or not."""
        rows = list(rows)
        flagged = {row["user_id"] for row in rows if row["verdict"] == ANOMALY}
        for row in rows:
            user = row["user_id"]
            if user in flagged or user in self.minutes or user in self.alerts:
                self._note(user, _minute(row))

    def watched(self) -> set[str]:
        """Whose rows matter, flagged or not."""
        return self.minutes.keys() | self.alerts.keys()

    def out_of_sight(self) -> dict[str, datetime]:
        """People with new rows of sessions that are not wholly in memory, and the first of those sessions' starts."""
        starts: dict[str, datetime] = {}
        for user in self._touched:
            first = min((minute.session_start for minute in self.minutes[user].values()), default=self._since(user))
            first = min([first, *self.minutes[user]])
            if first < self._since(user):
                starts[user] = first
        return starts

    def load(self, user: str, rows: Iterable[Mapping[str, Any]], since: datetime) -> None:
        """Take in all rows of a user from ``since`` on, which must lie before the start of a session."""
        self.since_of[user] = since
        for row in rows:
            self._note(user, _minute(row))

    def revise(self, clock: datetime, now: datetime) -> list[Alert]:
        """The alerts that have to be written anew; they are known as such from here on.

        Args:
            clock: how far event time has come; sessions idle for longer than the gap before it have ended.
            now: when the revisions are made.
        """
        changed: list[Alert] = []
        for user in sorted(self._touched | self._ending(clock)):
            before = self.alerts.get(user, {})
            for alert in self._alerts_of(user, clock, now):
                known = before.get(alert.alert_id)
                if known is None or self._is_news(known, alert):
                    number = 1 if known is None else known.revision + 1
                    changed.append(replace(alert, revision=number))
        self._touched.clear()
        self.know(changed)
        return changed

    def forget(self, minutes_before: datetime, alerts_before: datetime) -> None:
        """Let go of old sessions; what comes for them later is loaded again."""
        self.since, self.since_of = max(self.since, minutes_before), {}
        for user, known in list(self.minutes.items()):
            kept = {at: minute for at, minute in known.items() if minute.session_start >= self.since}
            self.minutes[user] = kept
            if not any(minute.flagged for minute in kept.values()):
                del self.minutes[user]
        for user, alerts in list(self.alerts.items()):
            self.alerts[user] = {
                name: alert
                for name, alert in alerts.items()
                if alert.session_start >= alerts_before or alert.state == OPEN
            }
            if not self.alerts[user]:
                del self.alerts[user]

    # --- inside ---

    def _since(self, user: str) -> datetime:
        return self.since_of.get(user, self.since)

    def _note(self, user: str, minute: Minute) -> None:
        known = self.minutes.setdefault(user, {})
        held = known.get(minute.window_start)
        if held is None or minute.written > held.written:
            known[minute.window_start] = minute
            self._touched.add(user)

    def _ending(self, clock: datetime) -> set[str]:
        """People with an open alert whose session has ended by now."""
        return {
            user
            for user, alerts in self.alerts.items()
            if any(alert.state == OPEN and self._has_ended(self._end_of(alert), clock) for alert in alerts.values())
        }

    def _end_of(self, alert: Alert) -> datetime:
        known = self.minutes.get(alert.user_id, {}).values()
        in_session = (minute.window_start for minute in known if minute.session_start == alert.session_start)
        return max(in_session, default=alert.session_end)

    def _has_ended(self, last_minute: datetime, clock: datetime) -> bool:
        return clock - last_minute > timedelta(minutes=self.rules.session_gap_minutes + 1)

    def _alerts_of(self, user: str, clock: datetime, now: datetime) -> list[Alert]:
        """All alerts of a user as they should be; revision numbers are not set."""
        sessions: dict[datetime, list[Minute]] = {}
        session_of: dict[datetime, datetime] = {}
        for minute in self.minutes.get(user, {}).values():
            if minute.session_start >= self._since(user):
                sessions.setdefault(minute.session_start, []).append(minute)
                session_of[minute.window_start] = minute.session_start
        newest = max(sessions, default=ALWAYS)
        known = self.alerts.get(user, {})
        made = {}
        for start, minutes in sessions.items():
            if any(minute.flagged for minute in minutes):
                alert = self._raised(user, start, minutes, clock, now, is_newest=start == newest)
                held = known.get(alert.alert_id)
                made[alert.alert_id] = alert if held is None else replace(alert, raised_at=held.raised_at)
        gone = [alert for name, alert in known.items() if name not in made]
        return [*made.values(), *(self._gone(alert, session_of, made, clock) for alert in gone)]

    def _raised(
        self, user: str, start: datetime, minutes: list[Minute], clock: datetime, now: datetime, *, is_newest: bool
    ) -> Alert:
        flagged = [minute for minute in minutes if minute.flagged]
        worst = max(flagged, key=lambda minute: (minute.score, -minute.window_start.timestamp()))
        end = max(minute.window_start for minute in minutes)
        return Alert(
            alert_id=alert_id_of(user, start),
            revision=0,
            user_id=user,
            session_start=start,
            session_end=end,
            window_start=worst.window_start,
            first_window_start=min(minute.window_start for minute in flagged),
            last_window_start=max(minute.window_start for minute in flagged),
            flagged_minutes=len(flagged),
            anomaly_score=worst.score,
            anomaly_percentile=worst.percentile,
            reasons=worst.reasons,
            model_version=worst.model_version,
            state=OPEN if is_newest and not self._has_ended(end, clock) else CLOSED,
            merged_into=None,
            raised_at=now,
        )

    def _gone(
        self, alert: Alert, session_of: dict[datetime, datetime], made: dict[str, Alert], clock: datetime
    ) -> Alert:
        """An alert whose session has no flagged minute any more, or is no session any more.

        One of a session that is not in memory stays as it is, but for its end.
        """
        if alert.session_start < self._since(alert.user_id) or alert.user_id not in self.minutes:
            ended = alert.state == OPEN and self._has_ended(alert.session_end, clock)
            return replace(alert, state=CLOSED) if ended else alert
        now_in = session_of.get(alert.window_start, alert.session_start)
        heir = alert_id_of(alert.user_id, now_in)
        if heir in made:
            return replace(alert, state=MERGED, merged_into=heir)
        return replace(alert, state=WITHDRAWN, merged_into=None, flagged_minutes=0)

    def _is_news(self, known: Alert, alert: Alert) -> bool:
        same = (
            known.state == alert.state
            and known.merged_into == alert.merged_into
            and known.flagged_minutes == alert.flagged_minutes
            and known.first_window_start == alert.first_window_start
            and known.last_window_start == alert.last_window_start
            and known.window_start == alert.window_start
            and known.model_version == alert.model_version
        )
        return not same or abs(alert.anomaly_score - known.anomaly_score) > self.rules.worse_by


def _minute(row: Mapping[str, Any]) -> Minute:
    flagged = row["verdict"] == ANOMALY
    nothing = float("nan")
    return Minute(
        window_start=row["window_start"],
        session_start=row["session_start"],
        flagged=flagged,
        score=row["anomaly_score"] if flagged else nothing,
        percentile=row["anomaly_percentile"] if flagged else nothing,
        reasons=row["reasons"] if flagged else None,
        model_version=row["model_version"],
        written=(row["batch_time"], row["batch_id"]),
    )
