"""Models on trial: simulated days with known personas, held apart from training, the same for every contestant.

A day of the search is never a day of the gate: what was chosen on the one is gated on the other.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

from scoring.flatten import flatten
from scoring.model import Model
from scoring.thresholds import Floats
from simulation.rows import trial
from training.evaluate import BUDGET, by_persona, by_session, with_labels

SEARCH_DAYS = (8101,)
GATE_DAYS = (9001, 9002)
"""Seeds of simulated days."""


@cache
def search_rows(users: int, least: int) -> pd.DataFrame:
    """Rows that can be scored, of the days a search looks at."""
    return trial(SEARCH_DAYS, users, least)


@cache
def gate_rows(users: int, least: int) -> pd.DataFrame:
    """Rows that can be scored, of the days that training reports on and the gate decides by."""
    return trial(GATE_DAYS, users, least)


def scores_of(model: Model, rows: pd.DataFrame) -> Floats:
    """Scores, shape (rows,), by the compiled forest where there is one; else as :meth:`Model.score` gives them."""
    forest = flatten(model)
    return model.score(rows) if forest is None else forest.score(model.columns(rows).to_numpy(np.float64))


def sessions_of(scores: Floats, rows: pd.DataFrame) -> pd.DataFrame:
    """:func:`training.evaluate.by_session` of trial rows with these scores, shape (rows,)."""
    return by_session(rows.assign(score=scores))


def personas(scores: Floats, rows: pd.DataFrame, budget: float = BUDGET) -> pd.DataFrame:
    """:func:`training.evaluate.by_persona` of trial rows with these scores."""
    return by_persona(sessions_of(scores, rows), budget)


def metrics(scores: Floats, rows: pd.DataFrame, budget: float = BUDGET) -> dict[str, float]:
    """What a run keeps of a trial: figures of all sessions, recall per strange persona, false alarms per honest one."""
    sessions = sessions_of(scores, rows)
    figures = {f"trial.{name}": value for name, value in with_labels(sessions, budget).items()}
    for row in by_persona(sessions, budget).to_dict("records"):
        figures[f"{'recall' if row['strange'] else 'false_alarms'}.{row['persona']}"] = float(row["share"])
    return {name: value for name, value in figures.items() if np.isfinite(value)}
