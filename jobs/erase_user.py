"""Remove people from every table, and from the files under the tables, for good.

Reads every table, the checkpoints and BEHAVIOR_PSEUDONYM_KEY; deletes from every table, and the pages of mine_patterns
that name them; writes erasures (keyed hashes), and rejected_events: where the records were in Kafka, nothing else.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from features.erasure import ERASED_USER, PLACES, keyed_hash_of
from features.errors import BehaviorError, EnvironmentProblem, UsageError
from features.ledger import Partition
from features.mentions import People
from features.packed import without_null_lists
from features.tables import ERASURES, EVENTS, REJECTED_EVENTS, SCORES, Table
from jobs.maintain_tables import UNDER_WAY, vacuum
from jobs.runtime import cli, files, notes, scratch, streams
from jobs.runtime.arrow_lake import arrow_schema
from jobs.runtime.erasures import secret_key
from jobs.runtime.flow import FLOW, personal, writer_of
from jobs.runtime.kafka_erasure import KafkaErasure
from jobs.runtime.kafka_guard import KafkaGuard
from jobs.runtime.lake import Lake
from jobs.runtime.positions import appends_since, position
from jobs.runtime.reports import remove_reports_naming
from jobs.runtime.rewrites import alone, delete_keys, replace_keys, still_alone
from jobs.runtime.session import spark_session
from jobs.runtime.settings import MaintenanceSettings, Settings, load_settings
from jobs.runtime.strays import NEEDED, naming, strays

ALERTS_QUERY = "raise_alerts"
POLL_SECONDS = 1.0
Batches = Iterator[pa.RecordBatch]
LISTED = "LITE RETAIN 0 HOURS"


@dataclass
class Erasure:
    """One run. Ids are matched as they came and as pseudonyms."""

    spark: SparkSession
    lake: Lake
    settings: Settings
    users: list[str]
    people: People = field(init=False)
    strays: int = field(default=0, init=False)
    read_until: dict[Partition, int] = field(default_factory=dict, init=False)

    def run(self) -> dict[str, int]:
        """Erase; returns rows removed per table.

        The hashes come first, so that ingest takes nothing more of the person. Then each table is emptied of the
        person only when the stream that fills it has passed what it might still carry over, and files are deleted only
        when no stream needs them any more. A stream that nobody runs is run here until it has passed.

        Raises:
            ConfigurationError: there is no key.
            BehaviorError: a stream has not passed in time; nothing is lost, the same command goes on from there.
        """
        key = secret_key(self.settings, "erasures are remembered as hashes under it")
        hashes = [keyed_hash_of(user, key) for user in self.users]
        self.people = People([*self.users, *hashes])
        with alone(self.spark, self.settings, "erase_user"):
            self._note(hashes, "requested", None)
            self._wait(self._running_batches_end(FLOW[0].query), "finish its batch")
            self.read_until = KafkaGuard(self.spark, self.lake, self.settings, FLOW[0].query).read_until()
            removed: dict[str, int] = {}
            for stream in FLOW:
                if stream.reads is not None and self.lake.exists(stream.reads):
                    self._wait(self._has_read(stream.query, stream.reads), f"read what is in {stream.reads.name}")
                removed |= {t.name: self._remove(t) for t in personal(streamed=True) if t in stream.writes}
            self._wait(self._alerts_have_read(), "take in that scores were removed")
            removed |= {t.name: self._remove(t) for t in personal(streamed=False)}
            for stream in FLOW:
                self._wait(self._running_batches_end(stream.query), "finish its batch")
            tables = [t for t in (*personal(streamed=True), *personal(streamed=False)) if self.lake.exists(t)]
            for table in tables:
                self._delete_files(table)
            self._delete_strays(tables, removed)
            remove_reports_naming(Path(self.settings.patterns.reports), self.people.ids)
            if (home := scratch.folder_of(self.settings)) is not None:
                scratch.sweep(home)  # of processes that were killed since this one began
            self._note(hashes, "completed", sum(removed.values()))
        return removed

    def from_kafka(self) -> list[str]:
        """After :meth:`run`: remove what Kafka may be asked to remove; what became of it, in sentences."""
        chosen, kafka = self.settings.maintenance.erase_from_kafka, KafkaErasure(self.settings.kafka)
        works: dict[str, list[Callable[[], str]]] = {
            "nothing": [],
            "alerts": [lambda: kafka.alerts(self.people)],
            "all": [lambda: kafka.alerts(self.people), lambda: kafka.records(self.read_until)],
        }
        told = []
        for work in works[chosen]:
            try:
                told.append(work())
            except EnvironmentProblem as problem:
                told.append(f"{problem} Nothing was removed there: call erase_user again with the same ids.")
                break
        return told

    def _note(self, hashes: list[str], state: str, rows: int | None) -> None:
        now = datetime.now(UTC)
        columns = {"user_hash": hashes, "state": state, "at": now, "rows_removed": rows}
        values = [value if isinstance(value, list) else [value] * len(hashes) for value in columns.values()]
        frame = self.spark.createDataFrame(pa.table(values, schema=arrow_schema(ERASURES)))
        self.lake.append(frame.coalesce(1), ERASURES, batch_id=f"erasure:{state}:{now.isoformat()}")

    def _remove(self, table: Table) -> int:
        """Remove the people's rows; how many there were."""
        if not self.lake.exists(table):
            return 0
        rows = self.lake.read(table)
        if table is REJECTED_EVENTS:
            wanted, places = rows.select(*table.keys, *NEEDED), rows.select(*table.keys).schema
            found = without_null_lists(wanted).mapInArrow(naming_records(self.people, table.keys), places).toArrow()
            if found.num_rows:
                blank(self.lake, self.spark.createDataFrame(found), self.settings.maintenance)
            return int(found.num_rows)
        known = self.spark.createDataFrame(pa.table({"user_id": self.people.array}))
        if table is EVENTS:
            mine = rows.join(F.broadcast(known), "user_id", "left_semi")
            if mine.isEmpty():
                return 0
            keep_places(self.lake, mine.select(*PLACES))
        return delete_keys(self.lake, table, known, self.settings.maintenance)

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

    def _delete_strays(self, tables: list[Table], removed: dict[str, int]) -> None:
        """Delete files with the people in them that are in no log: killed processes left them, and refused commits.

        What a stream is just writing is no such file: each running batch is waited for between two looks, and a file
        that is in no log at either look is nobody's any more. Who is no stream commits, or fails, within a minute; what
        is committed meanwhile has rows, which are removed as such.
        """
        if not self.lake.takes_files:
            return
        seen = {table: strays(self.lake, table) for table in tables}
        since = time.monotonic()
        for stream in FLOW:
            self._wait(self._running_batches_end(stream.query), "finish its batch")
        for table in tables:
            left = naming(self.lake, table, seen[table] & strays(self.lake, table), self.people)
            if left and writer_of(table) is None:
                time.sleep(max(0.0, since + UNDER_WAY.total_seconds() - time.monotonic()))
                left = sorted(strays(self.lake, table).intersection(left))
                if again := self._remove(table):
                    removed[table.name] += again
                    self._delete_files(table)
            for name in left:
                files.remove(self.spark, f"{self.lake.path(table)}/{name}")
            self.strays += len(left)

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

    def _do_what_is_due(self, query: str) -> None:
        """Let ``query`` read what is there, here, where no process of this machine runs it: waiting would be in vain.

        Of a fenced query it cannot be told whether another machine runs it: that one is waited for.

        Raises:
            BehaviorError: ingest_events was stopped within a batch, and only Kafka has the rest.
        """
        folder = streams.checkpoint(self.settings, query)
        if query == ALERTS_QUERY or self.settings.stream.fenced or streams.claimed(folder):
            return
        if query == FLOW[0].query:
            raise BehaviorError(
                f"{query} was stopped within a batch, and nobody runs it. Let it finish, with its broker at work "
                f"(python -m jobs.{query} --once, or make run), then call erase_user again with the same ids."
            )
        job = import_module(f"jobs.{query}")  # scoring brings MLflow along, which takes seconds
        streams.finish(job.start(self.spark, self.lake, self.settings, once=True), self.settings)

    def _wait(self, behind: Callable[[], str | None], what: str) -> None:
        if (query := behind()) is not None:
            self._do_what_is_due(query)
        patience = self.settings.maintenance.erase_wait_seconds
        end = time.monotonic() + patience
        while (query := behind()) is not None:
            if time.monotonic() >= end:
                raise BehaviorError(
                    f"Query {query} did not {what} within {patience} s, so files it still needs cannot be deleted yet. "
                    f"Let it run (python -m jobs.{query} --once), then call erase_user again with the same ids."
                )
            time.sleep(POLL_SECONDS)


