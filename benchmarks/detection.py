"""Detection on labelled data: ``make bench NAMES=detection``. Reads ../shared/data or $BEHAVIOR_DATA.

Labels are for measuring only: no row is chosen, weighted or scored by them. Without Spark: events are folded to tiles
by pandas, the rows come from the platform's own kernel, the model from the platform's own ``fit`` with its defaults.

Units are those of the data's README. Sessions are cut where a user pauses for more than 30 minutes, to the second, so
that they are the same for both detectors; a feature row belongs to the session its minute lies in.

- A session's score is that of its strangest minute that can be scored, as an alert's is (``training.summary``).
- The platform does not score minutes before a session has five events, so it has no verdict on most sessions of "users"
  and "all". To rank them, every minute is scored all the same there, and a user's score is that of the strangest one.
  "Left alone" is what the platform itself says: such minutes have no score, and a session without a scored one
  gets the median of the scored rows, no opinion.

The reference is computed beside: scikit-learn's ``IsolationForest(contamination=0.1)`` on five features of whole
sessions, fitted to the sessions it scores (for users: to all sessions).
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.report import Table
from features.kernel import NONE
from scoring.flatten import flatten
from scoring.model import Model, Parameters
from simulation.rows import rows_from, simulated, tiles_of
from simulation.sites import SITES
from training.evaluate import BUDGET, FALSE_ALARMS, by_persona, by_persona_at_false_alarms, by_session, with_labels
from training.model import fit

Floats = NDArray[np.float64]

SEEDS = range(10)
MIN_EVENTS = 5
SESSION_PAUSE = 1800.0

PRINTED = {
    ("shop", "sessions with at least 5 events"): (0.788, 0.486),
    ("shop", "users with at least 5 events"): (0.687, None),
    ("shop", "all sessions"): (0.391, 0.510),
    ("wiki", "sessions with at least 5 events"): (0.721, 0.552),
    ("wiki", "users with at least 5 events"): (0.775, None),
    ("wiki", "all users"): (0.807, 0.319),
    ("hotel", "sessions with at least 5 events"): (0.516, 0.468),
    ("hotel", "users with at least 5 events"): (0.455, 0.364),
}
"""The README's figures: ROC-AUC and average precision."""


@dataclass(frozen=True)
class Labelled:
    """A labelled data set: feature rows with the ``session`` they lie in, and the sessions.

    ``rows``: user, minute, first_minute, session and the features. ``sessions`` (by number): user, events, bot
    (None: unknown) and the reference's five features.
    """

    name: str
    rows: pd.DataFrame
    sessions: pd.DataFrame


