"""What the default model learns from and takes as typical."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from features.definitions import FEATURES
from scoring.model import Parameters
from tests.unit.training.samples import bot_row, feature_rows, small_model
from training.model import one_row_per_user

ONE_SIDED = [feature for feature in FEATURES if feature.strange and feature.name in small_model().feature_names]


def sessions(users: int, of_each: int, minutes: int) -> pd.DataFrame:
    """Sessions of as many minutes with an event each."""
    grid = np.array([(u, s, m) for u in range(users) for s in range(of_each) for m in range(1, minutes + 1)])
    return pd.DataFrame(grid, columns=["user_id", "session_start", "session_events"])


def test_each_user_gives_the_last_row_of_one_session() -> None:
    taken = one_row_per_user(sessions(30, 3, 7), Parameters(subsample=30))
    assert taken["user_id"].tolist() == list(range(30))
    assert set(taken["session_events"]) == {7}
    assert set(taken["session_start"]) == {0, 1, 2}


def test_a_bot_with_many_sessions_counts_once() -> None:
    rows = pd.concat([sessions(40, 1, 5), sessions(1, 500, 5).assign(user_id=99)], ignore_index=True)
    assert (one_row_per_user(rows, Parameters(subsample=32))["user_id"] == 99).sum() == 1


@pytest.mark.parametrize(("subsample", "taken"), [(10, 10), (11, 20), (30, 30), (31, 40), (10_000, 120)])
def test_few_users_give_more_rows_in_turns(subsample: int, taken: int) -> None:
    assert len(one_row_per_user(sessions(10, 3, 4), Parameters(subsample=subsample))) == taken


def test_rows_without_sessions_are_all_taken() -> None:
    rows = feature_rows().drop(columns="session_start")
    assert one_row_per_user(rows, Parameters(subsample=2)) is rows


@pytest.mark.parametrize("feature", ONE_SIDED, ids=lambda feature: str(feature.name))
def test_the_end_that_is_not_strange_counts_as_typical(feature: object) -> None:
    assert feature in ONE_SIDED
    name, strange = getattr(feature, "name", ""), getattr(feature, "strange", "")
    dull, odd = (0.0, 1e6) if strange == "high" else (1e6, 0.0)
    model = small_model()
    duller, dullest = bot_row(**{name: dull}), bot_row(**{name: dull + 0.01})
    assert model.score(duller) == model.score(dullest)
    assert model.score(bot_row(**{name: odd}))[0] > model.score(duller)[0]
