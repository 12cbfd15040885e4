"""The contest of benchmarks/scenarios.py in small: its direction, not its figures."""

from __future__ import annotations

from functools import cache

import pandas as pd

from benchmarks.scenarios import Contest, measure, tables
from simulation.rows import trial
from simulation.sites import SITES

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


def test_the_tables_have_every_strange_persona_and_the_honest_ones_that_alarms_would_hurt() -> None:
    found, flagged = tables(contest(), "shop", 500)
    strange = {row[0] for row in found.rows}
    assert strange == {persona.name for persona in SITES["shop"].personas if persona.is_anomalous}
    assert all(row[3] >= row[2] for row in found.rows if row[0] == "click_flood")  # type: ignore[operator]
    names = {str(row[0]).removeprefix("false alarms: ") for row in flagged.rows}
    assert {persona.name for persona in SITES["shop"].honest_but_strange} <= names


def test_a_trial_keeps_people_of_different_days_apart_and_repeats() -> None:
    two = trial([4, 5], users=100)
    assert set(two.query("day == 4")["user_id"]) & set(two.query("day == 5")["user_id"]) == set()
    pd.testing.assert_frame_equal(
        two.query("day == 5").reset_index(drop=True).drop(columns="user_id"), trial([5], 100).drop(columns="user_id")
    )
    assert (two["session_events"] >= 5).all()
