"""May a challenger become the champion? Both score the same rows; what is compared needs no labels, or known ones.

- Real rows: the share that is flagged, the strangest rows, the order of all rows.
- Seeds: the challenger's preset fitted again with other seeds must rank simulated rows alike.
- Simulated days, held apart from training and from the search: recall per strange persona, false alarms on the honest
  but strange ones, at a budget of sessions.
- Feedback: of the alerts with an analyst's verdict, how many of those a model would raise are true.

A limit of ``Limits`` is what may be lost against the champion, so a challenger that is better never fails by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoring.champion import LoadedModel
from scoring.thresholds import Floats
from simulation.sites import SITES
from training.evaluate import SEEDS, by_persona, compare, stability, with_labels
from training.trial import sessions_of

TOP_SHARE = 0.01
MIN_TOP = 20
"""The strangest rows that are compared: a hundredth of all, and no fewer than so many."""

MAX_REFITTED = 5000
"""Rows for the fits with other seeds."""

MIN_SESSIONS = 10
"""A persona with fewer sessions in the simulated days says nothing by itself."""


@dataclass(frozen=True)
class Limits:
    """What is asked of a challenger; the meanings are in conf/base.yaml, section gate."""

    max_flagged_share_change: float = 0.02
    min_top_overlap: float = 0.2
    min_rank_correlation: float = 0.3
    min_stability: float = 0.8
    max_recall_loss: float = 0.05
    max_scenario_recall_loss: float = 0.25
    max_false_alarm_rise: float = 0.1
    max_precision_loss: float = 0.05
    min_feedback: int = 20


@dataclass(frozen=True)
class Check:
    """One question; the models' own figures are None where only ``value`` counts, ``passed`` where it is unknown."""

    name: str
    champion: float | None
    challenger: float | None
    value: float
    needed: str
    passed: bool | None

    @property
    def answer(self) -> str:
        return "cannot tell" if self.passed is None else "passed" if self.passed else "FAILED"


@dataclass(frozen=True)
class Verdict:
    """All checks of a challenger against a champion. Passed when none failed."""

    champion: str
    challenger: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return not self.failed

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if check.passed is False]

    def sentence(self) -> str:
        """The outcome for people."""
        if self.passed:
            known = sum(check.passed is not None for check in self.checks)
            return f"Version {self.challenger} passed {known} checks against champion {self.champion}."
        why = "; ".join(f"{check.name}: found {check.value:.3g}, needed {check.needed}" for check in self.failed)
        return f"Version {self.challenger} did not pass against champion {self.champion}: {why}."

    def table(self) -> pd.DataFrame:
        """A row per check: check, champion, challenger, found, needed, answer."""
        rows = [(c.name, c.champion, c.challenger, c.value, c.needed, c.answer) for c in self.checks]
        return pd.DataFrame(rows, columns=["check", "champion", "challenger", "found", "needed", "answer"])

    def metrics(self) -> dict[str, float]:
        """What was found, by the check's name; only finite numbers."""
        return {
            f"gate.{c.name.replace(': ', '.').replace(' ', '_')}": c.value for c in self.checks if np.isfinite(c.value)
        }


def review(
    champion: LoadedModel,
    challenger: LoadedModel,
    rows: pd.DataFrame,
    trial: pd.DataFrame,
    feedback: pd.DataFrame | None = None,
    limits: Limits | None = None,
    seeds: Sequence[int] = SEEDS,
) -> Verdict:
    """Compare two models.

    Args:
        rows: real feature rows, with user_id and session_start where known.
        trial: simulated rows (:func:`training.trial.gate_rows`).
        feedback: feature rows of alerts with a verdict: ``alert_id`` and ``confirmed`` (boolean) beside the features.
    """
    limits = limits or Limits()
    checks = [
        *_on_rows(champion, challenger, rows, limits),
        _stable(challenger, rows, trial, limits, seeds),
        *_on_trial(champion, challenger, trial, limits),
        _on_feedback(champion, challenger, feedback, limits),
    ]
    return Verdict(champion.version, challenger.version, tuple(checks))


def scores_of(model: LoadedModel, rows: pd.DataFrame) -> Floats:
    """Scores, shape (rows,), of rows in any column order."""
    return model.score(model.model.columns(rows).to_numpy(np.float64))


