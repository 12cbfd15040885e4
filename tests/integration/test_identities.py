"""An anonymous past is linked to a user at the login: in a real run, whatever stops it, comes late or is undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pyspark.sql import functions as F

from features.identities import UNDONE
from features.parity import OF_LINKS
from features.revisions import latest
from features.tables import EVENTS, FEATURE_TABLE, IDENTITIES, SCORES, TILES, Table
from jobs import check_parity, unlink_identity
from jobs.backfill_features import backfill
from jobs.shared.starter import finisher
from kafka.producer import EventProducer
from lake.spark_tables import Lake
from pipeline import one_pass
from privacy import erasure
from privacy.erasure import Erasure
from privacy.table_rows import remove_rows
from streams.queries import Batch
from tests.integration.conftest import Platform
from tests.integration.test_one_pass import learn, run
from tests.integration.test_pipeline import START, people, send
from tests.integration.upkeep import KEY

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
slow = pytest.mark.slow
"""Of many alike one is in ``make test``."""

Sent = dict[str, object]


def event(user: str, minute: float, page: str = "/a", anonymous: str | None = None) -> Sent:
    at = START + timedelta(minutes=minute)
    known = {} if anonymous is None else {"anonymous_id": anonymous}
    return {"user_id": user, "action": "view", "page": page, "timestamp": f"{at:%Y-%m-%dT%H:%M:%S}Z", **known}


BEFORE = [event("x", 0), event("x", 1, "/b"), event("x", 2.5, "/c")]
LOGIN = [event("ada", 3, "/login", "x"), event("ada", 5, "/d", "x"), event("x", 6, "/e"), event("ada", 7, "/f")]
SHARED = [event("bob", 6.5, "/login", "x"), event("bob", 8, "/a")]
ALONE = [event("eve", minute, anonymous="undefined") for minute in range(4)]
STREAM = [*BEFORE, *LOGIN, *ALONE]


def session_events(platform: Platform) -> dict[tuple[str, int], int]:
    """By user and minute after the start, how many events the row's session has."""
    own = platform.read(FEATURE_TABLE).where(
        F.col("user_id").isin("ada", "bob", "eve", "x") | (F.length("user_id") == 64)
    )
    rows = latest(own, FEATURE_TABLE).select("user_id", F.unix_seconds("window_start").alias("at"), "session_events")
    start = int(START.timestamp())
    return {(row.user_id, (row["at"] - start) // 60): int(row.session_events) for row in rows.collect()}


def parity(platform: Platform, *, repair: bool = False, hours: int | None = None) -> tuple[int, int]:
    """Differences of all, and of links."""
    found = check_parity.check(platform.spark, platform.lake, platform.settings, hours, repair=repair)
    assert found is not None
    links = next(check for check in found.checks if check.feature == OF_LINKS)
    return found.differences, links.missing + links.extra + links.different


def links(platform: Platform) -> list[tuple[str | None, str]]:
    pairs = platform.read(IDENTITIES).select("user_id", "anonymous_id").distinct().collect()
    return sorted(map(tuple, pairs), key=lambda pair: pair[0] or "")


def three_jobs(platform: Platform) -> None:
    platform.ingest()
    platform.build()


def elsewhere(platform: Platform, root: Path, **features: Any) -> Platform:
    """The same topic, read into other tables."""
    storage = platform.settings.storage.model_copy(update={"root": f"{root}/lake", "checkpoints": f"{root}/at"})
    chosen = platform.settings.features.model_copy(update=features)
    settings = platform.settings.model_copy(update={"storage": storage, "features": chosen})
    lake = Lake(platform.spark, settings.storage.root)
    lake.create()
    return Platform(platform.spark, lake, settings)


ALL = {
    ("x", 0): 1, ("x", 1): 2, ("x", 2): 3, ("x", 6): 4, ("ada", 3): 4, ("ada", 5): 5, ("ada", 7): 7,
    ("eve", 0): 1, ("eve", 1): 2, ("eve", 2): 3, ("eve", 3): 4,
}  # fmt: skip


def test_at_the_login_the_session_continues_and_one_pass_leaves_what_three_jobs_leave(
    platform: Platform, producer: EventProducer, tmp_path: Path
) -> None:
    send(producer, *STREAM)
    run(platform)
    assert session_events(platform) == ALL
    assert links(platform) == [("ada", "x")]
    (link,) = platform.read(IDENTITIES).collect()
    assert link.source == platform.settings.kafka.topic
    assert int(link.linked_at.timestamp()) == int((START + timedelta(minutes=3)).timestamp())
    assert parity(platform) == (0, 0)
    apart = elsewhere(platform, tmp_path / "apart")
    three_jobs(apart)
    assert session_events(apart) == ALL
    assert links(apart) == [("ada", "x")]
    by_spark = elsewhere(platform, tmp_path / "by spark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lake, "takes_files", False)
        three_jobs(by_spark)
    assert session_events(by_spark) == ALL
    assert links(by_spark) == [("ada", "x")]
    unlinked = elsewhere(platform, tmp_path / "unlinked", link_identities=False)
    three_jobs(unlinked)
    assert links(unlinked) == []
    assert session_events(unlinked) == ALL | {("ada", 3): 1, ("ada", 5): 2, ("ada", 7): 3}
    assert parity(unlinked) == (0, 0)


@pytest.mark.parametrize(
    ("order", "way"),
    [
        pytest.param("login first", run, marks=slow),
        pytest.param("second user first", three_jobs, marks=slow),
        pytest.param("each alone", three_jobs, marks=slow),
        ("backwards", run),
    ],
    ids=["login first", "second user first", "each alone", "backwards"],
)
def test_links_that_come_late_and_a_second_user_make_the_rows_anew(
    platform: Platform, producer: EventProducer, order: str, way: Any
) -> None:
    parts: dict[str, list[list[Sent]]] = {
        "login first": [LOGIN, BEFORE, SHARED],
        "second user first": [SHARED, [*BEFORE, LOGIN[3]], LOGIN[:3]],
        "each alone": [[one] for one in [*BEFORE, LOGIN[3], SHARED[0], LOGIN[0], LOGIN[1], LOGIN[2], SHARED[1]]],
        "backwards": [[*LOGIN, *SHARED][::-1], BEFORE[::-1]],
    }
    for part in parts[order]:
        send(producer, *part)
        way(platform)
    # From the second login on the device is nobody's.
    assert session_events(platform) == {
        ("x", 0): 1, ("x", 1): 2, ("x", 2): 3, ("x", 6): 4, ("ada", 3): 4, ("ada", 5): 5, ("ada", 7): 3,
        ("bob", 6): 1, ("bob", 8): 2,
    }  # fmt: skip
    assert links(platform) == [("ada", "x"), ("bob", "x")]
    assert parity(platform) == (0, 0)
    assert parity(platform, hours=1) == (0, 0)


def kill_before(monkeypatch: pytest.MonkeyPatch, killed_before: Table) -> None:
    commit = Batch.commit

    def killed(self: Batch, lake: Any, files: Any, table: Table) -> None:
        if table is killed_before:
            raise RuntimeError("killed")
        commit(self, lake, files, table)

    monkeypatch.setattr(Batch, "commit", killed)


@pytest.mark.parametrize(
    ("killed_before", "way"),
    [
        *[pytest.param(table, run, marks=slow) for table in (FEATURE_TABLE, SCORES, IDENTITIES)],
        (TILES, run),
        pytest.param(IDENTITIES, three_jobs, marks=slow),
        pytest.param(TILES, three_jobs, marks=slow),
    ],
    ids=lambda one: one.name if isinstance(one, Table) else one.__name__,
)
def test_killed_between_any_two_commits_a_link_changes_the_rows_all_the_same(
    platform: Platform, producer: EventProducer, killed_before: Table, way: Any
) -> None:
    send(producer, *BEFORE, LOGIN[3])
    way(platform)
    if killed_before is SCORES:
        send(producer, *people(200))
        way(platform)
        learn(platform)
        way(platform)
    send(producer, *LOGIN[:3], *ALONE)
    with pytest.MonkeyPatch.context() as patch:
        kill_before(patch, killed_before)
        with pytest.raises(Exception, match="killed"):
            way(platform)
    way(platform)
    assert session_events(platform) == ALL
    assert platform.read(IDENTITIES).count() == 1
    assert parity(platform) == (0, 0)
    platform.forget_last_commit("ingest_events" if way is run else "build_features")
    way(platform)
    assert platform.read(IDENTITIES).count() == 1
    assert session_events(platform) == ALL


@slow
def test_what_is_owed_is_linked_when_it_is_taken_and_a_repeated_event_links_nothing(
    platform: Platform, producer: EventProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(producer, *[{**one, "event_id": f"e{number}"} for number, one in enumerate(STREAM)])

    def broken(*_: object) -> None:
        raise OSError("no tiles today")

    with monkeypatch.context() as patch:
        patch.setattr(one_pass, "near_tiles", broken)
        patch.setattr("streams.look_back.near_tiles", broken)
        assert "no tiles today" in str(run(platform))
    assert links(platform) == []
    send(producer, {**event("bob", 1, anonymous="x"), "event_id": "e0"}, event("ada", 5.5))
    run(platform)
    assert links(platform) == [("ada", "x")]
    assert session_events(platform) == ALL | {("ada", 5): 6, ("ada", 7): 8}
    assert parity(platform) == (0, 0)


def test_parity_finds_links_that_differ_and_repairs_them_with_the_rows(
    platform: Platform, producer: EventProducer
) -> None:
    send(producer, *STREAM)
    three_jobs(platform)
    there = platform.read(IDENTITIES).localCheckpoint()
    path = platform.lake.path(IDENTITIES)
    there.limit(0).write.format("delta").mode("overwrite").save(path)
    assert parity(platform) == (1, 1)
    assert parity(platform, repair=True) == (1, 1)
    assert parity(platform) == (0, 0)
    later = there.withColumn("linked_at", F.expr("linked_at + interval 2 minutes"))
    wrong = later.unionByName(there.withColumn("user_id", F.lit("eve")))
    wrong.write.format("delta").mode("overwrite").save(path)
    assert parity(platform) == (2, 2)
    parity(platform, repair=True)
    assert parity(platform) == (0, 0)
    assert session_events(platform) == ALL
    send(producer, event("ada", 9))
    three_jobs(platform)
    assert session_events(platform)["ada", 9] == 8


@slow
@pytest.mark.parametrize("source", ["events", "tiles"])
def test_a_wrong_link_that_was_undone_is_in_no_row_after_a_back_fill(
    platform: Platform, producer: EventProducer, source: Any
) -> None:
    send(producer, *STREAM)
    three_jobs(platform)
    where = platform.spark, platform.lake, platform.settings
    minute = unlink_identity.say(platform.settings, "ada", "x")
    assert minute == START + timedelta(minutes=3)
    send(producer, event("ada", 9), event("ada", 9.5, anonymous="x"))
    three_jobs(platform)
    assert session_events(platform)["ada", 9] == 5
    assert backfill(*where, since=minute, source=source) > 0
    assert session_events(platform) == ALL | {("ada", 3): 1, ("ada", 5): 2, ("ada", 7): 3, ("ada", 9): 5}
    assert parity(platform) == (0, 0)
    assert UNDONE in {row.source for row in platform.read(IDENTITIES).collect()}
    unlink_identity.say(platform.settings, "ada", "x", restore=True)
    for slices in (1, 7):
        assert backfill(*where, slices=slices, source=source) > 0
        assert session_events(platform) == ALL | {("ada", 9): 9}
        assert parity(platform) == (0, 0)


def test_pseudonyms_of_both_ids_are_linked(platform: Platform, producer: EventProducer) -> None:
    ingest = platform.settings.ingest.model_copy(update={"pseudonymise": True})
    settings = platform.settings.model_copy(update={"ingest": ingest, "pseudonym_key": SecretStr(KEY)})
    hidden = replace(platform, settings=settings)
    send(producer, *STREAM)
    run(hidden)
    assert sorted(session_events(hidden).values()) == sorted(ALL.values())
    assert parity(hidden) == (0, 0)
    ((user, anonymous),) = links(hidden)
    assert {user, anonymous} <= {row.user_id for row in platform.read(EVENTS).select("user_id").distinct().collect()}
    assert unlink_identity.say(settings, "ada", "x") == START + timedelta(minutes=3)


def erase(platform: Platform, *users: str, linked: bool = False) -> Erasure:
    chosen = platform.settings.maintenance.model_copy(update={"erase_wait_seconds": 0})
    settings = platform.settings.model_copy(update={"pseudonym_key": SecretStr(KEY), "maintenance": chosen})
    where = platform.spark, platform.lake, settings
    done = Erasure(*where, list(users), finisher(*where), linked)
    done.run()
    return done


def users_in(platform: Platform, tables: Sequence[Table] = (EVENTS, TILES, FEATURE_TABLE)) -> set[str]:
    return {row.user_id for table in tables for row in platform.read(table).select("user_id").distinct().collect()}


@slow
def test_who_is_erased_takes_along_only_ids_that_nobody_else_claims_and_a_killed_call_goes_on(
    platform: Platform, producer: EventProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(producer, *STREAM, *SHARED, event("w", 0), event("ada", 10, anonymous="w"))
    three_jobs(platform)

    def killed(lake: Lake, table: Table, *rest: Any) -> int:
        if table is IDENTITIES:
            raise RuntimeError("killed")
        return remove_rows(lake, table, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(erasure, "remove_rows", killed)
        with pytest.raises(RuntimeError, match="killed"):
            erase(platform, "ada", linked=True)
    again = erase(platform, "ada", linked=True)
    assert (again.linked.same, again.linked.shared) == (["w"], ["x"])
    assert users_in(platform) == {"x", "bob", "eve"}
    assert links(platform) == [(None, "x"), ("bob", "x")]
    # Bob is lent nothing of what he shared, now as before.
    keyed = replace(platform, settings=platform.settings.model_copy(update={"pseudonym_key": SecretStr(KEY)}))
    send(producer, event("bob", 12, anonymous="x"), event("ada", 12, anonymous="x"))
    three_jobs(keyed)
    assert session_events(platform)["bob", 12] == 3
    assert parity(platform) == (0, 0)


@slow
def test_an_anonymous_id_is_erased_and_the_user_stays(platform: Platform, producer: EventProducer) -> None:
    send(producer, *STREAM)
    three_jobs(platform)
    erased = erase(platform, "x")
    assert erased.linked.borrowers == ["ada"]
    assert users_in(platform) == {"ada", "eve"}
    assert links(platform) == []
    rows = platform.read(EVENTS).where("user_id = 'ada'").select("anonymous_id", "raw").collect()
    assert [row.anonymous_id for row in rows] == [None] * 3
    assert sum(row.raw is None for row in rows) == 2
    settings = platform.settings.model_copy(update={"pseudonym_key": SecretStr(KEY)})
    backfill(platform.spark, platform.lake, settings)
    assert parity(platform) == (0, 0)
    assert session_events(platform)["ada", 7] == 3
