"""Planted behaviour is found again by mine_patterns, day after day, on real tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.metrics import adjusted_rand_score

from features.errors import UsageError
from features.tables import (
    ERASURES,
    EVENTS,
    PATTERN_DAYS,
    PATTERN_MEMBERS,
    PATTERNS,
    SCORES,
    SEGMENTS,
    TRANSITIONS,
    Table,
)
from jobs.mine_patterns import mine
from jobs.shared.days import parsed_day
from lake.spark_tables import Lake
from patterns.tables import WRITTEN, days_to_mine
from privacy.reports import remove_reports_naming
from settings import Settings, load_settings
from tests.integration.planted import (
    CLICKERS,
    NIGHT_READERS,
    READERS,
    SHOPPERS,
    WAY,
    Act,
    event_rows,
    people,
    score_rows,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

FIRST = datetime(2026, 3, 2, tzinfo=UTC)
SECOND = FIRST + timedelta(days=1)
MARKUP = "<script>alert(1)</script>"
HOSTILE = "<b>$x^2$</b>"


@dataclass(frozen=True)
class Mining:
    """Two days of planted people, mined; ``truth`` has each user's kind."""

    lake: Lake
    settings: Settings
    folder: Path
    truth: dict[str, str]

    def rows(self, table: Table, day: datetime) -> list[Any]:
        return self.read(table).where(F.col("day") == day).collect()

    def read(self, table: Table) -> DataFrame:
        return self.lake.read(table)


@pytest.fixture(scope="module")
def mining(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Mining:
    folder = tmp_path_factory.mktemp("patterns")
    places = [f"storage.root={folder}/lake", f"storage.checkpoints={folder}/checkpoints"]
    settings = load_settings("local", [*places, "patterns.max_segments=6"])
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, SCORES, ERASURES, *WRITTEN)
    first, truth = people(FIRST, 40, 1, (SHOPPERS, READERS, CLICKERS))
    second, more = people(SECOND, 40, 2, (CLICKERS, NIGHT_READERS, READERS, SHOPPERS))
    markup = [Act(f"{HOSTILE}{n}", "view", page, FIRST + timedelta(hours=12, seconds=30 * at))
              for n in range(8) for at, page in enumerate((f"/{MARKUP}", "/help", f"/{MARKUP}"))]  # fmt: skip
    images = [Act(act.user, "asset", f"/image/{n}.png", act.time) for n, act in enumerate(first)]
    lake.append(event_rows(spark, [*first, *markup, *images, *second]), EVENTS, batch_id="11-22:0")
    for number, (acts, whose) in enumerate(((first, truth), (second, more)), 1):
        lake.append(score_rows(spark, _scored(acts, whose)), SCORES, batch_id=f"1:{number}")
    found = Mining(lake, settings, folder / "reports", truth | more)
    for day in days_to_mine(lake, settings):
        assert mine(lake, settings, day, found.folder) is not None
    return found


def _scored(acts: list[Act], truth: dict[str, str]) -> list[tuple[str, datetime, str]]:
    """All clickers flagged, all readers normal, nobody else judged."""
    starts: dict[str, datetime] = {}
    for act in acts:
        starts.setdefault(act.user, act.time.replace(second=0, microsecond=0))
    verdicts = {CLICKERS: "anomaly", READERS: "normal", NIGHT_READERS: "normal", SHOPPERS: "insufficient_data"}
    return [(user, start, verdicts[truth[user]]) for user, start in starts.items()]


@pytest.mark.parametrize("day", [FIRST, SECOND])
def test_planted_segments_of_users_are_found_again(mining: Mining, day: datetime) -> None:
    rows = [r for r in mining.rows(PATTERN_MEMBERS, day) if r["unit"] == "user" and r["user_id"] in mining.truth]
    assert len(rows) == 40 * (3 if day == FIRST else 4)
    score = adjusted_rand_score([mining.truth[r["user_id"]] for r in rows], [r["pattern_id"] for r in rows])
    assert score >= 0.8


def test_the_planted_path_is_found_again_and_its_numbers_are_those_of_the_events(mining: Mining) -> None:
    found = {tuple(row["steps"]): row for row in mining.rows(PATTERNS, FIRST)}
    way = next(row for steps, row in found.items() if steps == WAY)
    assert (way["sessions"], way["users"]) == (40, 40)
    assert way["share"] == pytest.approx(40 / 128)
    assert way["lift"] > 2
    assert way["name"] == "search, then product pages, then cart, then checkout"
    assert not any("image" in step for steps in found for step in steps)


def test_steps_are_counted_once_a_session_and_what_was_planted_is_beyond_chance(mining: Mining) -> None:
    steps = {(row["from_page"], row["to_page"]): row for row in mining.rows(TRANSITIONS, FIRST)}
    planted = steps["/search", "/product/*"]
    assert (planted["sessions"], planted["users"], planted["is_significant"]) == (40, 40, True)
    assert planted["odds_ratio_low"] > 1
    assert steps["(start)", "/game"]["sessions"] == 40
    leaving = sum(row["probability"] for (source, _), row in steps.items() if source == "/search")
    assert leaving == pytest.approx(1)


