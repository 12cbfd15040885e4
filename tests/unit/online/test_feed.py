"""The online view follows the tables: whatever way it came to be, it is what it would be if made anew."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from features.errors import BehaviorError, ConfigurationError
from features.tables import ALERTS, FEATURE_TABLE, SCORES
from lake import arrow_tables
from lake.log import file_of
from online import entries
from online.feed import Feed, feed_of, forget
from online.store import Store
from settings import Settings
from streams import claims
from tests.unit.serving.samples import alert_row, append, feature_row, judged, settings_of

PEOPLE = ("ada", "bob", "cyd")
LIMITS = dict.fromkeys((entries.FEATURES, entries.SCORE, entries.MINUTE, entries.ALERT, entries.SEGMENT), 100)


def place(tmp_path: Path, *more: str) -> Settings:
    settings = settings_of(tmp_path, "online.store=sqlite", f"online.path={tmp_path}/online.db", *more)
    for table in (FEATURE_TABLE, SCORES, ALERTS):
        arrow_tables.opened(settings.storage.root, table)
    return settings


def shown(store: Store) -> list[dict[str, Any]]:
    return [store.of([user], LIMITS) for user in PEOPLE]


def something_happens(root: Path, chance: random.Random, batch: int) -> None:
    """A batch of some people's minutes, late ones among them; its scores, and now and then an alert."""
    rows = [
        feature_row(user, chance.randrange(30), batch, clicks_per_minute=float(chance.randrange(9)))
        for user in chance.sample(PEOPLE, chance.randint(1, 3))
    ]
    append(root, FEATURE_TABLE, rows)
    if chance.random() < 0.8:
        append(root, SCORES, [judged(row, chance.random(), chance.choice(["normal", "anomaly"])) for row in rows])
    if chance.random() < 0.3:
        append(root, ALERTS, [alert_row(f"a-{chance.randrange(3)}", chance.choice(PEOPLE), 3, batch)])


