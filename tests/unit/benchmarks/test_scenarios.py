"""The contest of benchmarks/scenarios.py in small: its direction, not its figures."""

from __future__ import annotations

from functools import cache

import pandas as pd

from benchmarks.scenarios import Contest, measure
from simulation.rows import trial

BOTH = ("original design (plain)", "champion (default)")


@cache
def contest() -> Contest:
    return measure(500, BOTH)


def test_the_champion_finds_more_of_the_strange_than_the_original_design_at_the_same_budget() -> None:
    recall, precision = (
        contest().together.groupby("contestant")[name].mean() for name in ("recall", "average_precision")
    )
    assert recall[BOTH[1]] > recall[BOTH[0]]
    assert precision[BOTH[1]] > precision[BOTH[0]]


def test_the_champion_calls_fewer_honest_but_strange_people_strange() -> None:
    personas = contest().at_budget
    flagged = personas[~personas["strange"]].groupby("contestant")["flagged"].sum()
    assert flagged[BOTH[1]] < flagged[BOTH[0]]


def test_floods_of_clicks_are_found() -> None:
    of_floods = (
        contest().at_budget.query("persona == 'click_flood' and strange").groupby("contestant")[["flagged", "sessions"]]
    )
    found = of_floods.sum().loc[BOTH[1]]
    assert found["flagged"] > 0.5 * found["sessions"]


def test_a_trial_keeps_people_of_different_days_apart_and_repeats() -> None:
    two = trial([4, 5], users=100)
    assert set(two.query("day == 4")["user_id"]) & set(two.query("day == 5")["user_id"]) == set()
    pd.testing.assert_frame_equal(
        two.query("day == 5").reset_index(drop=True).drop(columns="user_id"), trial([5], 100).drop(columns="user_id")
    )
    assert (two["session_events"] >= 5).all()
