"""Who is found among simulated people at a budget of sessions: the original design's model, ours, and strong peers.

Each contestant learns from a simulated day and is tested on another day of other people, three times with three seeds.
All see the same rows of the same features; the peers see them prepared as our champion's are (missing values filled,
heavy tails compressed, scaled). Labels are for counting only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from pyod.models.ecod import ECOD
from pyod.models.hbos import HBOS
from pyod.models.knn import KNN

from benchmarks.report import Cell, Table
from scoring.model import Parameters
from scoring.thresholds import Floats
from simulation.personas import HONEST_BUT_STRANGE
from simulation.rows import trial
from training.evaluate import BUDGET, by_persona, with_labels
from training.model import build, features_of, fit, one_row_per_user
from training.trial import scores_of, sessions_of

SEEDS = (1, 2, 3)
TRIAL_SEEDS = (101, 102, 103)
"""Days to learn from and, of other people, to be tested on."""

Contestant = Callable[[pd.DataFrame, pd.DataFrame, int], Floats]
"""Rows to learn from, rows to score and a seed; gives scores, higher is stranger."""


def preset(name: str) -> Contestant:
    """A preset of ours, fitted as ``jobs/train_model`` fits it."""

    def score(learn: pd.DataFrame, held_out: pd.DataFrame, seed: int) -> Floats:
        return scores_of(fit(learn, name, Parameters(seed=seed)), held_out)

    return score


def peer(make: Callable[[], ECOD | HBOS | KNN]) -> Contestant:
    """A PyOD detector on the champion's features and rows, prepared as for our other detectors."""

    def score(learn: pd.DataFrame, held_out: pd.DataFrame, seed: int) -> Floats:
        names = list(features_of("lof"))
        learned = one_row_per_user(learn, Parameters(seed=seed))
        prepare = build("lof", Parameters(seed=seed), {name: float(learned[name].median()) for name in names})[0]
        detector = make().fit(prepare.fit_transform(learned[names]))
        return np.asarray(detector.decision_function(prepare.transform(held_out[names])), np.float64)

    return score


CONTESTANTS: dict[str, Contestant] = {
    "original design (plain)": preset("plain"),
    "champion (default)": preset("default"),
    "PyOD ECOD": peer(ECOD),
    "PyOD KNN": peer(lambda: KNN(n_neighbors=20, method="largest")),
    "PyOD HBOS": peer(HBOS),
    "scikit-learn LOF (lof)": preset("lof"),
}


def measure(users: int, names: tuple[str, ...] = tuple(CONTESTANTS)) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run the contest.

    Returns:
        Per contestant, seed and persona: sessions, flagged; and per contestant and seed the figures of all sessions
        (:func:`training.evaluate.with_labels`).
    """
    personas, figures = [], []
    for seed, other in zip(SEEDS, TRIAL_SEEDS, strict=True):
        learn, held_out = trial([seed], users), trial([other], users)
        for name in names:
            sessions = sessions_of(CONTESTANTS[name](learn, held_out, seed), held_out)
            personas.append(by_persona(sessions).assign(contestant=name, seed=seed))
            figures.append({"contestant": name, "seed": seed, **with_labels(sessions)})
    return pd.concat(personas, ignore_index=True), pd.DataFrame(figures)


def run(quick: bool, folder: Path) -> list[Table]:
    """``make bench`` calls it; see :mod:`benchmarks.__main__`."""
    del folder
    users = 800 if quick else 2500
    personas, figures = measure(users)
    names = list(CONTESTANTS)
    grouped = personas.groupby(["strange", "persona", "contestant"])[["sessions", "flagged"]].sum()
    shares = (grouped["flagged"] / grouped["sessions"]).unstack("contestant")[names]
    sessions = grouped["sessions"].unstack("contestant")[names[0]]
    honest = [one.name for one in HONEST_BUT_STRANGE]
    strange_rows = [_row(f"recall: {name}", sessions, shares, (True, name)) for name in shares.loc[True].index]
    honest_rows = [_row(f"false alarms: {name}", sessions, shares, (False, name)) for name in honest]
    together = figures.groupby("contestant")
    of_all: list[tuple[Cell, ...]] = []
    for column, title in (("recall", "recall: all strange"), ("precision", "precision"), ("average_precision", "AP")):
        values = [
            f"{together[column].mean()[name]:.3f} ±{together[column].std(ddof=0)[name]:.3f}" for name in names
        ]  # fmt: skip
        of_all.append((title, int((sessions[True] if column == "recall" else sessions).sum()), *values))
    table = Table(
        f"Share of sessions among the strangest {BUDGET:.0%}: {len(SEEDS)} days of {users:,} simulated people",
        ("persona", "sessions", *names),
        (*strange_rows, *honest_rows, *of_all),
        (
            "Learned from one day, tested on another day of other people; mean of three seeds, ± deviation over seeds.",
            f"{_strange(personas, names[0]):.1%} of sessions are strange: at {BUDGET:.0%} recall cannot reach 100 %.",
            "ECOD ranks a batch together with the training rows: here it sees the whole day at once, a stream cannot.",
        ),
    )
    return [table]


def _row(title: str, sessions: pd.Series[int], shares: pd.DataFrame, key: tuple[bool, str]) -> tuple[Cell, ...]:
    return (title, int(sessions[key]), *shares.loc[[key]].to_numpy(np.float64)[0].tolist())


def _strange(personas: pd.DataFrame, name: str) -> float:
    of_one = personas[personas["contestant"] == name]
    return float(of_one.loc[of_one["strange"], "sessions"].sum() / of_one["sessions"].sum())