def test_a_segment_keeps_its_id_and_name_the_next_day_and_a_new_one_is_new(mining: Mining) -> None:
    days = [
        {row["segment_id"]: row for row in mining.rows(SEGMENTS, day) if row["unit"] == "user"}
        for day in (FIRST, SECOND)
    ]
    kept = set(days[0]) & set(days[1])
    assert len(kept) >= 3
    assert all(days[0][one]["name"] == days[1][one]["name"] for one in kept)
    assert {row["trend"] for row in days[0].values()} == {"first_day"}
    new = [row for one, row in days[1].items() if one not in kept]
    assert [row["trend"] for row in new] == ["new"]
    assert "night" in new[0]["name"]
    assert new[0]["members"] == 40


def test_the_flagged_share_is_of_the_judged_and_null_where_nobody_was(mining: Mining) -> None:
    named = {row["name"].split()[-1]: row for row in mining.rows(SEGMENTS, FIRST) if row["unit"] == "session"}
    assert named["clickers"]["flagged_share"] == 1.0
    assert named["readers"]["flagged_share"] == 0.0
    assert segment_of(mining, "shopper-1", FIRST)["flagged_share"] is None


def segment_of(mining: Mining, user: str, day: datetime) -> Any:
    """The row of the segment that a user is in."""
    own = next(row for row in mining.rows(PATTERN_MEMBERS, day) if row["unit"] == "user" and row["user_id"] == user)
    return next(row for row in mining.rows(SEGMENTS, day) if row["segment_id"] == own["pattern_id"])


def test_kinds_of_users_say_what_they_do_and_who_was_flagged_is_told_apart(mining: Mining) -> None:
    shoppers = segment_of(mining, "shopper-1", FIRST)
    assert {"search", "checkout", "cart", "product"} & set(shoppers["name"].split())
    assert "(usually" in shoppers["description"]
    acts = {(act["action"], act["page"]): act for act in shoppers["acts"]}
    assert acts["interaction", "/checkout"]["share"] > 3 * acts["interaction", "/checkout"]["overall"] / 2
    assert sum(act["share"] for act in acts.values()) == pytest.approx(1)
    flagged = segment_of(mining, "clicker-1", FIRST)
    assert (flagged["name"], flagged["members"], flagged["flagged_share"], flagged["acts"]) == (
        "flagged",
        40,
        1.0,
        None,
    )
    assert any("told apart" in note for note in mining.rows(PATTERN_DAYS, FIRST)[0]["notes"])


def test_nothing_is_due_when_all_is_mined_until_more_events_come(mining: Mining) -> None:
    assert days_to_mine(mining.lake, mining.settings) == []
    arrive_late(mining)
    assert days_to_mine(mining.lake, mining.settings) == [FIRST]


def arrive_late(mining: Mining) -> None:
    """Four more events on the first day."""
    late = [Act(f"late-{n}", "view", "/help", FIRST + timedelta(hours=15)) for n in range(4)]
    mining.lake.append(event_rows(mining.lake.spark, late, 1_000_000), EVENTS, batch_id="11-22:1")


@pytest.mark.slow
def test_a_day_mined_again_replaces_its_rows_and_its_segments_keep_their_ids(mining: Mining) -> None:
    arrive_late(mining)
    before = {row["segment_id"]: row["name"] for row in mining.rows(SEGMENTS, FIRST)}
    events = mining.rows(PATTERN_DAYS, FIRST)[0]["events"]
    assert mine(mining.lake, mining.settings, FIRST, mining.folder) is not None
    assert len(mining.rows(PATTERN_DAYS, FIRST)) == 1
    assert mining.rows(PATTERN_DAYS, FIRST)[0]["events"] >= events + 4
    again = {row["segment_id"]: row["name"] for row in mining.rows(SEGMENTS, FIRST)}
    assert before.items() <= again.items()
    assert days_to_mine(mining.lake, mining.settings) == []


def test_what_events_say_is_text_on_the_page_and_a_page_that_names_an_erased_person_goes(mining: Mining) -> None:
    page = (mining.folder / "patterns-2026-03-02.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "<b>" not in page
    assert 'src="data:image/png;base64,' in page
    assert "http" not in page.replace("http-equiv", "")
    assert {path.suffix for path in mining.folder.iterdir()} == {".html", ".png"}
    assert remove_reports_naming(mining.folder, ["nobody"]) == []
    shown = mining.read(PATTERN_MEMBERS).where("is_example").where(F.col("day") == SECOND).first()
    assert shown is not None
    assert remove_reports_naming(mining.folder, [shown["user_id"]])[-1].name == "patterns-2026-03-03.html"


def test_a_day_that_is_none_is_a_sentence_and_one_without_events_is_nothing(mining: Mining) -> None:
    assert mine(mining.lake, mining.settings, FIRST - timedelta(days=9), mining.folder) is None
    with pytest.raises(UsageError, match="needed: year, month and day"):
        parsed_day("yesterday", "--day")
