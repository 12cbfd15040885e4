"""The page of a day: what was found, for people. Everything that events said is text on it, and nothing is loaded."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from patterns import pictures
from patterns.context import Row
from patterns.transitions import Walk
from patterns.words import trend_words
from scoring.reasons import amount

MAX_PATHS = 25
MAX_STEPS = 25
DPI = 110


@dataclass(frozen=True)
class Report:
    """A page (HTML) and its pictures (PNG) by name; the page has them inside."""

    page: str
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def report(
    day: Row,
    segments: Sequence[Row],
    patterns: Sequence[Row],
    transitions: Sequence[Row],
    walks: Sequence[Walk],
    examples: Mapping[str, Sequence[str]],
) -> Report:
    """The page of a day.

    Args:
        day, segments, patterns, transitions: rows of the tables.
        walks: the sessions that the flow is drawn from.
        examples: users to show, by segment or path.
    """
    drawn: dict[str, Figure] = {}
    if walks:
        drawn["flow"] = pictures.flow(walks)
    if transitions:
        drawn["steps"] = pictures.heat_map(transitions)
    for unit in ("session", "user"):
        if any(row["unit"] == unit for row in segments):
            drawn[unit] = pictures.profiles(segments, unit)
    images = {name: _png(figure) for name, figure in drawn.items()}
    inside = dict.fromkeys(("flow", "steps", "session", "user"), "")
    inside |= {name: "data:image/png;base64," + base64.b64encode(image).decode() for name, image in images.items()}
    above = [row for row in transitions if row["is_significant"] and row["odds_ratio"] > 1]
    page = _environment().from_string(_template()).render(
        day=day,
        groups=[
            ("session", "Segments of sessions", [row for row in segments if row["unit"] == "session"]),
            ("user", "Segments of users", [row for row in segments if row["unit"] == "user"]),
        ],
        patterns=patterns[:MAX_PATHS],
        transitions=above[:MAX_STEPS],
        pictures=inside,
        examples=examples,
    )  # fmt: skip
    return Report(page, images)


def _template() -> str:
    return files("patterns").joinpath("templates", "report.html").read_text(encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {
        "percent": lambda share: "-" if share is None else f"{share:.1%}".replace("%", " %"),
        "times": lambda value: "-" if value is None else f"{amount(value, '')} times",
        "number": lambda value: amount(value, ""),
        "trend": trend_words,
    }
    return environment


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    return stream.getvalue()
