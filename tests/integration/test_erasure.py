"""Laws of erase_user and backfill_features on a real stream's tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import SecretStr
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from features.errors import BehaviorError, ConfigurationError
from features.tables import (
    ERASURES,
    EVENTS,
    FEATURE_TABLE,
    FEEDBACK,
    IDENTITIES,
    REJECTED_EVENTS,
    SCORES,
    TABLES,
    TILES,
    Table,
)
from jobs import build_features
from jobs.backfill_features import backfill
from jobs.maintain_tables import maintain
from jobs.shared.starter import finisher
from lake import notes
from lake.spark_tables import Lake
from lake.worker_files import TableFiles
from privacy import erasure, stray_files
from privacy.erased_people import Privacy
from privacy.erasure import Erasure
from privacy.pseudonyms import keyed_hash_of
from streams import claims, queries
from tests.integration.upkeep import KEY, NEEDED, NOON, Act, Platform, small_platform

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PERSON = "person-73f1-to-forget"
ACTS: list[Act] = [(PERSON, 0, "/a"), ("bob", 0.2, "/a"), (PERSON, 1.5, "/b"), ("zoe", 2, "/c")]


@pytest.fixture
def platform(spark: SparkSession, tmp_path: Path) -> Platform:
    more = ("maintenance.fold_after_minutes=0", "maintenance.keep_revisions_hours=0")
    platform = small_platform(spark, tmp_path, *more, tables=(*NEEDED, REJECTED_EVENTS, ERASURES))
    platform.settings = platform.settings.model_copy(update={"pseudonym_key": SecretStr(KEY)})
    return platform


def erase(platform: Platform, *users: str) -> dict[str, int]:
    where = platform.spark, platform.lake, platform.settings
    return Erasure(*where, list(users), finisher(*where)).run()


def files_with(platform: Platform, text: str) -> list[str]:
    """Files of any kind under the lake, the logs of the tables included, that hold the bytes of ``text``."""
    found = subprocess.run(
        ["grep", "-rlaF", text, platform.settings.storage.root], capture_output=True, text=True, check=False
    )
    return found.stdout.splitlines()


def test_no_file_of_any_table_or_of_its_log_holds_an_erased_person_and_the_others_keep_everything(
    platform: Platform,
) -> None:
    platform.arrive(ACTS)
    platform.build()
    platform.arrive([(PERSON, 0.7, "/c"), ("bob", 0.5, "/b")])
    platform.build()
    platform.reject(f'{{"user_id":"{PERSON}"'.encode(), b"k")
    platform.reject(b"junk", PERSON.encode())
    platform.reject(b"other junk", b"bob")
    maintain(platform.spark, platform.lake, platform.settings)
    assert len(files_with(platform, PERSON)) > 5
    others = sorted(map(str, platform.newest().where(F.col("user_id") != PERSON).collect()))

    removed = erase(platform, PERSON)

    assert {name: rows for name, rows in removed.items() if rows} == {
        "events": 3, "rejected_events": 2, "tiles": removed["tiles"], "features": removed["features"],
    }  # fmt: skip
    assert files_with(platform, PERSON) == []
    assert sorted(map(str, platform.newest().collect())) == others
    rejected = platform.read(REJECTED_EVENTS).select("reason", "raw", "kafka_key").collect()
    places = [("erased_user", None, None)] * 5
    assert sorted(map(tuple, rejected), key=str) == [*places, ("not_json", b"other junk", b"bob")]
    known = platform.read(ERASURES).select("user_hash", "state").collect()
    hashed = keyed_hash_of(PERSON, KEY.encode())
    assert sorted(map(tuple, known)) == [(hashed, "completed"), (hashed, "requested")]

    platform.arrive([("bob", 1, "/c")])
    platform.build()
    assert platform.parity() == (0, 0, 0)


def test_files_that_a_stopped_stream_still_needs_are_kept_and_the_command_goes_on_when_it_has_read(
    platform: Platform,
) -> None:
    platform.arrive(ACTS)
    platform.build()
    platform.arrive([(PERSON, 5, "/a"), ("bob", 5, "/a")])
    with pytest.raises(BehaviorError, match=r"build_features did not read .* call erase_user again"):
        erase(platform, PERSON)
    platform.build()
    erase(platform, PERSON)
    assert files_with(platform, PERSON) == []
    assert platform.parity() == (0, 0, 0)


def test_what_a_stream_that_nobody_runs_has_not_read_is_read_before_a_person_is_erased(platform: Platform) -> None:
    """The patience is 0 s here: it is not waited for."""
    platform.arrive(ACTS)
    platform.build()
    platform.arrive([(PERSON, 5, "/a"), ("bob", 5, "/a")])
    claims.let_go(queries.checkpoint(platform.settings, build_features.QUERY))  # as if that process had ended
    removed = erase(platform, PERSON)
    assert removed["events"] == 3
    assert files_with(platform, PERSON) == []
    assert platform.parity() == (0, 0, 0)
    assert not claims.claimed(queries.checkpoint(platform.settings, build_features.QUERY))


def test_ingest_that_was_stopped_within_a_batch_is_named_at_once_with_the_command_that_comes_first(
    platform: Platform,
) -> None:
    folder = Path(queries.checkpoint(platform.settings, "ingest_events"))
    for part in ("offsets", "commits"):
        folder.joinpath(part).mkdir(parents=True)
    folder.joinpath("metadata").write_text('{"id": "1"}', encoding="utf-8")
    folder.joinpath("offsets", "0").write_text("v1\n{}\n", encoding="utf-8")
    with pytest.raises(BehaviorError, match=r"ingest_events was stopped within a batch.*ingest_events --once"):
        erase(platform, PERSON)


def test_tables_in_a_relative_folder_are_maintained_and_forget_a_person(
    spark: SparkSession, platform: Platform
) -> None:
    root = os.path.relpath(platform.settings.storage.root)
    platform.lake = Lake(spark, root)
    storage = platform.settings.storage.model_copy(update={"root": root})
    platform.settings = platform.settings.model_copy(update={"storage": storage})
    platform.arrive(ACTS)
    platform.build()
    maintain(spark, platform.lake, platform.settings)
    erase(platform, PERSON)
    assert files_with(platform, PERSON) == []


def test_alerts_that_are_being_raised_are_waited_for_and_stopped_ones_are_not(platform: Platform) -> None:
    platform.arrive(ACTS)
    platform.build()
    platform.lake.create(SCORES)
    folder = queries.checkpoint(platform.settings, "raise_alerts")
    notes.write(folder, "scores", {"version": -1})
    # In a process of its own, as raise_alerts is: a claim lasts as long as its process.
    claim = f"from streams import claims; claims.claim({folder!r}); print('claimed', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", claim], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"claimed\n"
        with pytest.raises(BehaviorError, match=r"raise_alerts did not take in .* call erase_user again"):
            erase(platform, PERSON)
        running.kill()
    erase(platform, PERSON)
    assert files_with(platform, PERSON) == []


def left_by_a_killed_worker(platform: Platform, table: Table, *users: str) -> str:
    """A file with rows of ``users`` that is in no log; its name."""
    with TableFiles(platform.lake.location(table), table) as files:
        files.write(
            pa.Table.from_pylist([dict(zip(table.columns, row_of(table, user), strict=True)) for user in users])
        )
        return str(json.loads(files.finish()[0])["add"]["path"])


def test_files_in_no_log_that_hold_the_person_or_are_cut_off_go_and_those_of_others_stay(platform: Platform) -> None:
    platform.arrive(ACTS)
    platform.build()
    gone = [left_by_a_killed_worker(platform, table, "bob", PERSON) for table in (EVENTS, TILES, FEATURE_TABLE)]
    kept = [left_by_a_killed_worker(platform, table, "bob") for table in (EVENTS, TILES, FEATURE_TABLE)]
    half = Path(platform.settings.storage.root, "tiles", "part-half.snappy.parquet")
    half.write_bytes(Path(platform.settings.storage.root, "tiles", gone[1]).read_bytes()[:-10])

    erase(platform, PERSON)

    there = {file.name for file in Path(platform.settings.storage.root).rglob("*.parquet")}
    assert there.isdisjoint([*gone, half.name])
    assert there.issuperset(kept)
    assert files_with(platform, PERSON) == []
    assert platform.parity() == (0, 0, 0)


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_file_that_is_just_being_written_is_not_taken_and_what_is_committed_after_the_removal_is_removed(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    monkeypatch.setattr(erasure, "UNDER_WAY", timedelta(seconds=3))
    platform.lake.create(FEEDBACK)
    rows = [dict(zip(FEEDBACK.columns, row_of(FEEDBACK, user), strict=True)) for user in (PERSON, "bob")]
    with TableFiles(platform.lake.location(FEEDBACK), FEEDBACK) as files:
        files.write(pa.Table.from_pylist(rows))
        described = files.finish()
    looks = []

    def look(*what: Any) -> set[str]:
        """The analyst's process commits when the erasure has looked for the last time, and not seen it in the log."""
        looks.append(what[1])
        found = stray_files.strays(*what)
        if is_committed and looks.count(FEEDBACK) == 2 and what[1] is FEEDBACK:
            platform.lake.commit(described, FEEDBACK, batch_id="late")
        return found

    monkeypatch.setattr(erasure, "strays", look)
    erase(platform, PERSON)
    assert [row.user_id for row in platform.read(FEEDBACK).collect()] == ["bob"] * is_committed
    assert files_with(platform, PERSON) == []


