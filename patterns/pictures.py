"""Pictures of a day's patterns: the flow of paths, steps against chance, and what sets segments apart.

Names of pages are text that anybody may have sent: they are drawn as they are, never read as mathematics.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from patterns.context import Row
from patterns.pages import END, OTHER
from patterns.transitions import Walk
from patterns.words import page_words

COLUMNS = 4
"""Steps of a session that the flow shows."""
MAX_KINDS = 7
MAX_IN_MAP = 14
MAX_TRAITS = 10
MAX_LENGTH = 28
BLUE, GREY, INK = "#4878a8", "#b8bec6", "#222222"
STRONGEST = 3.0
"""Colours end at eight times as often, or as seldom, as by chance."""
GAP = 0.02
WIDTH = 0.16


def flow(walks: Sequence[Walk]) -> Figure:
    """How sessions go on, step by step: bars are kinds of pages, bands are sessions that go from one to the next."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    ways = [_shown(walk) for walk in walks]
    kinds = _common(ways)
    named = [tuple(step if step in kinds or step == END else OTHER for step in way) for way in ways]
    below = [_bars(axes, named, column, kinds) for column in range(COLUMNS)]
    for column in range(COLUMNS - 1):
        _bands(axes, named, column, below, len(ways))
    axes.set_xlim(-0.1, COLUMNS - 0.3)
    axes.set_title(f"How {len(ways):,} sessions go on: their first {COLUMNS} steps")
    return figure


def _shown(walk: Walk) -> tuple[str, ...]:
    """The first steps, runs of a kind as one, and where the session ends."""
    steps = [step for place, step in enumerate(walk.steps) if not place or step != walk.steps[place - 1]]
    steps = steps[:COLUMNS]
    return tuple(steps) if len(steps) == COLUMNS else (*steps, END)


def _common(ways: Sequence[tuple[str, ...]]) -> list[str]:
    counts = Counter(step for way in ways for step in set(way) if step != END)
    return [step for step, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_KINDS]]


def _bars(axes: Axes, ways: Sequence[tuple[str, ...]], column: int, kinds: Sequence[str]) -> dict[str, float]:
    """Draw a column; returns where each bar begins."""
    counts = Counter(way[column] for way in ways if len(way) > column)
    places: dict[str, float] = {}
    height = 0.0
    for kind in [END, OTHER, *reversed(kinds)]:
        if not counts[kind]:
            continue
        share = counts[kind] / len(ways)
        places[kind] = height
        axes.bar(column, share, WIDTH, bottom=height, color=GREY if kind in (END, OTHER) else BLUE)
        if share > 0.015:
            label = _plain(f"{page_words(kind)} {share:.0%}")
            axes.text(column + 0.6 * WIDTH, height + share / 2, label, va="center", fontsize=8, parse_math=False)
        height += share + GAP
    return places


def _bands(
    axes: Axes, ways: Sequence[tuple[str, ...]], column: int, below: Sequence[dict[str, float]], total: int
) -> None:
    counts = Counter((way[column], way[column + 1]) for way in ways if len(way) > column + 1)
    left, right = dict(below[column]), dict(below[column + 1])
    for (source, target), count in sorted(counts.items(), key=lambda item: (left[item[0][0]], right[item[0][1]])):
        share = count / total
        _band(axes, (column + WIDTH / 2, left[source]), (column + 1 - WIDTH / 2, right[target]), share)
        left[source] += share
        right[target] += share


def _band(axes: Axes, source: tuple[float, float], target: tuple[float, float], width: float) -> None:
    middle = (source[0] + target[0]) / 2
    low = [source, (middle, source[1]), (middle, target[1]), target]
    high = [(x, y + width) for x, y in reversed(low)]
    codes = [Outline.MOVETO, *[Outline.CURVE4] * 3, Outline.LINETO, *[Outline.CURVE4] * 3, Outline.CLOSEPOLY]
    axes.add_patch(PathPatch(Outline([*low, *high, low[0]], codes), facecolor=BLUE, alpha=0.25, linewidth=0))