def labelled(folder: Path, name: str) -> Labelled:
    """Read ``NAME_events.jsonl.gz`` and ``NAME_labels.csv``."""
    with gzip.open(folder / f"{name}_events.jsonl.gz", "rt", encoding="utf-8") as lines:
        events = pd.DataFrame([json.loads(line) for line in lines])
    label = pd.read_csv(folder / f"{name}_labels.csv").set_index("user_id")["label"]
    events["at"] = pd.to_datetime(events["timestamp"], format="ISO8601", utc=True).astype("int64") / 1e9
    events["user"] = pd.factorize(events["user_id"])[0]
    events = events.sort_values(["user", "at"], kind="stable", ignore_index=True)
    pause = events["at"].diff().where(events["user"] == events["user"].shift())
    events["session"] = (pause.isna() | (pause > SESSION_PAUSE)).cumsum()
    events["pause"] = pause.where(pause <= SESSION_PAUSE)

    second = np.floor(events["at"].to_numpy(np.float64)).astype(np.int64)
    page = events["page"].map({text: _hash(text) for text in events["page"].unique()}).to_numpy(np.int64)
    marks = np.full(len(events), NONE, np.int64)
    tiles = tiles_of(events["user"].to_numpy(np.int64), second, events["action"].to_numpy(), page, marks)
    session_of = events.assign(minute=second // 60).drop_duplicates(["user", "minute"], keep="last")
    rows = rows_from(tiles).merge(session_of[["user", "minute", "session"]], on=["user", "minute"], validate="1:1")
    return Labelled(name, rows, _sessions(events, label))


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def _sessions(events: pd.DataFrame, label: pd.Series[str]) -> pd.DataFrame:
    """The sessions with the reference's five features; where nothing is ever viewed, every event counts as a view."""
    view = events["action"] == "view"
    grouped = events.assign(view=view if view.any() else True).groupby("session")
    minutes = (grouped["at"].max() - grouped["at"].min()) / 60.0
    known = grouped["user_id"].first().map(label)
    sessions = pd.DataFrame({"user": grouped["user"].first(), "events": grouped.size()})
    sessions["bot"] = known.map({"bot": True, "presumed_human": False, "human": False})
    sessions["rate"] = sessions["events"] / minutes.clip(lower=1.0)
    sessions["views"] = grouped["view"].sum()
    sessions["distinct_pages"] = grouped["page"].nunique()
    sessions["pause_mean"] = grouped["pause"].mean().fillna(0.0)
    sessions["pause_deviation"] = grouped["pause"].std().fillna(0.0)
    return sessions


REFERENCE_FEATURES = ["rate", "views", "distinct_pages", "pause_mean", "pause_deviation"]

Figures = dict[str, tuple[float, float]]


def figures(data: Labelled, of_sessions: pd.Series[float], of_large: pd.Series[float]) -> Figures:
    """ROC-AUC and average precision per unit. ``of_large`` scores the sessions with at least five events."""
    known = data.sessions[data.sessions["bot"].notna()]
    large = known[known["events"] >= MIN_EVENTS]
    users = (
        known.assign(score=of_sessions)
        .groupby("user")
        .agg(score=("score", "max"), events=("events", "sum"), bot=("bot", "first"))
    )
    return {
        "sessions with at least 5 events": _measured(large["bot"], of_large[large.index]),
        "users with at least 5 events": _measured(*_of(users[users["events"] >= MIN_EVENTS])),
        "all sessions": _measured(known["bot"], of_sessions[known.index]),
        "all users": _measured(*_of(users)),
    }


def _of(units: pd.DataFrame) -> tuple[pd.Series[bool], pd.Series[float]]:
    return units["bot"], units["score"]


def _measured(bot: pd.Series[bool], score: pd.Series[float]) -> tuple[float, float]:
    truth, scores = bot.to_numpy(np.bool_), score.to_numpy(np.float64)
    return float(roc_auc_score(truth, scores)), float(average_precision_score(truth, scores))


def reference(data: Labelled, seed: int) -> Figures:
    """The plain forest on whole sessions."""

    def scored(sessions: pd.DataFrame) -> pd.Series[float]:
        values = sessions[REFERENCE_FEATURES].to_numpy(np.float64)
        forest = IsolationForest(contamination=0.1, random_state=seed).fit(values)
        return pd.Series(-forest.score_samples(values), index=sessions.index)

    known = data.sessions[data.sessions["bot"].notna()]
    return figures(data, scored(known), scored(known[known["events"] >= MIN_EVENTS]))


def ours(data: Labelled, seed: int) -> tuple[Figures, Figures]:
    """The platform's default model: figures with every row scored, and with unscored rows left alone."""
    scorable = (data.rows["session_events"] >= MIN_EVENTS).to_numpy(np.bool_)
    model = trained(data.rows[scorable], seed)
    rows = data.rows[["session"]].assign(score=scores_of(model, data.rows))
    every = rows.groupby("session")["score"].max()
    of_scorable = rows[scorable].groupby("session")["score"].max()
    middle = float(rows.loc[scorable, "score"].median())
    large = of_scorable.combine_first(every)
    return figures(data, every, large), figures(data, of_scorable.reindex(every.index, fill_value=middle), large)


def trained(rows: pd.DataFrame, seed: int) -> Model:
    """The default preset, fitted as ``jobs/train_model`` fits it."""
    named = rows.rename(columns={"user": "user_id", "first_minute": "session_start"})
    return fit(named, "default", Parameters(seed=seed))


def scores_of(model: Model, rows: pd.DataFrame) -> Floats:
    """Scores by the compiled forest, which the platform scores with; shape (rows,)."""
    forest = flatten(model)
    return model.score(rows) if forest is None else forest.score(model.columns(rows).to_numpy())


def personas(days: Iterable[int], site: str) -> tuple[pd.DataFrame, pd.Series[float]]:
    """On simulated days: the shares per persona at the budget and at the false alarms, and the figures of all sessions.

    The first has columns sessions, flagged, share (at the budget) and found (at the false alarms).
    """
    at_budget, at_alarms, figures_of = [], [], []
    for day in days:
        rows = simulated(day, site=site)
        scorable = rows[rows["session_events"] >= MIN_EVENTS]
        scored = scorable.assign(score=scores_of(trained(scorable, day), scorable), user_id=scorable["user"])
        sessions = by_session(scored.assign(session_start=scored["first_minute"]))
        at_budget.append(by_persona(sessions))
        at_alarms.append(by_persona_at_false_alarms(sessions))
        figures_of.append(with_labels(sessions))
    counted, found = (
        pd.concat(tables).groupby(["strange", "persona"])[["sessions", "flagged"]].sum()
        for tables in (at_budget, at_alarms)
    )
    shares = counted.assign(share=counted["flagged"] / counted["sessions"], found=found["flagged"] / found["sessions"])
    return shares, pd.DataFrame(figures_of).mean()


def data_table(data: Labelled, seeds: Iterable[int]) -> Table:
    """A data set's figures: the README's, the reference computed here, ours, and ours with unscored rows left alone."""
    runs = [(reference(data, seed), *ours(data, seed)) for seed in seeds]
    rows = []
    for unit in runs[0][0]:
        for which, measure in enumerate(("ROC-AUC", "AP")):
            printed = PRINTED.get((data.name, unit), (None, None))[which]
            values = np.array([[of[unit][which] for of in run] for run in runs])
            cells = [f"{mean:.3f} ±{spread:.3f}" for mean, spread in zip(values.mean(0), values.std(0), strict=True)]
            shown = None if printed is None else f"{printed:.3f}"
            rows.append((unit, measure, shown, *cells, _verdict(values[:, 1], printed)))
    known = data.sessions["bot"].notna()
    scorable = (data.rows["session_events"] >= MIN_EVENTS).sum()
    return Table(
        f"{data.name}: {known.sum():,} labelled sessions, {data.sessions.loc[known, 'user'].nunique():,} users",
        ("unit", "figure", "README", "reference", "ours", "left alone", "README beaten"),
        tuple(rows),
        (
            f"{len(data.rows):,} feature rows, {scorable:,} of them scored; means and deviations of {len(runs)} seeds.",
            "Left alone: what the platform says by itself, no opinion on sessions of fewer than five events.",
        ),
    )


def _verdict(ours_of: Floats, printed: float | None) -> str | None:
    """Whether a printed figure is beaten, and whether by more than chance moves ours."""
    if printed is None:
        return None
    ahead = float(ours_of.mean()) - printed
    if ahead <= 0:
        return "no"
    return "yes" if ahead > ours_of.std() else "yes, within a deviation"


TOGETHER = ("roc_auc", "average_precision", "recall", "precision")


def personas_table(days: Sequence[int], site: str) -> Table:
    """Who is found on simulated days."""
    shares, together = personas(days, site)
    said = ", ".join(f"{name.replace('_', ' ')} {together[name]:.3f}" for name in TOGETHER)
    rows = [
        (
            "strange" if row["strange"] else "honest", row["persona"], row["sessions"], f"{row['found']:.1%}",
            f"{row['share']:.1%}",
        )
        for row in shares.reset_index().to_dict("records")
    ]  # fmt: skip
    return Table(
        f"simulated {site}, days {days[0]} to {days[-1]} of 2,500 users: sessions flagged",
        ("kind", "persona", "sessions", f"at {FALSE_ALARMS:.0%} of the honest", f"among the strangest {BUDGET:.0%}"),
        tuple(sorted(rows, key=lambda row: (row[0] == "honest", row[1]))),
        (
            f"All sessions, at the budget of {BUDGET:.0%}: {said}.",
            "After a take-over only sessions in which the intruder acts are strange, not the owner's own.",
        ),
    )


def data_folder() -> Path:
    """Where the labelled data is looked for."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("BEHAVIOR_DATA", beside))


def run(quick: bool, folder: Path) -> list[Table]:  # nothing is kept on the way
    """The labelled data sets, where they are, and simulated days: those looked at while choosing, and others."""
    place, seeds = data_folder(), range(2) if quick else SEEDS
    names = [name for name in ("shop", "wiki", "hotel") if (place / f"{name}_labels.csv").is_file()]
    if not names:
        print(f"No labelled data in {place}: set BEHAVIOR_DATA to its folder. Only simulated sites are measured.")
    days: list[tuple[int, ...]] = [(1,)] if quick else [(1, 2, 3), (7, 8, 9)]
    return [
        *(data_table(labelled(place, name), seeds) for name in names),
        *(personas_table(some, site) for site in SITES for some in days),
    ]
