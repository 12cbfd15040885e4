"""What a run shows: counts, rates, the delay from event to visible score, the newest anomalies. Reads without Spark."""

from __future__ import annotations

import time
from collections import Counter as Counted
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from features.sense import COUNTED, Tally
from features.tables import EVENTS, FEATURE_TABLE, REJECTED_EVENTS, SCORES
from lake.tail import Tail

SCORE_COLUMNS = ["user_id", "window_start", "verdict", "anomaly_score", "reasons", "last_received_at", "scored_at"]
READ = {
    EVENTS.name: COUNTED,
    REJECTED_EVENTS.name: ["reason"],
    SCORES.name: SCORE_COLUMNS,
}
"""What is read of new rows; of other tables they are counted."""
RATE_SECONDS = 10.0
PLAIN_LINE_SECONDS = 5.0
NEWEST = 8
DELAYS = 100_000
"""Delays are told over so many of the newest rows."""


@dataclass(frozen=True)
class Anomaly:
    """A flagged row as people read it."""

    window_start: datetime
    user_id: str
    score: float
    reason: str


@dataclass
class Counter:
    """A number that grows, and its rate over the last seconds."""

    total: int = 0
    _points: deque[tuple[float, int]] = field(default_factory=deque)

    def set(self, total: int, now: float) -> None:
        self.total = total
        self._points.append((now, total))
        while now - self._points[0][0] > RATE_SECONDS:
            self._points.popleft()

    @property
    def per_second(self) -> float:
        (begin, first), (end, last) = self._points[0], self._points[-1]
        return (last - first) / (end - begin) if end > begin else 0.0


@dataclass
class Watch:
    """Follows the tables under ``root``; :meth:`poll` refreshes, the rest tells.

    Rows that were there before are counted as ``before`` and not shown again.
    """

    root: str
    counters: dict[str, Counter] = field(default_factory=dict)
    delays: deque[float] = field(default_factory=lambda: deque(maxlen=DELAYS))
    newest: deque[Anomaly] = field(default_factory=lambda: deque(maxlen=NEWEST))
    first_score_at: float | None = None
    anomalies: int = 0
    tally: Tally = field(default_factory=Tally)
    """What the events of this run say together."""
    live_since: float | None = None
    """Delay is measured for events that Kafka received after this moment (seconds since 1970): not the backlog."""
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._tails = {
            table.name: Tail(self.root, table, time)
            for table, time in (
                (EVENTS, "ingested_at"),
                (REJECTED_EVENTS, "ingested_at"),
                (FEATURE_TABLE, "batch_time"),
                (SCORES, "batch_time"),
            )
        }
        for name, tail in self._tails.items():
            tail.skip()
            self.counters[name] = Counter()
        self._before = {name: tail.rows for name, tail in self._tails.items()}

    def poll(self) -> list[Anomaly]:
        """Read what is new; returns the new anomalies."""
        anomalies: list[Anomaly] = []
        for name, tail in self._tails.items():
            rows = tail.poll(READ.get(name))
            self.counters[name].set(tail.rows - self._before[name], time.monotonic())
            if rows is None:
                continue
            if name == SCORES.name:
                anomalies = self._scored(rows)
            elif name == EVENTS.name:
                self.tally.add_rows(rows)
            else:
                self.tally.add_rejected(Counted(rows["reason"].to_pylist()))
        return anomalies

    def _scored(self, rows: pa.Table) -> list[Anomaly]:
        if self.first_score_at is None:
            self.first_score_at = time.monotonic()
        if self.live_since is not None:
            received = pc.cast(pc.drop_null(rows["last_received_at"]), pa.int64()).to_numpy() / 1e6
            self.delays.extend((time.time() - received[received >= self.live_since]).tolist())
        flagged = rows.filter(pc.equal(rows["verdict"], "anomaly")).sort_by([("anomaly_score", "ascending")])
        self.anomalies += flagged.num_rows
        newest = [_anomaly(row) for row in flagged.slice(max(0, flagged.num_rows - NEWEST)).to_pylist()]
        self.newest.extend(newest)
        return newest

    def delay(self) -> tuple[float, float] | None:
        """Seconds from Kafka's receipt of an event to its visible score, p50 and p95; None before the first."""
        if not self.delays:
            return None
        middle, late = np.percentile(np.fromiter(self.delays, float, len(self.delays)), (50, 95)).tolist()
        return middle, late

    @property
    def ingested(self) -> int:
        return self.counters[EVENTS.name].total + self.counters[REJECTED_EVENTS.name].total

    def line(self, stage: str) -> str:
        """One plain line for logs and pipes."""
        count = self.counters
        delay = self.delay()
        return (
            f"{stage}: {count[EVENTS.name].total} events ({count[EVENTS.name].per_second:.0f}/s), "
            f"{count[REJECTED_EVENTS.name].total} rejected, {count[FEATURE_TABLE.name].total} feature rows, "
            f"{count[SCORES.name].total} scored ({count[SCORES.name].per_second:.0f}/s), {self.anomalies} anomalous"
            + (f", delay p95 {delay[1]:.1f} s" if delay is not None else "")
        )

    def panel(self, stage: str, seconds: float) -> RenderableType:
        """The live view for a terminal."""
        numbers = RichTable.grid(padding=(0, 3))
        for title, name in (
            ("events", EVENTS.name),
            ("rejected", REJECTED_EVENTS.name),
            ("feature rows", FEATURE_TABLE.name),
            ("scored rows", SCORES.name),
        ):
            counter = self.counters[name]
            numbers.add_row(title, f"[bold]{counter.total:,}[/]", f"{counter.per_second:,.0f}/s")
        if (delay := self.delay()) is not None:
            middle, late = delay
            numbers.add_row("event to score", f"[bold]{middle:.1f} s[/]", f"p95 {late:.1f} s")
        return Group(
            Panel(numbers, title=f"{stage} · {seconds:.0f} s", title_align="left", border_style="cyan"),
            anomaly_table(reversed(self.newest)),
        )