def blank(lake: Lake, places: DataFrame, chosen: MaintenanceSettings) -> None:
    """Leave of the rejected records at ``places`` what ingest keeps of an erased person's: where they were in Kafka."""
    replace_keys(lake, REJECTED_EVENTS, places.distinct(), lambda rows: rows.withColumns(_nobody()), chosen)


def keep_places(lake: Lake, places: DataFrame) -> None:
    """Note the ``places`` of events that are to be removed as rejected records, each once: no offset is lost by it."""
    lake.create(REJECTED_EVENTS)
    keys = list(REJECTED_EVENTS.keys)
    new = places.dropDuplicates(keys).join(lake.read(REJECTED_EVENTS), keys, "left_anti")
    batch = f"erase_user-{uuid.uuid4()}:0"  # the batch that read them must not find itself in this table
    rows = new.withColumns({**_nobody(), "ingest_id": F.lit(batch)}).select(*REJECTED_EVENTS.columns)
    still_alone()
    lake.append(rows, REJECTED_EVENTS, batch_id=batch)


def _nobody() -> dict[str, Column]:
    """What a rejected record says of its content when that was a person's who is erased."""
    content = [field for field in REJECTED_EVENTS.schema if field.name not in PLACES]
    return {f.name: F.lit(ERASED_USER if f.name == "reason" else None).cast(f.dataType) for f in content}