def test_a_file_that_cannot_be_read_yet_and_is_committed_meanwhile_stays(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "UNDER_WAY", timedelta(seconds=3))
    platform.lake.create(FEEDBACK)
    with TableFiles(platform.lake.location(FEEDBACK), FEEDBACK) as files:
        files.write(pa.Table.from_pylist([dict(zip(FEEDBACK.columns, row_of(FEEDBACK, "bob"), strict=True))]))
        described = files.finish()
    (path,) = Path(platform.lake.path(FEEDBACK)).glob("*.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    looks = []

    def look(*what: Any) -> set[str]:
        """The analyst's process writes the rest and commits while the erasure waits for it."""
        looks.append(what[1])
        if what[1] is FEEDBACK and looks.count(FEEDBACK) == 3:
            path.write_bytes(whole)
            platform.lake.commit(described, FEEDBACK, batch_id="late")
        return stray_files.strays(*what)

    monkeypatch.setattr(erasure, "strays", look)
    erase(platform, PERSON)
    assert looks.count(FEEDBACK) == 3
    assert [row.user_id for row in platform.read(FEEDBACK).collect()] == ["bob"]


def test_a_hundred_thousand_people_are_erased_in_one_call_and_kept_out(platform: Platform) -> None:
    many = [f"customer-{number:06d}" for number in range(100_000)]
    platform.arrive([*[(user, number % 50, "/a") for number, user in enumerate(many[:3000])], *ACTS])
    platform.build()
    platform.reject(b'{"user_id":"customer-000017"', None)
    platform.reject(b'{"user_id":"customer-100017"', None)
    before = time.monotonic()
    removed = erase(platform, *many)
    seconds = time.monotonic() - before
    print(f"100,000 people erased in {seconds:.0f} s: {removed}")
    assert (removed["events"], removed["rejected_events"]) == (3000, 1)
    assert {row.user_id for row in platform.newest().collect()} == {PERSON, "bob", "zoe"}
    privacy = Privacy(platform.lake, platform.settings)
    guard = privacy.guard()
    assert len(guard.erased) == 100_000
    platform.arrive([(many[-1], 60, "/a"), ("bob", 60, "/a")])
    assert privacy.without_erased(platform.read(EVENTS)).count() == 5


def test_without_a_key_nothing_is_touched_and_the_sentence_names_the_variable(platform: Platform) -> None:
    platform.arrive(ACTS)
    platform.settings = platform.settings.model_copy(update={"pseudonym_key": None})
    with pytest.raises(ConfigurationError, match="BEHAVIOR_PSEUDONYM_KEY is not set"):
        erase(platform, PERSON)
    assert platform.read(EVENTS).count() == 4


def test_an_erased_person_is_kept_out_of_a_backfill_even_when_the_events_come_back(platform: Platform) -> None:
    platform.arrive(ACTS)
    platform.build()
    erase(platform, PERSON)
    platform.arrive([(PERSON, 0, "/a")])
    platform.build()
    assert Privacy(platform.lake, platform.settings).without_erased(platform.read(EVENTS)).count() == 2
    assert backfill(platform.spark, platform.lake, platform.settings, slices=1) == 2
    assert platform.read(FEATURE_TABLE).where("batch_id like 'backfill:%'").where(F.col("user_id") == PERSON).isEmpty()


@pytest.mark.parametrize("source", ["events", "tiles"])
def test_a_backfill_gives_every_minute_of_its_span_the_right_revision_whatever_the_slices(
    platform: Platform, source: str
) -> None:
    platform.arrive([*ACTS, ("bob", 9, "/b"), ("zoe", 20, "/a"), ("zoe", 21, "/b")])
    platform.build()
    right = sorted(map(str, platform.newest().drop("batch_time", "batch_id").collect()))
    platform.spoil("true", repeat_ratio=0.9, feature_version="0")
    assert platform.parity()[2] == 7
    half = NOON + timedelta(minutes=9)
    rows = backfill(platform.spark, platform.lake, platform.settings, until=half, slices=3, source=source)  # type: ignore[arg-type]
    assert (rows, platform.parity()[2]) == (4, 3)
    assert backfill(platform.spark, platform.lake, platform.settings, since=half, slices=2, source=source) == 3  # type: ignore[arg-type]
    assert platform.parity() == (0, 0, 0)
    assert sorted(map(str, platform.newest().drop("batch_time", "batch_id").collect())) == right


def test_a_backfill_never_covers_what_the_stream_writes_after_its_start(platform: Platform) -> None:
    platform.arrive(ACTS)
    platform.build()
    platform.arrive([("bob", 0.5, "/z")])
    platform.build()
    platform.forget_last_commit(build_features.QUERY)
    backfill(platform.spark, platform.lake, platform.settings, slices=1)
    platform.build()
    assert platform.parity() == (0, 0, 0)


def test_no_statistics_of_people_are_in_the_logs_of_tables() -> None:
    assert all("user_id" not in table.statistics for table in TABLES.values())
    assert TILES.statistics == ("window_start", "batch_time")


def row_of(table: Table, user: str) -> list[object]:
    """Some row of ``table`` that is about ``user``, right in its types and in nothing else."""
    plain: dict[str, object] = {
        "string": "some text", "bigint": 1, "int": 1, "double": 1.0, "boolean": True, "timestamp": NOON,
        "binary": b"bytes",
    }  # fmt: skip
    kinds = {field.name: field.dataType.simpleString() for field in table.schema.fields}
    known = {name: plain.get(kind) if not kind.startswith("array") else [] for name, kind in kinds.items()}
    return [user if name == "user_id" else known[name] for name in table.columns]


def test_every_declared_table_with_people_in_it_forgets_an_erased_person(platform: Platform) -> None:
    tables = [table for table in TABLES.values() if "user_id" in table.columns]
    platform.lake.create(*tables)
    for table in tables:
        rows = [row_of(table, PERSON), row_of(table, "bob")]
        platform.lake.append(platform.spark.createDataFrame(rows, table.schema), table, batch_id="some")
    removed = erase(platform, PERSON)
    assert {name: removed[name] for name in removed if name != "rejected_events"} == {t.name: 1 for t in tables}
    assert files_with(platform, PERSON) == []
    # Of a link it is kept that somebody had the other id, without a name.
    assert {t.name: {r.user_id for r in platform.read(t).collect()} for t in tables} == {
        t.name: {"bob", None} if t is IDENTITIES else {"bob"} for t in tables
    }
