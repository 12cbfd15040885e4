from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from scoring.model import Parameters
from tests.unit.training.samples import feature_rows
from training.evaluate import (
    by_persona,
    by_persona_at_false_alarms,
    by_session,
    compare,
    rank_correlation,
    stability,
    with_labels,
    within_budget,
)


def minutes() -> pd.DataFrame:
    """Four sessions of two minutes: a scraper, a flash crowd visitor and two browsers."""
    rows = [
        ("a", 1, 0.4, "browser", False),
        ("a", 1, 0.5, "browser", False),
        ("b", 1, 0.9, "scraper", True),
        ("b", 1, 0.2, "scraper", True),
        ("c", 1, 0.7, "flash_crowd", False),
        ("c", 1, np.nan, "flash_crowd", False),
        ("a", 2, 0.1, "browser", False),
        ("a", 2, 0.3, "browser", False),
        ("d", 1, np.nan, "browser", False),
    ]
    return pd.DataFrame(rows, columns=["user_id", "session_start", "score", "persona", "strange"])


def test_a_session_counts_by_its_strangest_minute() -> None:
    sessions = by_session(minutes())
    assert sessions["score"].tolist() == [0.5, 0.3, 0.9, 0.7]
    assert sessions["strange"].tolist() == [False, False, True, False]


def test_a_perfect_order_gives_perfect_figures() -> None:
    found = with_labels(by_session(minutes()), budget=0.25)
    assert found == {
        "roc_auc": 1.0,
        "average_precision": 1.0,
        "recall": 1.0,
        "precision": 1.0,
        "false_alarm_share": 0.0,
    }


def test_what_the_budget_does_not_reach_is_not_found() -> None:
    turned = by_session(minutes().assign(score=lambda rows: 1 - rows["score"]))
    found = with_labels(turned, budget=0.25)
    assert (found["recall"], found["precision"]) == (0.0, 0.0)
    assert found["false_alarm_share"] == pytest.approx(1 / 3)


def test_without_any_strange_session_recall_is_not_defined() -> None:
    found = with_labels(by_session(minutes().assign(strange=False)))
    assert math.isnan(found["roc_auc"])
    assert math.isnan(found["recall"])


def test_personas_are_listed_strange_ones_first() -> None:
    table = by_persona(by_session(minutes()), budget=0.5)
    assert table[["persona", "sessions", "flagged", "share"]].to_numpy().tolist() == [
        ["scraper", 1, 1, 1.0],
        ["browser", 2, 0, 0.0],
        ["flash_crowd", 1, 1, 1.0],
    ]


def of_sessions(honest: list[float], strange: list[float]) -> pd.DataFrame:
    rows = [(score, "browser", False) for score in honest] + [(score, "scraper", True) for score in strange]
    return pd.DataFrame(rows, columns=["score", "persona", "strange"])


def test_at_false_alarms_only_honest_sessions_use_the_allowance_up() -> None:
    honest = [number / 100 for number in range(100)]
    table = by_persona_at_false_alarms(of_sessions(honest, [0.97, 0.985, 2.0, 3.0, 4.0]), 0.01)
    assert table[["persona", "flagged", "share"]].to_numpy().tolist() == [["scraper", 4, 0.8], ["browser", 1, 0.01]]


@pytest.mark.parametrize("strange", [[], [0.5], [0.5] * 50])
def test_equal_scores_find_nobody_at_false_alarms(strange: list[float]) -> None:
    assert by_persona_at_false_alarms(of_sessions([0.5] * 50, strange), 0.01)["flagged"].sum() == 0


@pytest.mark.parametrize(("budget", "flagged"), [(0.0001, 1), (0.01, 1), (0.5, 50), (1.0, 100)])
def test_a_budget_is_kept_even_among_equal_scores(budget: float, flagged: int) -> None:
    assert within_budget(np.ones(100), budget).sum() == flagged


def test_nothing_is_within_the_budget_of_nothing() -> None:
    assert within_budget(np.empty(0), 0.5).sum() == 0


def test_rank_correlation_sees_order_only() -> None:
    scores = np.array([0.1, 0.5, 0.2, 0.9])
    assert rank_correlation(scores, scores**3) == pytest.approx(1.0)
    assert rank_correlation(scores, -scores) == pytest.approx(-1.0)
    assert math.isnan(rank_correlation(scores, np.ones(4)))


def test_a_model_compared_with_itself_has_not_changed() -> None:
    scores = np.random.default_rng(1).random(50)
    assert compare(scores, scores, (0.5, 0.5), top=5) == {
        "champion_flagged_share": (scores >= 0.5).mean(),
        "challenger_flagged_share": (scores >= 0.5).mean(),
        "flagged_share_change": 0.0,
        "top_overlap": 1.0,
        "rank_correlation": pytest.approx(1.0),
    }


def test_two_models_that_disagree_share_no_top() -> None:
    scores = np.arange(10.0)
    found = compare(scores, -scores, (8.0, -3.0), top=3)
    assert found["top_overlap"] == 0.0
    assert found["flagged_share_change"] == pytest.approx(0.2)


def test_larger_forests_are_more_stable_over_seeds() -> None:
    rows = feature_rows()
    few, many = (stability(rows, "default", Parameters(trees, 64), rows.head(100)) for trees in (3, 60))
    assert few < many < 1.0
