"""The gate's laws on small models; no registry and no Spark."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pandas as pd
import pytest

from scoring.champion import LoadedModel
from scoring.model import Parameters
from simulation.rows import trial
from tests.unit.training.samples import SMALL, feature_rows, small_champion
from training.gate import Check, Limits, Verdict, precision, review
from training.model import fit
from training.summary import describe

LOOSE = Limits(min_stability=-1.0, max_recall_loss=1.0, max_scenario_recall_loss=1.0, max_false_alarm_rise=1.0)


@cache
def days() -> pd.DataFrame:
    return trial([1], users=150)


def check_of(verdict: Verdict, name: str) -> Check:
    return next(check for check in verdict.checks if check.name == name)


def trained(rows: pd.DataFrame, parameters: Parameters = SMALL, share: float = 0.05) -> LoadedModel:
    model = fit(rows, "default", parameters)
    return LoadedModel.of("model", "2", model, describe(model, rows, 2.0, share))


def test_a_model_passes_against_itself() -> None:
    verdict = review(small_champion(), replace(small_champion(), version="2"), feature_rows(), days(), limits=LOOSE)
    assert verdict.passed
    assert check_of(verdict, "rank correlation").value == pytest.approx(1.0)
    assert check_of(verdict, "overlap of the strangest").value == 1.0
    assert verdict.sentence().startswith("Version 2 passed")


def test_a_challenger_that_ranks_otherwise_is_refused_by_name() -> None:
    limits = replace(LOOSE, max_flagged_share_change=1.0, min_top_overlap=0.0, min_rank_correlation=0.9)
    verdict = review(small_champion(), small_champion("plain", "2"), feature_rows(), days(), limits=limits)
    assert not verdict.passed
    assert "rank correlation: found" in verdict.sentence()
    assert "needed at least 0.9" in verdict.sentence()


def test_a_challenger_that_flags_far_more_is_refused() -> None:
    noisy = replace(small_champion(), version="2", threshold=small_champion().reference.row_scores.quantiles[500])
    verdict = review(small_champion(), noisy, feature_rows(), days(), limits=LOOSE)
    assert [check.name for check in verdict.failed] == ["change of flagged share"]
    assert check_of(verdict, "change of flagged share").challenger == pytest.approx(0.5, abs=0.05)


def test_a_forest_of_one_tree_is_not_stable_over_seeds() -> None:
    unstable = trained(feature_rows(), Parameters(trees=1, subsample=8, seed=1))
    verdict = review(
        unstable, replace(unstable, version="3"), feature_rows(), days(), limits=replace(LOOSE, min_stability=0.8)
    )
    assert [check.name for check in verdict.failed] == ["stability over seeds"]


def test_a_challenger_blind_to_simulated_bots_is_refused_for_its_recall() -> None:
    """The champion learned from people of the simulated shop; the challenger from the strange ones alone."""
    honest = days()[~days()["strange"]]
    strange = days()[days()["strange"]]
    champion, blind = trained(honest), trained(pd.concat([strange] * 3, ignore_index=True))
    limits = Limits(1.0, 0.0, -1.0, -1.0, max_recall_loss=0.0, max_scenario_recall_loss=1.0, max_false_alarm_rise=1.0)
    verdict = review(champion, blind, feature_rows(), days(), limits=limits)
    assert [check.name for check in verdict.failed] == ["loss of recall: all scenarios"]
    assert review(blind, champion, feature_rows(), days(), limits=limits).passed


def judged_alerts(count: int) -> pd.DataFrame:
    """Alerts of one row each, the strangest of all rows; every second one is true."""
    rows = feature_rows()
    strangest = rows.assign(score=small_champion().model.score(rows)).nlargest(count, "score")
    return strangest.assign(alert_id=[f"a{i}" for i in range(count)], confirmed=[i % 2 == 0 for i in range(count)])


def test_precision_counts_the_alerts_that_the_model_would_raise() -> None:
    alerts = judged_alerts(10)
    assert precision(replace(small_champion(), threshold=0.0), alerts) == 0.5
    only_first = replace(small_champion(), threshold=float(alerts["score"].iloc[0]))
    assert precision(only_first, alerts) == 1.0
    assert math.isnan(precision(replace(small_champion(), threshold=2.0), alerts))
    assert math.isnan(precision(small_champion(), None))


def test_a_challenger_that_raises_more_false_alarms_of_those_with_a_verdict_is_refused() -> None:
    alerts = judged_alerts(10)
    sharp = replace(small_champion(), threshold=float(alerts["score"].iloc[0]))
    blunt = replace(small_champion(), version="2", threshold=0.0)
    limits = replace(LOOSE, max_flagged_share_change=1.0, min_feedback=10)
    verdict = review(sharp, blunt, feature_rows(), days(), alerts, limits)
    assert [check.name for check in verdict.failed] == ["loss of precision in feedback"]


def test_too_little_feedback_decides_nothing() -> None:
    verdict = review(small_champion(), small_champion(), feature_rows(), days(), judged_alerts(3), LOOSE)
    assert check_of(verdict, "loss of precision in feedback").answer == "cannot tell"
    assert verdict.passed
