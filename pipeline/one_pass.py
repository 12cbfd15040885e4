"""All steps in one query: workers write the files of every table, and these are committed side by side.

Nothing that fails behind ingest stops it: without a look-back records are kept as ingest alone keeps them, without a
model feature rows are. What is left to do is owed, see :mod:`pipeline.catching_up`.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark import Broadcast, StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.streaming.query import StreamingQuery

from features.behavior import SessionRules, gathered, lean
from features.errors import BehaviorError, ConfigurationError
from features.identities import LINKS, links_in
from features.packed import Batches, tables_in
from features.tables import (
    EVENTS,
    FEATURE_TABLE,
    IDENTITIES,
    REJECTED_EVENTS,
    SCORES,
    SHADOW_SCORES,
    TABLES,
    TILES,
    Table,
)
from kafka.guard import KafkaGuard
from lake.hadoop_files import HadoopFolder
from lake.person_rows import Selection
from lake.spark_tables import Lake
from pipeline.admission import Admit, admission
from pipeline.catching_up import PATIENCE_SECONDS, CatchingUp
from pipeline.ingest import keep, packs_of_topic
from pipeline.links import KnownLinks, NewLinks
from pipeline.workers import DESCRIBED, SHUFFLED, Models, Scored, before_the_shuffle, behind_the_shuffle, stamp
from privacy.erased_people import Privacy
from privacy.pseudonyms import Guard
from settings import Settings
from streams import claims, queries
from streams.arrivals import Arrivals, arrivals_in
from streams.checkpoints import NO_BATCH, Checkpoint
from streams.flow import INGEST, TOGETHER
from streams.look_back import look_back, look_back_micros, near_tiles
from streams.progress import refuse_apart
from streams.recent_keys import RecentKeys
from streams.rules import session_rules
from telemetry import metrics
from telemetry.steps import Steps

if TYPE_CHECKING:
    from pipeline.models import ModelsInForce

log = logging.getLogger(__name__)

QUERY = TOGETHER.query
WRITTEN = (EVENTS, REJECTED_EVENTS, TILES, FEATURE_TABLE, IDENTITIES, SCORES, SHADOW_SCORES)
LEEWAY = timedelta(minutes=10)
"""By so much a clock may have been set back since a batch was planned."""
IDLE_SECONDS = 5.0
"""How often it is looked for what is owed while no records come."""
Files = dict[Table, list[str]]


def start(spark: SparkSession, lake: Lake, settings: Settings, *, once: bool = False) -> Run:
    """Start the query. It reads Kafka by the checkpoint of ``ingest_events``.

    ``once`` takes all that is there and ends.

    Raises:
        ConfigurationError: Python workers cannot write the tables' files here.
        BehaviorError: a checkpoint is missing, or the three queries have the tables.
    """
    if not lake.takes_files:
        raise ConfigurationError(
            f"{QUERY} writes tables by Python workers, which reach folders and S3, and commits by open Delta's "
            f"classes; {lake.root} on this Spark is neither. Run ingest_events, build_features and score_features."
        )
    queries.refuse_lost_checkpoint(spark, lake, settings, INGEST.query, EVENTS, REJECTED_EVENTS)
    refuse_apart(lake, settings)
    guard = KafkaGuard(spark, lake, settings, INGEST.query)
    guard.check()
    privacy = Privacy(lake, settings)
    privacy.check()
    if settings.score.shadow:
        lake.create(SHADOW_SCORES)
    recent = RecentKeys(lake, settings.ingest.dedupe_window_seconds)
    models, rules = LateModels(spark, settings), session_rules(settings)
    idle = _idle(spark, lake, settings, models)
    one_pass = OnePass(lake, rules, privacy, recent, models, idle.debts.links)  # never at work at the same time

    def process(packs: DataFrame, batch: queries.Batch) -> None:
        one_pass.process(packs, batch)
        guard.watch(batch)

    packs = packs_of_topic(spark, settings, look_back_micros(rules))
    query = queries.start(
        packs, QUERY, process, settings, once=once, trigger=settings.ingest.trigger, kept_as=INGEST.query,
        clock=idle.clock, around=idle.around,
    )  # fmt: skip
    idle.watch(query)
    return Run(query, idle, one_pass)


def catch_up(spark: SparkSession, lake: Lake, settings: Settings) -> dict[str, list[int]]:
    """Do what is owed where nobody runs the query; returns from where on something is still owed, by source.

    Raises:
        BehaviorError: another process of this machine runs it, or it was stopped within a batch.
    """
    folder = queries.checkpoint(settings, INGEST.query)
    if not settings.stream.fenced:
        claims.claim(folder)
    try:
        idle = _idle(spark, lake, settings, LateModels(spark, settings))
        if not idle.may_begin:
            raise BehaviorError(
                f"{QUERY} was stopped in the middle of a batch's commits. Let it finish, with its broker at work "
                f"(python -m jobs.{INGEST.query} --once, or run_pipeline), then call this again."
            )
        if (left := idle.catch_up()) is not None:
            log.error("%s", left)
        return idle.note()
    finally:
        claims.let_go(folder)


def _idle(spark: SparkSession, lake: Lake, settings: Settings, models: LateModels) -> Idle:
    clock = queries.clock_of(spark, settings, INGEST.query, lake.newest(TILES, FEATURE_TABLE, SCORES))
    rules = session_rules(settings)
    links = KnownLinks(lake, rules.look_back, settings.features.link_identities)
    debts = CatchingUp(lake, rules, links, queries.checkpoint(settings, QUERY), models.follow)
    return Idle(debts, spark, queries.checkpoint(settings, INGEST.query), clock)


@dataclass(frozen=True)
class Run:
    """The query at work."""

    query: StreamingQuery
    idle: Idle
    one_pass: OnePass

    def when_scored(self, call: Callable[[], None]) -> None:
        """Have ``call`` called whenever new scores are there."""
        self.one_pass.listeners.append(call)
        self.idle.debts.listeners.append(call)

    def stop(self) -> None:
        self.query.stop()
        self.idle.stop()
        with suppress(BehaviorError):  # logs forget after a day: whoever starts later begins as near as can be
            self.idle.note()
        claims.let_go(self.idle.folder)

    def catch_up(self) -> str | None:
        """Do all that is owed, as far as that is possible now; returns a sentence where something is left."""
        return self.idle.catch_up()


class LateModels:
    """The models, whose libraries take eight seconds to import: they do so while the query starts."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        def made() -> ModelsInForce:
            from pipeline.models import models_of  # noqa: PLC0415

            return models_of(spark, settings)

        thread = ThreadPoolExecutor(1)
        self._made: Future[ModelsInForce] = thread.submit(made)
        thread.shutdown(wait=False)

    def follow(self, batch_id: str) -> Broadcast[Models] | None:
        return self._made.result().follow(batch_id)

    def failed(self, batch_id: str, trouble: str) -> None:
        self._made.result().failed(batch_id, trouble)