def anomaly_table(anomalies: Iterable[Anomaly]) -> RichTable:
    table = RichTable(title="newest anomalies", title_justify="left", expand=True)
    table.add_column("minute (UTC)", no_wrap=True)
    table.add_column("user", no_wrap=True, max_width=24)
    table.add_column("score", justify="right")
    table.add_column("why", ratio=1)
    for one in anomalies:
        # Text, not str: what an event says is never taken for markup.
        table.add_row(f"{one.window_start:%m-%d %H:%M}", Text(one.user_id), f"{one.score:.3f}", Text(one.reason))
    return table


def _anomaly(row: dict[str, Any]) -> Anomaly:
    reasons = row["reasons"] or []
    text = "; ".join(reason["text"] for reason in reasons if reason["text"]) or "no single reason"
    return Anomaly(row["window_start"], row["user_id"], row["anomaly_score"], text)


@contextmanager
def display(console: Console, watch: Watch, began: float) -> Iterator[Callable[[str], None]]:
    """A function that shows what there is at a stage: a panel in a terminal, else lines, at once for a new stage.

    ``began`` is what :func:`time.monotonic` said at the start of the run.
    """
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:

            def show(stage: str) -> None:
                watch.poll()
                live.update(watch.panel(stage, time.monotonic() - began))

            yield show
        return
    last, shown = 0.0, ""

    def tell(stage: str) -> None:
        nonlocal last, shown
        anomalies = watch.poll()
        for one in anomalies[-3:]:
            text = f"anomaly {one.window_start:%Y-%m-%d %H:%M} {one.user_id} {one.score:.3f}: {one.reason}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
        if stage != shown or time.monotonic() - last >= PLAIN_LINE_SECONDS:
            last, shown = time.monotonic(), stage
            text = watch.line(f"[{last - began:.0f} s] {stage}")
            console.print(text, markup=False, highlight=False, soft_wrap=True)

    yield tell
