"""What a later step has not taken, by the logs of its source and of its result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from features.tables import EVENTS, TILES, Table
from lake.commit_notes import Note
from lake.log import Commit
from lake.spark_tables import Lake
from streams.owed import Owed, Since

APPEND = Commit(0, 0.0, 5, ("file",), (), (), None, names_files=True, changes_table=False)


@dataclass
class Logs:
    """Both logs; a commit is said by its batch, a rewrite by None."""

    written: dict[str, list[Commit]] = field(default_factory=lambda: {EVENTS.name: [], TILES.name: []})

    def append(self, table: Table, *batches: str | None) -> None:
        log = self.written[table.name]
        for batch in batches:
            removed, note = (("old",), None) if batch is None else ((), Note(batch))
            log.append(replace(APPEND, version=log[-1].version + 1 if log else 0, removed=removed, note=note))

    def commits(self, table: Table, since: int) -> Iterator[Commit]:
        return (commit for commit in self.written[table.name] if commit.version >= since)

    def forget(self, table: Table, before: int) -> None:
        self.written[table.name] = [commit for commit in self.written[table.name] if commit.version >= before]


def owed_in(logs: Logs, since: Since | None = None) -> Owed:
    owed = Owed(cast("Lake", logs), EVENTS, TILES, "q", since or Since())
    owed.look()
    return owed


def batches(owed: Owed, before: int = 100) -> list[str | None]:
    return [append.batch for append in owed.due(before)]


def test_what_is_in_both_tables_is_not_owed_whichever_came_first() -> None:
    logs = Logs()
    logs.append(TILES, "q:1")
    logs.append(EVENTS, "q:0", "q:1")
    owed = owed_in(logs)
    assert batches(owed) == ["q:0"]
    logs.append(TILES, "q:0")
    owed.look()
    assert batches(owed) == []


def test_batches_that_may_still_run_hold_up_what_comes_after_them_and_rewrites_are_never_owed() -> None:
    logs = Logs()
    logs.append(EVENTS, "q:6", None, "replay", "q:7", "other:7")
    assert batches(owed_in(logs), before=7) == ["q:6", "replay"]
    assert batches(owed_in(logs), before=8) == ["q:6", "replay", "q:7", "other:7"]


def test_a_batch_for_what_is_owed_takes_all_up_to_its_version() -> None:
    logs = Logs()
    logs.append(EVENTS, "replay", "q:3", "later", "last")
    owed = owed_in(logs)
    assert owed.own_id == "q/events"
    logs.append(TILES, "q/events:2")
    owed.look()
    assert batches(owed) == ["last"]
    assert [owed.taken.has(append) for append in logs.commits(EVENTS, 0)] == [True, True, True, False]


def test_a_position_is_where_nothing_before_is_owed_and_from_there_the_same_is_known() -> None:
    logs = Logs()
    logs.append(EVENTS, "q:0", "lost")
    logs.append(TILES, "q:0")
    owed = owed_in(logs)
    assert owed.advanced(before=1) == Since()
    logs.append(TILES, "q/events:1")
    owed.look()
    assert owed.advanced(before=1) == Since(2, 2)
    logs.append(EVENTS, "new")
    owed.look()
    assert batches(owed) == batches(owed_in(logs, Since(2, 2))) == ["new"]


def test_a_batch_that_runs_again_holds_the_position() -> None:
    logs = Logs()
    logs.append(EVENTS, "q:5")
    assert owed_in(logs).advanced(before=5) == Since()
    owed = owed_in(logs)
    owed.drop(owed.due(6))
    assert owed.advanced(before=6) == Since(1, 0)


def test_what_a_log_has_forgotten_is_not_taken_a_second_time(caplog: pytest.LogCaptureFixture) -> None:
    logs = Logs()
    logs.append(EVENTS, "q:0", "q:1", "q:2")
    logs.append(TILES, "q:0", "q:1", "q:2", None)
    logs.forget(TILES, 3)  # it was stopped, and maintenance went on
    owed = owed_in(logs)
    assert batches(owed) == []
    assert "check_parity --all --repair" in caplog.text
    logs.append(EVENTS, "q:3")
    owed.look()
    assert batches(owed) == ["q:3"]
    caplog.clear()
    logs.append(TILES, "q:3")
    owed.look()
    assert batches(owed) == []
    assert not caplog.text