@pytest.mark.parametrize("seed", range(3))
def test_followed_commit_by_commit_stopped_anywhere_it_is_as_if_made_anew(
    tmp_path: Path, seed: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, settings = random.Random(seed), place(tmp_path)
    root = Path(settings.storage.root)
    feed, rows = Feed(store, settings), 0
    for batch in range(25):
        something_happens(root, chance, batch)
        if chance.random() < 0.3:
            with monkeypatch.context() as patch:  # killed before it could note how far it has come
                patch.setattr(Feed, "_keep", killed_after(Feed._keep))  # noqa: SLF001
                with pytest.raises(KeyboardInterrupt):
                    feed.poll()
            feed = Feed(store, settings)
        if chance.random() < 0.6:
            rows += feed.poll()
    rows += feed.poll()
    assert rows > 0
    assert feed.poll() == 0
    followed = shown(store)
    assert any(one[entries.ALERT] for one in followed)
    assert all(one[entries.MINUTE] for one in followed)
    store.clear()
    Feed(store, settings).poll()
    assert shown(store) == followed


def killed_after(keep: Any) -> Any:
    def killed(self: Feed, table: Any, there: Any, parts: Any, version: int) -> int:
        noted = self.store.noted()
        keep(self, table, there, parts, version)
        self.store.put((), noted)
        raise KeyboardInterrupt

    return killed


def test_where_the_log_no_longer_has_the_next_commit_all_is_read(tmp_path: Path, store: Store) -> None:
    settings = place(tmp_path)
    root = Path(settings.storage.root)
    append(root, FEATURE_TABLE, [feature_row("ada", 1)])
    feed = Feed(store, settings)
    feed.poll()
    for number in range(2, 5):
        append(root, FEATURE_TABLE, [feature_row(user, number) for user in PEOPLE])
    there = arrow_tables.opened(str(root), FEATURE_TABLE)
    there.delta.create_checkpoint()
    (root / FEATURE_TABLE.name / file_of(2)).unlink()
    assert feed.poll() == 10
    assert all(one[entries.FEATURES] for one in shown(store))
    assert feed.poll() == 0


def test_where_files_of_the_next_commits_were_joined_and_deleted_all_is_read(tmp_path: Path, store: Store) -> None:
    settings = place(tmp_path)
    root = Path(settings.storage.root)
    feed = Feed(store, settings)
    feed.poll()
    for number, user in enumerate(PEOPLE):
        append(root, SCORES, [judged(feature_row(user, number), 0.1)])
    table = arrow_tables.opened(str(root), SCORES).delta
    table.optimize.compact()
    assert table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    assert feed.poll() == len(PEOPLE)
    assert [len(one[entries.MINUTE]) for one in shown(store)] == [1, 1, 1]
    assert feed.poll() == 0


def test_what_is_older_than_the_days_that_are_shown_is_neither_read_nor_kept(tmp_path: Path, store: Store) -> None:
    settings = place(tmp_path, "serving.look_back_days=1")
    root, day = Path(settings.storage.root), 1440
    append(root, SCORES, [judged(feature_row("ada", 0), 0.1)])
    feed = Feed(store, settings)
    feed.poll()
    append(root, SCORES, [judged(feature_row("bob", 2 * day), 0.2)])
    feed.poll()
    feed.expire()
    assert [len(one[entries.MINUTE]) for one in shown(store)] == [0, 1, 0]
    store.clear()
    assert Feed(store, settings).poll() == 1


def test_a_view_of_other_tables_is_refused(tmp_path: Path, store: Store) -> None:
    one, other = place(tmp_path / "one"), place(tmp_path / "other")
    Feed(store, one).poll()
    with pytest.raises(BehaviorError, match="of another table features"):
        Feed(store, other).poll()


def test_a_person_is_forgotten_also_when_the_view_had_yet_to_come_to_their_rows(tmp_path: Path) -> None:
    settings = place(tmp_path)
    root = Path(settings.storage.root)
    append(root, SCORES, [judged(feature_row(user, 1), 0.1) for user in PEOPLE])
    forget(settings, ["ada"])  # there is no view
    assert not (tmp_path / "online.db").exists()
    with closing(feed_of(settings)) as feed:
        feed.poll()
    append(root, SCORES, [judged(feature_row("ada", 2), 0.1)])
    forget(settings, ["ada"])
    with closing(feed_of(settings)) as feed:
        assert feed.poll() == 0
        assert [len(one[entries.MINUTE]) for one in shown(feed.store)] == [0, 1, 1]


def test_while_somebody_feeds_an_erasure_waits_until_that_one_has_passed(tmp_path: Path) -> None:
    settings = place(tmp_path, "maintenance.erase_wait_seconds=1")
    with closing(feed_of(settings)) as feed:
        feed.poll()
        with pytest.raises(BehaviorError, match="being run by another process"), closing(feed_of_another(settings)):
            pass
        append(Path(settings.storage.root), SCORES, [judged(feature_row("ada", 1), 0.1)])
        with pytest.raises(BehaviorError, match="has not come to what was removed"):
            forget(settings, ["ada"])
        feed.poll()
        forget(settings, ["ada"])
        assert not shown(feed.store)[0][entries.MINUTE]


def feed_of_another(settings: Settings) -> Feed:
    """As another process would ask for it."""
    held = claims._CLAIMED.pop(settings.online_path)  # noqa: SLF001
    try:
        return feed_of(settings)
    finally:
        claims._CLAIMED[settings.online_path] = held  # noqa: SLF001


def test_without_a_store_there_is_nothing_to_fill(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"online\.store is none"):
        feed_of(settings_of(tmp_path, "online.store=none"))
    with pytest.raises(ConfigurationError, match="BEHAVIOR_ONLINE__REDIS_URL"):
        feed_of(settings_of(tmp_path, "online.store=redis"))
