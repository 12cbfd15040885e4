"""Simulated behaviour as labelled feature rows, without Spark: pandas folds the events, the kernel does the rest.

For searches, gates and benchmarks. A model never learns from these rows unless a benchmark says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.behavior import SessionRules
from features.counts import COUNT_NAMES, COUNTS
from features.definitions import FEATURE_NAMES
from features.kernel import NONE, SESSION_BITS, rows_of
from simulation import Columns, labels, simulate_columns
from simulation.scenario import Scenario

Longs = NDArray[np.int64]

DAY = datetime(2024, 10, 5, tzinfo=UTC)
MIN_EVENTS = 5


def tiles_of(user: Longs, second: Longs, action: NDArray[np.str_], page: Longs, mark: Longs) -> pd.DataFrame:
    """Fold events into tiles as ``features.tiles`` does: one per user, minute and page, in this order."""
    keys = ["user", "minute", "page"]
    events = pd.DataFrame({"user": user, "minute": second // 60, "page": page, "session_mark": mark})
    for count in COUNTS:
        events[count.name] = 1 if count.action is None else (action == count.action).astype(np.int64)
    events["second_mask"] = np.int64(1) << (second % 60)
    grouped = events.groupby(keys, sort=True)
    tiles = grouped[list(COUNT_NAMES)].sum()
    tiles["session_mark"] = grouped["session_mark"].max()
    # The sum of different bits is their bit-or.
    tiles["second_mask"] = events.drop_duplicates([*keys, "second_mask"]).groupby(keys, sort=True)["second_mask"].sum()
    return tiles.reset_index()


def rows_from(tiles: pd.DataFrame, rules: SessionRules | None = None) -> pd.DataFrame:
    """Feature rows of sorted tiles: user, minute, first_minute (of the session) and the features."""
    rules = rules or SessionRules()
    columns = {name: tiles[name].to_numpy(np.int64) for name in tiles.columns if name != "user"}
    columns["received"] = np.full(len(tiles), NONE, np.int64)
    user = tiles["user"].to_numpy(np.int64)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(user)) + 1, [len(user)])).astype(np.int64)
    heads, values = rows_of({**columns, "fresh": np.ones(len(tiles), np.bool_)}, starts, rules.lengths)
    rows = pd.DataFrame(values, columns=list(FEATURE_NAMES))
    rows.insert(0, "user", user[heads["first_tile"]])
    rows.insert(1, "minute", heads["minute"])
    rows.insert(2, "first_minute", heads["first_minute"])
    return rows


def simulated(
    seed: int, users: int = 2500, rate: float = 2.5, rules: SessionRules | None = None, site: str = "shop"
) -> pd.DataFrame:
    """Rows of a simulated day with ``persona`` and ``strange``: whether somebody acts in it who should not.

    So of an account that is taken over only the intruder's minutes are strange, and not the owner's own ones. The shape
    is that of :func:`rows_from`; ``rate`` is events per second of all users together.
    """
    scenario = Scenario(DAY, rate, timedelta(days=1), seed, users, daily_rhythm=True, site=site)
    events = Columns.together(list(simulate_columns(scenario)[1]))
    second = events.millis // 1000
    marks = np.where(events.session != 0, (second % 60) << 57 | (events.session & SESSION_BITS), NONE)
    actions = np.array(scenario.place.actions)[events.action]
    rows = rows_from(tiles_of(events.user, second, actions, _spread(events.page), marks), rules)
    rows["persona"] = np.array([label.persona for label in labels(scenario)])[rows["user"].to_numpy(np.int64)]
    acting = pd.DataFrame({"user": events.user, "minute": second // 60})[events.strange].drop_duplicates()
    found = rows[["user", "minute"]].merge(acting, how="left", on=["user", "minute"], indicator=True)
    rows["strange"] = (found["_merge"] == "both").to_numpy(np.bool_)
    return rows


def trial(seeds: Iterable[int], users: int, least: int = MIN_EVENTS, site: str = "shop") -> pd.DataFrame:
    """Rows that can be scored, of one simulated day per seed, in the columns a model learns from and is measured by.

    ``user_id`` and ``session_start`` are numbers that tell users and sessions of all days apart; ``day`` is the seed.
    Each user makes 86 events in the day on average, as :func:`simulated` has it.
    """
    days = []
    for number, seed in enumerate(seeds):
        rows = simulated(seed, users, rate=users / 1000.0, site=site)
        scorable = rows[rows["session_events"] >= least]
        days.append(
            scorable.assign(user_id=scorable["user"] + number * users, session_start=scorable["first_minute"], day=seed)
        )
    return pd.concat(days, ignore_index=True).drop(columns=["user", "first_minute"])


def _spread(page: Longs) -> Longs:
    """Numbers of pages as well-mixed keys."""
    return page * np.int64(-7046029254386353131)
