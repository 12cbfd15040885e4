"""Charts as SVG text made here: no script, no colour but the sheet's classes, and the same for every reader.

Coordinates are minutes from the left and a scale from 0 at the bottom to 100 at the top; the sheet stretches the
picture, and labels are HTML beside it, so that they keep their size on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SPARK = (120.0, 32.0)
MIN_OWN_MINUTES = 5
"""So many earlier minutes of the user must be known before they make a baseline."""


def spark(values: Sequence[float], label: str) -> Markup:
    """A small line of values at equal steps; NaN leaves a gap. ``label`` is what a screen reader says."""
    width, height = SPARK
    known = [value for value in values if value == value]
    most = max(known, default=0.0) or 1.0
    step = width / max(1, len(values) - 1)
    points = [(i * step, height - 2 - (height - 4) * value / most, value) for i, value in enumerate(values)]
    runs = [list(run) for has, run in groupby(points, lambda point: point[2] == point[2]) if has]
    lines = "".join(f"M{_path([(x, y) for x, y, _ in run])}" for run in runs)
    areas = "".join(
        f"M{run[0][0]:.1f} {height}L{_path([(x, y) for x, y, _ in run])}L{run[-1][0]:.1f} {height}Z" for run in runs
    )
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<path class="area" d="{}"/><path class="stroke" vector-effect="non-scaling-stroke" d="{}"/></svg>'
    ).format(f"{width:g}", f"{height:g}", label, areas, lines)


def bar(part: float, label: str) -> Markup:
    """A share of 0 to 1 as a bar; ``label`` is what a screen reader says, empty where the share stands beside it."""
    role = Markup('role="img" aria-label="{}"').format(label) if label else Markup('aria-hidden="true"')
    return Markup(
        '<svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" {}><rect width="{}" height="1"/></svg>'
    ).format(role, f"{100 * min(1.0, max(0.0, part)):.1f}")


@dataclass(frozen=True)
class Chart:
    """One quantity of a user over time.

    ``minutes`` are the active ones, counted from the chart's left edge, ascending; ``values`` may be NaN;
    ``flagged`` says which of them the model takes as strange. ``low``, ``high`` and ``usual`` are the user's own
    earlier values (tenth and ninetieth percent, median) at each minute, NaN while too little is known of them.
    ``limit`` is a line across, such as a threshold.
    """

    title: str
    unit: str
    minutes: Floats
    values: Floats
    flagged: NDArray[np.bool_]
    span: float
    low: Floats | None = None
    high: Floats | None = None
    usual: Floats | None = None
    limit: float | None = None

    @property
    def most(self) -> float:
        """The value at the top of the scale."""
        bounds = [self.values, *([self.high] if self.high is not None else [])]
        known = np.concatenate([bound[np.isfinite(bound)] for bound in bounds])
        top = float(known.max()) if known.size else 0.0
        return max(top, self.limit or 0.0) or 1.0

    def svg(self, label: str) -> Markup:
        """The picture; ``label`` is what a screen reader says instead."""
        ordinary = ~self.flagged & np.isfinite(self.values)
        strange = self.flagged & np.isfinite(self.values)
        parts = [
            _shape("behind-flagged", self._columns(self.flagged, np.full(len(self.values), self.most))),
            _shape("own", self._band()),
            _shape("usual", self._usual()),
            _shape("ordinary", self._columns(ordinary, self.values)),
            _shape("flagged", self._columns(strange, self.values)),
            _shape("limit", "" if self.limit is None else f"M0 {self._y(self.limit):.1f}H{self.span:g}"),
        ]
        frame = Markup('<svg viewBox="0 0 {} 104" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>')
        return frame.format(f"{self.span:g}", label, Markup("").join(parts))

    def _y(self, value: float) -> float:
        return 104.0 - 100.0 * max(0.0, min(1.0, value / self.most))

    def _columns(self, which: NDArray[np.bool_], values: Floats) -> str:
        drawn = zip(self.minutes[which], values[which], strict=True)
        return "".join(f"M{x + 0.1:.1f} 104V{self._y(y):.1f}h.8V104Z" for x, y in drawn)

    def _band(self) -> str:
        """Own earlier values as steps: each holds until the next active minute."""
        if self.low is None or self.high is None or not np.isfinite(self.high).any():
            return ""
        known = np.isfinite(self.high)
        x = self.minutes[known]
        ends = np.append(x[1:], self.span)
        top = "".join(f"L{a:g} {self._y(v):.1f}H{b:g}" for a, b, v in zip(x, ends, self.high[known], strict=True))
        back = zip(x[::-1], ends[::-1], self.low[known][::-1], strict=True)
        return f"M{x[0]:g} 104{top}" + "".join(f"L{b:g} {self._y(v):.1f}H{a:g}" for a, b, v in back) + "Z"

    def _usual(self) -> str:
        if self.usual is None or not np.isfinite(self.usual).any():
            return ""
        known = np.isfinite(self.usual)
        x, y = self.minutes[known], self.usual[known]
        ends = np.append(x[1:], self.span)
        steps = "L".join(f"{a:g} {self._y(v):.1f}H{b:g}" for a, b, v in zip(x, ends, y, strict=True))
        return f"M{steps}"


def own_baseline(values: Floats, flagged: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Tenth percent, median and ninetieth percent of a user's earlier values that were not flagged, for each value.

    NaN while fewer than MIN_OWN_MINUTES are known: a row is never compared with itself or with later ones.
    """
    percentiles = np.full((3, len(values)), np.nan)
    earlier: list[float] = []
    for i, value in enumerate(values):
        if len(earlier) >= MIN_OWN_MINUTES:
            percentiles[:, i] = np.percentile(earlier, (10, 50, 90))
        if np.isfinite(value) and not flagged[i]:
            earlier.append(float(value))
    return percentiles[0], percentiles[1], percentiles[2]


def _path(points: list[tuple[float, float]]) -> str:
    return "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _shape(kind: str, path: str) -> Markup:
    if not path:
        return Markup("")
    return Markup('<path class="{}" vector-effect="non-scaling-stroke" d="{}"/>').format(kind, path)
