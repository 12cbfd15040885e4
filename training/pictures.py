"""Pictures of a model for people: drawn without a display, kept with its run."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scoring.explain import explainer
from scoring.flatten import flatten
from scoring.model import Model
from scoring.reference import Reference
from scoring.thresholds import LEVELS

MAX_ROWS = 1000
BLUE, RED = "#4878a8", "#b04030"


def pictures(
    model: Model, reference: Reference, rows: pd.DataFrame, personas: pd.DataFrame | None = None
) -> dict[str, Figure]:
    """Figures by name: how scores are spread, what a trial found of each persona and, for a model that can be
    explained, what its features do to rows."""
    drawn = {"scores": scores(reference)}
    if personas is not None:
        drawn["scenario_recall"] = scenario_recall(personas)
    influence = feature_influence(model, rows.head(MAX_ROWS))
    return drawn if influence is None else drawn | {"feature_influence": draw_influence(influence)}


def feature_influence(model: Model, rows: pd.DataFrame) -> pd.Series[float] | None:
    """Mean size of each feature's part of the score over the rows, largest first; None without a compiled scorer."""
    forest = flatten(model)
    if forest is None or rows.empty:
        return None
    parts = np.abs(explainer(forest).contributions(model.columns(rows).to_numpy(np.float64))).mean(axis=0)
    return pd.Series(parts, index=list(model.feature_names)).sort_values(ascending=False)


def scores(reference: Reference) -> Figure:
    """How the training scores are spread, with the threshold."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    quantiles = np.array(reference.row_scores.quantiles)
    axes.hist((quantiles[:-1] + quantiles[1:]) / 2, bins=60, weights=np.diff(LEVELS), color=BLUE)
    axes.axvline(reference.threshold, color=RED, label=f"threshold {reference.threshold:.3f}")
    axes.set(xlabel="anomaly score (higher is stranger)", ylabel="% of training rows", title="Scores in training")
    axes.legend()
    return figure


def scenario_recall(personas: pd.DataFrame) -> Figure:
    """The share of each persona's sessions within the budget: recall of the strange, false alarms of the honest."""
    shown = personas.iloc[::-1]
    figure = Figure(figsize=(7, 0.8 + 0.3 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    names = [f"{row.persona} ({row.flagged:,} of {row.sessions:,})" for row in shown.itertuples()]
    axes.barh(np.arange(len(shown)), 100.0 * shown["share"], color=[RED if one else BLUE for one in shown["strange"]])
    axes.set_yticks(np.arange(len(shown)), names)
    axes.set(xlabel="% of the persona's sessions among the strangest 1 %", title="Simulated days (red: strange)")
    return figure


def draw_influence(influence: pd.Series[float]) -> Figure:
    """Bars of :func:`feature_influence`."""
    figure = Figure(figsize=(7, 0.6 + 0.28 * len(influence)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh([str(name) for name in influence.index[::-1]], influence.to_numpy()[::-1], color=BLUE)
    axes.set(xlabel="mean size of its part of the anomaly score", title="Influence of features")
    return figure
