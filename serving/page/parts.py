"""The parts of the page as HTML. Templates escape everything; only the charts' own SVG comes as markup."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from serving.access.keys import Who
from serving.access.roles import Role
from serving.page import words
from serving.page.board import MAX_SEGMENTS, Board
from serving.page.charts import bar, spark
from serving.page.journeys import MAX_STEPS, View, named
from serving.page.model import ModelFacts
from serving.page.story import Story
from serving.page.streams import State
from serving.page.timeline import SPANS, Line, moment
from settings import Settings
from streams.flow import SCORING

PARTS = ("notes", "figures", "alerts", "model", "patterns", "streams")

FEW_ALERTS = 6
"""Shown at first; the style sheet knows the number, too."""

NAMES: dict[State, str] = {
    "working": "at work",
    "waiting": "waiting for input",
    "behind": "not running",
    "stuck": "stuck",
    "absent": "never run",
    "unknown": "unknown",
}
TAGS: dict[State, str] = {
    "working": "good",
    "waiting": "",
    "behind": "alarm",
    "stuck": "alarm",
    "absent": "care",
    "unknown": "",
}
TRENDS = {"first_day": "first day", "new": "new", "rising": "rising", "falling": "falling", "steady": "steady"}
VERDICTS = {"anomaly": "anomaly", "normal": "normal", "insufficient_data": "too little data"}


def environment() -> Environment:
    """Templates that escape, and refuse a name that is not there."""
    made = Environment(
        loader=PackageLoader("serving.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    ours = (
        words.shown,
        words.number,
        words.share,
        words.seconds,
        words.clock,
        words.iso,
        words.minutes,
        words.plural,
        words.lines,
    )
    made.filters |= {one.__name__: one for one in ours}
    made.filters |= {
        "moment": moment,
        "named": named,
        "bar": lambda share: bar(share, ""),
        "trend": lambda name: TRENDS.get(name, name),
        "verdict": lambda name: VERDICTS.get(name, name),
        "stranger": stranger,
    }
    return made


def stranger(alert: Mapping[str, Any]) -> str:
    """How strange, in words: "stranger than 99.97 % of what was learned from"."""
    below = math.floor(100 * alert["anomaly_percentile"]) / 100
    return f"stranger than {'all' if below >= 100 else f'{below:g} %'} of the training data"


class Pages:
    """Renders; one for all clients."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._templates = environment()
        static = files("serving.page") / "static"
        self.static = {file.name: file.read_bytes() for file in static.iterdir()}
        self.version = hashlib.sha256(b"".join(self.static[name] for name in sorted(self.static))).hexdigest()[:12]

    def board(self, parts: Mapping[str, str], who: Who) -> str:
        made = {name: Markup(text) for name, text in parts.items()}
        return self._page("board", who, parts=made, is_board=True)

    def timeline(self, user: str, hours: int, line: str, story: str, who: Who) -> str:
        parts = {"line": Markup(line), "story": Markup(story)}
        return self._page("timeline", who, user=user, hours=hours, spans=SPANS, **parts, is_board=False)

    def story(self, story: Story | None, trouble: str | None = None) -> str:
        return self._part("story", story=story, trouble=trouble)

    def journeys(self, view: View, who: Who, problem: str | None = None) -> str:
        return self._page("journeys", who, view=view, problem=problem, max_steps=MAX_STEPS, is_board=False)

    def _page(self, name: str, who: Who, **values: Any) -> str:
        """A whole page; its parts are the same for all who look, so what only some may do is said in its frame."""
        viewer = {"may_review": Role.ANALYST in who.may, "signed_in_as": who.signed_in_as}
        return self._templates.get_template(f"{name}.html").render(version=self.version, **viewer, **values)

    def line(self, line: Line | None, trouble: str | None = None) -> str:
        hidden = self.settings.ingest.pseudonymise
        return self._part("line", line=line, trouble=trouble, is_pseudonymised=hidden)

    def parts(self, board: Board, model: ModelFacts | None, now: float | None = None) -> dict[str, str]:
        """The board's parts by name."""
        now = time.time() if now is None else now
        return {
            "notes": self._part("notes", notes=notes(self.settings, board)),
            "figures": self._part("figures", **figures(board, now)),
            "alerts": self._part("alerts", **alerts(board)),
            "model": self._part("model", model=model, drift=drift_summary(board)),
            "patterns": self._part("patterns", **patterns(board)),
            "streams": self._part("streams", **streams(board)),
        }

    def _part(self, name: str, **values: Any) -> str:
        return self._templates.get_template(f"{name}.html").render(**values).strip()


def notes(settings: Settings, board: Board) -> list[tuple[str, str]]:
    """What everybody must know first: (kind, sentence)."""
    sentences = []
    if not board.has_tables and "tables" not in board.trouble:
        no_tables = (
            f"There are no tables at {settings.storage.root} yet. Start the platform with make run; "
            "they appear here by themselves."
        )
        sentences.append(("care", no_tables))
    sentences += [("alarm", text) for what, text in board.trouble.items() if what != "kafka"]
    sentences += [("care", text) for text in board.doubts]
    return sentences


def figures(board: Board, now: float) -> dict[str, Any]:
    rate, middle, late = board.events.now(now), board.delay.now(now, 50), board.delay.now(now, 95)
    flagged, scored = board.flagged(now)
    return {
        "rate": rate,
        "rate_line": spark(board.events.history(now), "Events per second over the last ten minutes"),
        "delay_middle": middle,
        "delay_late": late,
        "delay_line": spark(board.delay.history(now), "Seconds from event to score over the last ten minutes"),
        "flagged": flagged,
        "scored": scored,
        "open_alerts": board.open_alerts,
    }


def alerts(board: Board) -> dict[str, Any]:
    return {"alerts": board.alerts, "verdicts": board.verdicts, "no_alerts": no_alerts(board), "few": FEW_ALERTS}


def no_alerts(board: Board) -> str:
    if not board.scored and not any(status.query.name == SCORING.query and status.rows for status in board.statuses):
        return "Nothing is scored yet: alerts come once a champion scores what users do."
    return "No alert: nobody who was scored behaves strangely enough. The threshold is under The model."


def patterns(board: Board) -> dict[str, Any]:
    days = board.patterns.get("days", [])
    return {
        "day": days[0] if days else None,
        "most_segments": MAX_SEGMENTS,
        **{name: board.patterns.get(name, []) for name in ("patterns", "segments", "transitions")},
    }


def streams(board: Board) -> dict[str, Any]:
    return {
        "statuses": board.statuses,
        "names": NAMES,
        "tags": TAGS,
        "kafka_trouble": board.trouble.get("kafka"),
        "lag": board.lag,
        "lag_total": sum(board.lag.values()) if board.lag else 0,
        "topic": board.ends.topic,
        "rejected": board.rejected.most_common(),
    }


def drift_summary(board: Board) -> str:
    """The newest drift report in words: whether a retrain is due, and why."""
    if not board.drift:
        return "Not checked yet: python -m jobs.check_drift"
    newest = board.drift[0]
    advice = {True: "Retrain", False: "No retrain is due", None: "Too few rows to tell"}[newest["retrain"]]
    when = f"checked at {words.clock(newest['checked_at'])} against version {newest['model_version']}"
    return f"{advice}: {newest['because']} ({when})"