def heat_map(transitions: Sequence[Row]) -> Figure:
    """Steps between the commonest kinds: colours say how much more often than by chance, numbers how many sessions."""
    counts: Counter[str] = Counter()
    for row in transitions:
        counts[row["from_page"]] += row["sessions"]
        counts[row["to_page"]] += row["sessions"]
    kept = [kind for kind, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_IN_MAP]]
    sources = [kind for kind in kept if any(row["from_page"] == kind for row in transitions)]
    targets = [kind for kind in kept if any(row["to_page"] == kind for row in transitions)]
    strength = np.full((len(sources), len(targets)), np.nan)
    figure = Figure(figsize=(2.5 + 0.62 * len(targets), 2.0 + 0.42 * len(sources)), layout="constrained")
    axes = figure.add_subplot()
    for row in transitions:
        if row["from_page"] in sources and row["to_page"] in targets:
            place = sources.index(row["from_page"]), targets.index(row["to_page"])
            strength[place] = np.clip(math.log2(row["lift"]), -STRONGEST, STRONGEST)
            weight = "bold" if row["is_significant"] else "normal"
            axes.text(place[1], place[0], f"{row['sessions']:,}", ha="center", va="center", fontsize=8, weight=weight)
    image = axes.imshow(strength, cmap="RdBu_r", vmin=-STRONGEST, vmax=STRONGEST, aspect="auto", alpha=0.8)
    _ticks(axes.set_xticks, targets, rotation=40, ha="right")
    _ticks(axes.set_yticks, sources)
    axes.set(ylabel="from", xlabel="to", title="Steps against chance (sessions; bold: more than chance explains)")
    bar = figure.colorbar(image, ax=axes, ticks=[-3, -1, 0, 1, 3])
    bar.ax.set_yticklabels(["1/8", "1/2", "as by chance", "2 times", "8 times"])
    return figure


def profiles(segments: Sequence[Row], unit: str) -> Figure:
    """What sets the segments apart: standard deviations from the mean of all, by trait."""
    rows = [row for row in segments if row["unit"] == unit]
    traits: dict[str, float] = {}
    for row in rows:
        for each in row["profile"]:
            traits[each["trait"]] = max(traits.get(each["trait"], 0.0), abs(each["difference"]))
    shown = [name for name, most in sorted(traits.items(), key=lambda item: -item[1]) if most > 0.05][:MAX_TRAITS]
    values = np.full((len(rows), max(len(shown), 1)), np.nan)
    figure = Figure(figsize=(4 + 0.7 * len(shown), 2.2 + 0.45 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        for each in row["profile"]:
            if each["trait"] in shown:
                column = shown.index(each["trait"])
                values[place, column] = each["difference"]
                axes.text(
                    column,
                    place,
                    _signed(each["difference"]),
                    ha="center",
                    va="center",
                    fontsize=8,
                )
    image = axes.imshow(values, cmap="PuOr_r", vmin=-2, vmax=2, aspect="auto", alpha=0.8)
    _ticks(axes.set_xticks, [name.replace("_", " ") for name in shown], rotation=40, ha="right")
    _ticks(axes.set_yticks, [f"{row['name']} ({row['share']:.0%})" for row in rows], longest=50)
    axes.set_title(f"Segments of {unit}s: standard deviations from the mean of all")
    figure.colorbar(image, ax=axes)
    return figure


def _signed(value: float) -> str:
    return f"{value:+.1f}" if abs(value) >= 0.05 else "0"


def _ticks(setter: object, names: Sequence[str], *, longest: int = MAX_LENGTH, **how: object) -> None:
    assert callable(setter)
    setter(range(len(names)), [_plain(name, longest) for name in names], fontsize=8, parse_math=False, **how)


def _plain(text: str, longest: int = MAX_LENGTH) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