def _on_rows(champion: LoadedModel, challenger: LoadedModel, rows: pd.DataFrame, limits: Limits) -> Iterator[Check]:
    top = max(MIN_TOP, round(TOP_SHARE * len(rows)))
    both = scores_of(champion, rows), scores_of(challenger, rows)
    comparison = compare(*both, (champion.threshold, challenger.threshold), top)
    change = abs(comparison["flagged_share_change"])
    shares = comparison["champion_flagged_share"], comparison["challenger_flagged_share"]
    yield _at_most("change of flagged share", *shares, change, limits.max_flagged_share_change)
    yield _at_least("overlap of the strangest", comparison["top_overlap"], limits.min_top_overlap, f" of {top}")
    yield _at_least("rank correlation", comparison["rank_correlation"], limits.min_rank_correlation)


def _stable(
    challenger: LoadedModel, rows: pd.DataFrame, trial: pd.DataFrame, limits: Limits, seeds: Sequence[int]
) -> Check:
    model = challenger.model
    learned = rows if len(rows) <= MAX_REFITTED else rows.sample(MAX_REFITTED, random_state=0)
    held_out = trial if len(trial) <= MAX_REFITTED else trial.sample(MAX_REFITTED, random_state=0)
    correlation = stability(learned, model.preset, model.parameters, held_out, seeds)
    return _at_least("stability over seeds", correlation, limits.min_stability)


def _on_trial(champion: LoadedModel, challenger: LoadedModel, trial: pd.DataFrame, limits: Limits) -> Iterator[Check]:
    sessions = [sessions_of(scores_of(model, trial), trial) for model in (champion, challenger)]
    before, after = (with_labels(one)["recall"] for one in sessions)
    yield _at_most("loss of recall: all scenarios", before, after, before - after, limits.max_recall_loss)
    shares = [by_persona(one).set_index(["strange", "persona"]) for one in sessions]
    for strange, persona in shares[0].index:
        enough = bool(shares[0].loc[(strange, persona), "sessions"] >= MIN_SESSIONS)
        before, after = (float(one.loc[(strange, persona), "share"]) for one in shares)
        if strange:
            limit = limits.max_scenario_recall_loss
            yield _at_most(f"loss of recall: {persona}", before, after, before - after, limit, known=enough)
        elif persona in {one.name for site in SITES.values() for one in site.honest_but_strange}:
            limit = limits.max_false_alarm_rise
            yield _at_most(f"rise of false alarms: {persona}", before, after, after - before, limit, known=enough)


def _on_feedback(
    champion: LoadedModel, challenger: LoadedModel, feedback: pd.DataFrame | None, limits: Limits
) -> Check:
    alerts = 0 if feedback is None else int(feedback["alert_id"].nunique())
    before, after = (precision(model, feedback) for model in (champion, challenger))
    return _at_most(
        "loss of precision in feedback",
        before,
        after,
        before - after,
        limits.max_precision_loss,
        f" ({alerts} alerts have a verdict, {limits.min_feedback} are needed to tell)",
        known=alerts >= limits.min_feedback,
    )


def precision(model: LoadedModel, feedback: pd.DataFrame | None) -> float:
    """Of the alerts with a verdict that the model raises at its threshold, the share that is true; NaN for none."""
    if feedback is None or feedback.empty:
        return float("nan")
    flagged = feedback.assign(flagged=scores_of(model, feedback) >= model.threshold)
    alerts = flagged.groupby("alert_id").agg(flagged=("flagged", "any"), confirmed=("confirmed", "first"))
    raised = alerts[alerts["flagged"]]
    return float(raised["confirmed"].mean()) if len(raised) else float("nan")


def _at_most(
    name: str, champion: float, challenger: float, value: float, limit: float, of: str = "", *, known: bool = True
) -> Check:
    passed = bool(value <= limit + 1e-12) if known and np.isfinite(value) else None
    return Check(name, champion, challenger, value, f"at most {limit:g}{of}", passed)


def _at_least(name: str, value: float, limit: float, of: str = "") -> Check:
    passed = bool(value >= limit) if np.isfinite(value) else None
    return Check(name, None, None, value, f"at least {limit:g}{of}", passed)
