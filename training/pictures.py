"""Pictures of a model for people: drawn without a display, kept with its run."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from training.model import Model
from training.reference import Reference
from training.thresholds import LEVELS


def pictures(model: Model, reference: Reference) -> dict[str, Figure]:
    """Figures by name."""
    return {"scores": scores(reference)}


def scores(reference: Reference) -> Figure:
    """How the training scores are spread, with the threshold."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    quantiles = np.array(reference.row_scores.quantiles)
    share = np.diff(LEVELS)
    axes.hist((quantiles[:-1] + quantiles[1:]) / 2, bins=60, weights=share, color="#4878a8")
    axes.axvline(reference.threshold, color="#b04030", label=f"threshold {reference.threshold:.3f}")
    axes.set(xlabel="anomaly score (higher is stranger)", ylabel="% of training rows", title="Scores in training")
    axes.legend()
    return figure