@dataclass
class OnePass:
    """A micro-batch at a time.

    Attributes:
        recent: keys of events accepted lately.
        links: which anonymous ids belong to whom.
        listeners: called when scores are there.
    """

    lake: Lake
    rules: SessionRules
    privacy: Privacy
    recent: RecentKeys
    models: LateModels
    links: KnownLinks
    listeners: list[Callable[[], None]] = field(default_factory=list)
    _alone_until: float = field(default=float("-inf"), init=False)

    def process(self, packs: DataFrame, batch: queries.Batch) -> None:
        """One micro-batch of validated records, in packs that say whose they are."""
        steps = Steps(QUERY, batch.number)
        packs = packs.persist(StorageLevel.MEMORY_AND_DISK)
        try:
            with steps.step("validate"):
                arrivals = arrivals_in(packs, self.recent, batch.id)
            if arrivals is None:
                return
            with steps.step("write"):
                written, scored = self._written(packs, arrivals, batch)
            with steps.step("commit"):
                filled = {table: files for table, files in written.items() if files or table is EVENTS}
                tiles, links = filled.pop(TILES, None), filled.pop(IDENTITIES, None)
                queries.side_by_side(
                    *[partial(batch.commit, self.lake, files, table) for table, files in filled.items()]
                )
                for call in self.listeners if SCORES in filled else ():
                    call()
                if links is not None:  # after the rows that they change
                    batch.commit(self.lake, links, IDENTITIES)
                    self.links.committed()
                if tiles is not None:  # last: they say that nothing of the batch's events is owed
                    batch.commit(self.lake, tiles, TILES)
            for one in scored:
                metrics.scored(one.verdicts, one.slowest)
            self.recent.accepted(arrivals.accepted_keys, arrivals.now)
            metrics.rejected(arrivals.reasons, arrivals.duplicates.num_rows)
        finally:
            packs.unpersist()
            steps.report()

    def _written(self, packs: DataFrame, arrivals: Arrivals, batch: queries.Batch) -> tuple[Files, list[Scored]]:
        """Files of all tables, and what is scored in them; where that fails, of events and rejected records."""
        guard = self.privacy.guard()
        few = queries.in_few_files(packs.select("records"), arrivals.count)
        admit = admission(arrivals.duplicates, guard)
        if monotonic() >= self._alone_until:
            try:
                return self._all_the_way(few, admit, arrivals, guard, batch)
            except Exception as error:
                if queries.interruption(str(error)) is not None:
                    raise
                self._alone_until = monotonic() + PATIENCE_SECONDS
                log.warning("batch %s: features are made later: %s", batch.id, error, exc_info=True)
        return keep(self.lake, few, admit, batch.id), []

    def _all_the_way(
        self, few: DataFrame, admit: Admit, arrivals: Arrivals, guard: Guard, batch: queries.Batch
    ) -> tuple[Files, list[Scored]]:
        models = self.models.follow(batch.id)
        locations = {table: self.lake.location(table) for table in WRITTEN}
        rows = few.mapInArrow(before_the_shuffle(locations, admit, batch.id), from_arrow_schema(SHUFFLED))
        new = NewLinks()
        if arrivals.people is not None and arrivals.people.num_rows:
            new = self._links(few, admit, arrivals, guard)
            near = near_tiles(self.lake, Selection(look_back(new.people, self.rules), batch.id))
            rows = rows.unionByName(lean(near.withColumn("fresh", F.lit(False))), allowMissingColumns=True)
        partitions = min(self.lake.shuffle_partitions, 1 + arrivals.count // queries.ROWS_A_FILE)
        behind = behind_the_shuffle(locations, self.rules, models, stamp(batch.time, batch.id), new.lending)
        users = gathered(rows, partitions, new.lending)
        done = users.mapInArrow(behind, from_arrow_schema(DESCRIBED)).toArrow().to_pylist()
        files = Files({table: [] for table in WRITTEN}) | {IDENTITIES: new.files(self.lake, batch)}
        for one in done:
            if one["file"] is not None:
                files[TABLES[one["table"]]].append(one["file"])
        said = [Scored(**json.loads(one["said"])) for one in done if one["said"] is not None]
        if trouble := [one.trouble for one in said if one.trouble is not None]:
            self.models.failed(batch.id, trouble[0])
            return files | {SCORES: [], SHADOW_SCORES: []}, []
        return files, said

    def _links(self, few: DataFrame, admit: Admit, arrivals: Arrivals, guard: Guard) -> NewLinks:
        """The links that the events tell which are kept: known from the packs, unless some of their events are not."""

        def exactly() -> pa.Table:
            def told(batches: Batches) -> Batches:
                for batch in batches:
                    for validated in map(admit, tables_in(batch["records"])):
                        yield from links_in(validated.filter(validated["reason"].is_null())).to_batches()

            return few.mapInArrow(told, from_arrow_schema(LINKS)).toArrow()

        assert arrivals.people is not None
        people = guard.of_people(arrivals.people, "user_id")
        told = None if arrivals.links is None else guard.of_people(arrivals.links, "user_id", "anonymous_id")
        is_exact = not (guard.erased or arrivals.repeated.any())
        return self.links.of_batch(people, told, None if is_exact else exactly)


class Idle:
    """What is owed, done before each batch of the query, and when none comes."""

    def __init__(self, debts: CatchingUp, spark: SparkSession, folder: str, clock: queries.Clock) -> None:
        self.debts, self.folder, self.clock = debts, folder, clock
        self.checkpoint = Checkpoint(HadoopFolder(spark, folder))
        self._lock, self._over = threading.Lock(), threading.Event()
        self._next: int | None = None
        self._thread: threading.Thread | None = None

    @contextmanager
    def around(self, number: int, query_id: str) -> Iterator[None]:
        """A batch of the query: nothing else is done meanwhile."""
        with self._lock:
            self._next = None
            self.debts.before(number, query_id, self.clock)
            yield
            self._next = number + 1

    def watch(self, query: StreamingQuery) -> None:
        """Look after what is owed while ``query`` waits for records."""
        self._thread = threading.Thread(target=self._watch, args=(query,), name="owed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def may_begin(self) -> bool:
        """Whether the number of the next batch is known."""
        return self._number() is not None

    def catch_up(self) -> str | None:
        """All that is owed, until nothing is left that can be done now; a sentence where something is."""
        self.debts.hurry()
        left = None
        while True:
            with self._lock:
                self._look()
            if self.debts.owed == 0:
                return None
            if self.debts.owed == left:
                return self._left()
            left = self.debts.owed

    def _left(self) -> str:
        reasons = [f"{source}: {trouble}" for source, trouble in self.debts.troubles.items()]
        why = f" ({'; '.join(reasons)})" if reasons else ""
        return f"{self.debts.owed} appends wait for features or scores{why}. {QUERY} does them when it runs again."

    def note(self) -> dict[str, list[int]]:
        """Note from where on something is owed."""
        with self._lock:
            number = self._number()
            return {} if number is None else self.debts.note(number)

    def _watch(self, query: StreamingQuery) -> None:
        while not self._over.wait(IDLE_SECONDS) and query.isActive:
            if self._lock.acquire(blocking=False):
                try:
                    self._look()
                except Exception:  # the next look tries again; a thread that dies silently would be worse
                    log.exception("%s did not do what it owes", QUERY)
                finally:
                    self._lock.release()

    def _look(self) -> None:
        """As before the next batch."""
        query_id, number = self.checkpoint.query_id, self._number()
        if query_id is not None and number is not None:
            self.debts.before(number, query_id, self.clock)

    def _number(self) -> int | None:
        """Of the next batch; None where one was stopped between two of its commits: its rows have their times already.

        What is owed would get later times, without that batch's events, and cover them.
        """
        if self._next is not None:
            return self._next
        planned = max(self.checkpoint.planned(), default=NO_BATCH)
        if planned == max(self.checkpoint.finished(), default=NO_BATCH):
            return planned + 1
        batch, lake = self.checkpoint.batch(planned), self.debts.lake
        if batch is None:
            return None
        own, since = f"{self.checkpoint.query_id}:{planned}", batch.time - LEEWAY
        has_begun = any(lake.exists(table) and lake.has_commit_of(table, own, since) for table in WRITTEN)
        return None if has_begun else planned
