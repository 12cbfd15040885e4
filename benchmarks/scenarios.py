"""Who is found among simulated people: the original design's model, ours, strong peers, and one that is told.

Each contestant learns from a simulated day and is tested on another day of other people, three times with three seeds,
on each simulated site. All see the same rows of the same features; the peers see them prepared as our champion's are
(missing values filled, heavy tails compressed, scaled). Labels are for counting only, but for the last contestant: a
booster that is told who is strange in the day it learns from, the ceiling of what these columns can tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pyod.models.ecod import ECOD
from pyod.models.hbos import HBOS
from pyod.models.knn import KNN
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.report import Cell, Table
from scoring.model import Parameters
from scoring.thresholds import Floats
from simulation.rows import trial
from simulation.sites import SITES
from training.evaluate import BUDGET, FALSE_ALARMS, by_persona, by_persona_at_false_alarms, with_labels
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


def told(learn: pd.DataFrame, held_out: pd.DataFrame, seed: int) -> Floats:
    """Gradient boosting on the champion's features, told of every row whether it is strange."""
    names = list(features_of("default"))
    booster = HistGradientBoostingClassifier(random_state=seed, class_weight="balanced")
    booster.fit(learn[names], learn["strange"].to_numpy(np.bool_))
    return np.asarray(booster.decision_function(held_out[names]), np.float64)


CONTESTANTS: dict[str, Contestant] = {
    "original design (plain)": preset("plain"),
    "champion (default)": preset("default"),
    "PyOD ECOD": peer(ECOD),
    "PyOD KNN": peer(lambda: KNN(n_neighbors=20, method="largest")),
    "PyOD HBOS": peer(HBOS),
    "scikit-learn LOF (lof)": preset("lof"),
    "booster, told the labels": told,
}


@dataclass(frozen=True)
class Contest:
    """What each contestant found: per seed and persona at the budget and at the false alarms, and of all sessions."""

    at_budget: pd.DataFrame
    at_false_alarms: pd.DataFrame
    together: pd.DataFrame

    def shares(self, table: pd.DataFrame) -> pd.DataFrame:
        """Shares per (strange, persona) and contestant, over all seeds."""
        grouped = table.groupby(["strange", "persona", "contestant"])[["sessions", "flagged"]].sum()
        return (grouped["flagged"] / grouped["sessions"]).unstack("contestant")

    def sessions(self) -> pd.Series[int]:
        """Sessions per (strange, persona)."""
        one = self.at_budget[self.at_budget["contestant"] == self.at_budget["contestant"].iloc[0]]
        counted: pd.Series[int] = one.groupby(["strange", "persona"])["sessions"].sum()
        return counted


def measure(users: int, names: tuple[str, ...] = tuple(CONTESTANTS), site: str = "shop") -> Contest:
    """Run the contest on a site."""
    budget, alarms, figures = [], [], []
    for seed, other in zip(SEEDS, TRIAL_SEEDS, strict=True):
        learn, held_out = trial([seed], users, site=site), trial([other], users, site=site)
        for name in names:
            sessions = sessions_of(CONTESTANTS[name](learn, held_out, seed), held_out)
            budget.append(by_persona(sessions).assign(contestant=name, seed=seed))
            alarms.append(by_persona_at_false_alarms(sessions).assign(contestant=name, seed=seed))
            figures.append({"contestant": name, "seed": seed, **with_labels(sessions)})
    return Contest(pd.concat(budget, ignore_index=True), pd.concat(alarms, ignore_index=True), pd.DataFrame(figures))


def run(quick: bool, folder: Path) -> list[Table]:
    """``make bench`` calls it; see :mod:`benchmarks.__main__`."""
    del folder
    users = 800 if quick else 2500
    return [table for site in SITES for table in tables(measure(users, site=site), site, users)]


def tables(contest: Contest, site: str, users: int) -> list[Table]:
    """Who is found at the false alarms; who is called strange at the budget; and figures of all sessions."""
    names, sessions = list(contest.at_budget["contestant"].unique()), contest.sessions()
    found, flagged = (contest.shares(table)[names] for table in (contest.at_false_alarms, contest.at_budget))
    strange = sorted(name for is_strange, name in sessions.index if is_strange)
    honest = [one.name for one in SITES[site].honest_but_strange if (False, one.name) in sessions.index]
    together = contest.together.groupby("contestant")
    of_all: list[tuple[Cell, ...]] = []
    for column, title in (("recall", "recall: all strange"), ("precision", "precision"), ("average_precision", "AP")):
        means, spreads = together[column].mean(), together[column].std(ddof=0)
        of_all.append((title, int(sessions.sum()), *(f"{means[name]:.3f} ±{spreads[name]:.3f}" for name in names)))
    share = float(sessions.xs(True, level="strange").sum() / sessions.sum())
    about = f"{len(SEEDS)} days of {users:,} people of the simulated {site}"
    learned = (
        "Learned from one day, tested on another day of other people; mean of three seeds, ± deviation over seeds."
    )
    return [
        Table(
            f"Share of sessions found where {FALSE_ALARMS:.0%} of the honest ones are flagged: {about}",
            ("persona", "sessions", *names),
            tuple(_row(name, sessions, found, (True, name)) for name in strange),
            (learned, "After a take-over only sessions in which the intruder acts are strange, not the owner's own."),
        ),
        Table(
            f"At a budget of {BUDGET:.0%} of the sessions: {about}",
            ("flagged", "sessions", *names),
            (*(_row(f"false alarms: {name}", sessions, flagged, (False, name)) for name in honest), *of_all),
            (
                f"{share:.1%} of sessions are strange: recall is at most {min(1.0, BUDGET / share):.2f} there.",
                "ECOD ranks a batch together with the training rows: here it sees the whole day, a stream cannot.",
            ),
        ),
    ]


def _row(title: str, sessions: pd.Series[int], shares: pd.DataFrame, key: tuple[bool, str]) -> tuple[Cell, ...]:
    return (title, int(sessions[key]), *shares.loc[[key]].to_numpy(np.float64)[0].tolist())