def naming_records(people: People, keys: Sequence[str]) -> Callable[[Batches], Batches]:
    """What a worker does: it tells the ``keys`` of the rejected records that name one of ``people``."""

    def work(batches: Batches) -> Batches:
        for batch in batches:
            records = pa.Table.from_batches([batch])
            yield from records.filter(people.of_records(records)).select(list(keys)).to_batches()

    return work


def users_of(named: Sequence[str], file: Path | None) -> list[str]:
    """Whom to erase: those named, and those in ``file``, one a line; each once.

    Raises:
        UsageError: nobody is named, an id is blank, or the file cannot be read.
    """
    listed: list[str] = []
    if file is not None:
        try:
            listed = [line for line in file.read_text(encoding="utf-8").splitlines() if line]
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UsageError(f"--users-file {file} cannot be read ({why}). Needed: text, one id a line.") from None
    users = list(dict.fromkeys([*named, *listed]))
    if not users:
        raise UsageError("Nobody is named. Needed: --user-id ID, or --users-file FILE with one id a line.")
    if not all(user.strip() for user in users):
        raise UsageError("An id is blank: nobody has a blank id.")
    return users


def main(
    user_id: Annotated[
        list[str] | None, typer.Option("--user-id", help="Whom to erase, as the app sends it; may be repeated.")
    ] = None,
    users_file: Annotated[Path | None, typer.Option(help="A file with such ids, one a line; any number.")] = None,
    rabbitmq: Annotated[
        bool, typer.Option("--rabbitmq", help="Also look through QUEUE.undeliverable of RabbitMQ.")
    ] = False,
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
) -> None:
    """Erase people. Reads all tables, checkpoints, BEHAVIOR_PSEUDONYM_KEY; deletes from all tables, writes erasures."""
    users = users_of(user_id or (), users_file)
    settings = load_settings(env, overrides or ())
    secret_key(settings, "erasures are remembered as hashes under it")
    with ThreadPoolExecutor(1) as aside:
        examples = aside.submit(from_registry, settings)  # MLflow takes as long to import as Spark to start
        spark = spark_session(settings)
        lake = Lake(spark, settings.storage.root)
        lake.create(ERASURES)
        erasure = Erasure(spark, lake, settings, users)
        for table, rows in erasure.run().items():
            typer.echo(f"{table}: {rows:,} rows removed")
        if erasure.strays:
            typer.echo(f"{erasure.strays:,} files that were in no table's log removed")
        if not lake.takes_files:
            typer.echo(
                f"Files under {lake.root} that are in no table's log were not looked through: what kills left "
                f"goes with maintain_tables, {settings.maintenance.vacuum_hours} hours after it was written."
            )
        queued = from_rabbitmq(settings, erasure.people) if rabbitmq else []
        for sentence in (*erasure.from_kafka(), *queued, *examples.result(), *beyond(settings, rabbitmq=rabbitmq)):
            typer.echo(sentence)


def from_registry(settings: Settings) -> list[str]:
    """Remove rows of people, which earlier versions of the platform kept as models' examples; a sentence if any."""
    database = settings.model.tracking_uri.removeprefix("sqlite:///")
    if database != settings.model.tracking_uri and not Path(database).is_file():
        return []
    from jobs.runtime.models import registry_of  # noqa: PLC0415

    try:
        versions = registry_of(settings).remove_examples()
    except BehaviorError as problem:
        return [f"Examples of old models were not removed: {problem}"]
    return [f"Five rows of feature values, without ids, removed from model versions {', '.join(versions)}."] * bool(
        versions
    )


def from_rabbitmq(settings: Settings, people: People) -> list[str]:
    """Remove what bridge_rabbitmq put aside; what became of it, in a sentence."""
    from jobs.runtime.rabbitmq import forget  # noqa: PLC0415

    try:
        return [forget(settings.rabbitmq, people)]
    except BehaviorError as problem:
        return [f"{problem} Nothing was removed there: call erase_user again with the same ids."]


def beyond(settings: Settings, *, rabbitmq: bool) -> list[str]:
    """What no job can reach, in sentences."""
    kafka, webhook = settings.kafka, settings.alerts.webhook
    found = []
    if settings.maintenance.erase_from_kafka != "all":
        found.append(
            f"Topic {kafka.topic} keeps their records until its retention ends; ingest drops what it reads of them. "
            "To remove what it has read, for every reader: --set maintenance.erase_from_kafka=all."
        )
    receivers = [f"readers of topic {kafka.alerts_topic}"] if settings.alerts.kafka else []
    receivers += ["the receiver of alerts.webhook"] if webhook else []
    if receivers:
        found.append(f"Not reached: alerts that {' and '.join(receivers)} have taken.")
    if not rabbitmq:
        found.append(
            f"Not looked at: queue {settings.rabbitmq.queue}.undeliverable of RabbitMQ, where bridge_rabbitmq puts "
            "messages that Kafka does not take. With --rabbitmq it is."
        )
    found.append("Not reached: copies of tables that you made, backups, and free text in which others name them.")
    return found


if __name__ == "__main__":
    cli.run(main)
