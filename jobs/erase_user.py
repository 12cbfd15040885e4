"""Remove people from every table, and from the files under the tables, for good.

Reads every table, the checkpoints and BEHAVIOR_PSEUDONYM_KEY; deletes from every table, and the pages of mine_patterns
that name them; writes erasures (keyed hashes).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Annotated

import typer
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from features.erasure import keyed_hash_of
from features.errors import BehaviorError, UsageError
from features.tables import ERASURES, REJECTED_EVENTS, SCORES, Table
from jobs.maintain_tables import vacuum
from jobs.runtime import cli, notes, streams
from jobs.runtime.erasures import secret_key
from jobs.runtime.flow import FLOW, personal
from jobs.runtime.lake import Lake
from jobs.runtime.positions import appends_since, position
from jobs.runtime.reports import remove_reports_naming
from jobs.runtime.rewrites import alone, delete_matching
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings, load_settings

ALERTS_QUERY = "raise_alerts"
LONG_ENOUGH = 8
"""An id of so many characters is looked for anywhere in rejected bytes; a shorter one only as a whole JSON string."""
POLL_SECONDS = 1.0
LISTED = "LITE RETAIN 0 HOURS"


@dataclass
class Erasure:
    """One run. Ids are matched as they came and as pseudonyms."""

    spark: SparkSession
    lake: Lake
    settings: Settings
    users: list[str]

    def run(self) -> dict[str, int]:
        """Erase; returns rows removed per table.

        The hashes come first, so that ingest takes nothing more of the person. Then each table is emptied of the
        person only when the stream that fills it has passed what it might still carry over, and files are deleted only
        when no stream needs them any more.

        Raises:
            ConfigurationError: there is no key.
            BehaviorError: a stream has not passed in time; nothing is lost, the same command goes on from there.
        """
        key = secret_key(self.settings, "erasures are remembered as hashes under it")
        hashes = [keyed_hash_of(user, key) for user in self.users]
        ids = [*self.users, *hashes]
        with alone(self.spark, self.settings, "erase_user"):
            self._note(hashes, "requested", None)
            self._wait(self._running_batches_end(FLOW[0].query), "finish its batch")
            removed: dict[str, int] = {}
            for stream in FLOW:
                if stream.reads is not None and self.lake.exists(stream.reads):
                    self._wait(self._has_read(stream.query, stream.reads), f"read what is in {stream.reads.name}")
                removed |= {t.name: self._remove(t, ids) for t in personal(streamed=True) if t in stream.writes}
            self._wait(self._alerts_have_read(), "take in that scores were removed")
            removed |= {t.name: self._remove(t, ids) for t in personal(streamed=False)}
            for stream in FLOW:
                self._wait(self._running_batches_end(stream.query), "finish its batch")
            for table in (*personal(streamed=True), *personal(streamed=False)):
                if self.lake.exists(table):
                    self._delete_files(table)
            remove_reports_naming(Path(self.settings.patterns.reports), ids)
            self._note(hashes, "completed", sum(removed.values()))
        return removed

    def _note(self, hashes: list[str], state: str, rows: int | None) -> None:
        now = datetime.now(UTC)
        frame = self.spark.createDataFrame([(each, state, now, rows) for each in hashes], ERASURES.schema)
        self.lake.append(frame.coalesce(1), ERASURES, batch_id=f"erasure:{state}:{now.isoformat()}")

    def _remove(self, table: Table, ids: list[str]) -> int:
        if not self.lake.exists(table):
            return 0
        rows = self.lake.read(table)
        mine = mentions(ids) if table is REJECTED_EVENTS else F.col("user_id").isin(ids)
        doomed = rows.where(mine)
        count = doomed.count()
        if count:
            keys = list(table.keys) if table is REJECTED_EVENTS else ["user_id"]
            known = doomed.select(keys) if table is REJECTED_EVENTS else self._frame(ids)
            delete_matching(self.lake, table, known, self.settings.maintenance)
        return count

    def _frame(self, ids: list[str]) -> DataFrame:
        return self.spark.createDataFrame([(each,) for each in ids], "user_id string")

    def _delete_files(self, table: Table) -> None:
        """Delete what the log names as removed, and so never a file that a stream is just writing."""
        try:
            vacuum(self.spark, self.lake, table, LISTED)
        except PySparkException as error:
            if "DELTA_CANNOT_VACUUM_LITE" not in str(error):
                raise
            # The log no longer goes back to the last VACUUM: a whole one first, which spares what is being written.
            vacuum(self.spark, self.lake, table, "RETAIN 24 HOURS")
            vacuum(self.spark, self.lake, table, LISTED)

    # --- streams ---

    def _running_batches_end(self, query: str) -> Callable[[], str | None]:
        """A check that the batch which runs now, if any, has finished."""
        now = position(self.spark, self.settings, query)
        planned = now.started if now else -1

        def check() -> str | None:
            where = position(self.spark, self.settings, query)
            return query if where is not None and where.committed < planned else None

        return check

    def _alerts_have_read(self) -> Callable[[], str | None]:
        """A check that raise_alerts, if it runs, knows scores as they are now: it forgets whom they lack.

        One that is stopped remembers nobody: it starts from what the tables hold.
        """
        folder = streams.checkpoint(self.settings, ALERTS_QUERY)
        until = self.lake.version(SCORES) if self.lake.exists(SCORES) else -1

        def check() -> str | None:
            note = notes.read(folder, "scores")
            behind = note is not None and int(note["version"]) < until
            return ALERTS_QUERY if behind and streams.claimed(folder) else None

        return check

    def _has_read(self, query: str, table: Table) -> Callable[[], str | None]:
        """A check that ``query`` has read all that was appended to ``table`` until now."""
        until = self.lake.version(table)

        def check() -> str | None:
            where = position(self.spark, self.settings, query)
            if where is None:
                return None
            unread = [a for a in appends_since(self.lake, table, max(where.version, 0)) if a.version <= until]
            return query if unread or where.version < 0 else None

        return check

    def _wait(self, behind: Callable[[], str | None], what: str) -> None:
        patience = self.settings.maintenance.erase_wait_seconds
        end = time.monotonic() + patience
        while (query := behind()) is not None:
            if time.monotonic() >= end:
                raise BehaviorError(
                    f"Query {query} did not {what} within {patience} s, so files it still needs cannot be deleted yet. "
                    f"Let it run (python -m jobs.{query} --once), then call erase_user again with the same ids."
                )
            time.sleep(POLL_SECONDS)


def mentions(ids: list[str]) -> Column:
    """Whether a rejected record is of one of these people: its Kafka key, its user_id where it can be read, its bytes.

    A long id counts anywhere in the value, the key, the headers or the detail; a short one, such as ``7``, only as a
    JSON string of its own, since its bytes alone are in almost every record.
    """
    value, key = F.col("raw").cast("string"), F.col("kafka_key").cast("string")
    headers = F.to_json("headers")
    own = key.isin(ids) | F.get_json_object(value, "$.user_id").isin(ids)
    found = [F.coalesce(own, F.lit(False))]
    for each in ids:
        found += [_holds(F.col("raw"), text) for text in {json.dumps(each), json.dumps(each, ensure_ascii=False)}]
        if len(each) >= LONG_ENOUGH:
            found += [_holds(F.col(name), each) for name in ("raw", "kafka_key")]
            found += [F.coalesce(F.contains(text, F.lit(each)), F.lit(False)) for text in (F.col("detail"), headers)]
            found.append(_in_headers(each))
    return reduce(Column.__or__, found)


def _in_headers(text: str) -> Column:
    return F.coalesce(F.exists("headers", lambda header: _holds(header["value"], text)), F.lit(False))


def _holds(value: Column, text: str) -> Column:
    return F.coalesce(F.contains(value, F.lit(text.encode())), F.lit(False))


def main(
    user_id: Annotated[
        list[str], typer.Option("--user-id", help="Whom to erase, as the app sends it; may be repeated.")
    ],
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
) -> None:
    """Erase people. Reads all tables, checkpoints, BEHAVIOR_PSEUDONYM_KEY; deletes from all tables, writes erasures."""
    users = list(dict.fromkeys(user_id))
    if not all(user.strip() for user in users):
        raise UsageError("--user-id is blank: nobody has a blank id.")
    settings = load_settings(env, overrides or ())
    secret_key(settings, "erasures are remembered as hashes under it")
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(ERASURES)
    for table, rows in Erasure(spark, lake, settings, users).run().items():
        typer.echo(f"{table}: {rows:,} rows removed")
    typer.echo(
        "Kafka still holds what its retention keeps: ingest will drop it, but the broker's own copy is the broker's."
    )


if __name__ == "__main__":
    cli.run(main)
