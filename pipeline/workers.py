"""What Python workers do of a micro-batch, on both sides of its one shuffle.

Before it, a worker has a part of the records: it writes events and rejected records, and folds its events into partial
tiles. Behind it, a worker has all tiles of its users, new ones and those of the look-back: it writes the new ones, the
feature rows that they change, and the scores of these.

Descriptions of files that the first kind has written pass through the shuffle as rows without a tile. So each of them
reaches the driver once, by the task that is counted, whatever is tried again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import Broadcast, TaskContext

from features.behavior import SessionRules, feature_rows, whole_users
from features.folding import folded
from features.lending import Lending
from features.merging import INSTANT, LEAN, constant, merged
from features.packed import Batches, tables_in
from features.tables import EVENTS, FEATURE_TABLE, REJECTED_EVENTS, SCORES, SHADOW_SCORES, TILES, Table
from features.tiles import FOLDED
from lake.location import TableLocation
from lake.worker_files import TableFiles
from scoring.rows import RowScorer

DESCRIBED = pa.schema([("table", pa.string()), ("file", pa.string()), ("said", pa.string())])
"""A file that was written, as Delta's ``add`` in JSON; or, without a file, what a task says of its scores
(:class:`Scored`)."""
SHUFFLED = pa.schema([*LEAN, *DESCRIBED])
"""Rows between both kinds of workers: a partial tile, or a description."""

Locations = dict[Table, TableLocation]
Work = Callable[[Batches], Batches]
Stamp = Callable[[pa.Table], pa.Table]


@dataclass
class Scored:
    """What a task has scored.

    Attributes:
        verdicts: how many rows have each.
        slowest: most microseconds from a row's newest event in Kafka to its score.
        trouble: why rows have no score, where the model raised an error.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    slowest: int | None = None
    trouble: str | None = None

    def add(self, scores: pa.Table) -> None:
        self.verdicts.update({one["values"]: one["counts"] for one in pc.value_counts(scores["verdict"]).to_pylist()})
        waited = pc.subtract(scores["scored_at"].cast(pa.int64()), scores["last_received_at"].cast(pa.int64()))
        known = [one for one in (self.slowest, pc.max(waited).as_py()) if one is not None]
        self.slowest = max(known, default=None)

    def described(self) -> pa.Table:
        """As a row of :data:`DESCRIBED`."""
        return pa.table({"table": [SCORES.name], "file": [None], "said": [json.dumps(vars(self))]}, DESCRIBED)


@dataclass(frozen=True)
class Models:
    """What scores the rows; ``challenger`` scores beside, see :mod:`scoring.shadow`."""

    champion: RowScorer
    challenger: RowScorer | None


def before_the_shuffle(locations: Locations, admit: Callable[[pa.Table], pa.Table], batch_id: str) -> Work:
    """Takes packs (:data:`features.packed.PACKS`), gives :data:`SHUFFLED`; ``admit`` says what is kept of them."""

    def work(batches: Batches) -> Batches:
        with ExitStack() as stack:
            events, rejected = _files(stack, locations, EVENTS, REJECTED_EVENTS)
            for batch in batches:
                for validated in map(admit, tables_in(batch["records"])):
                    accepted = write_records(validated, batch_id, events, rejected)
                    yield from _shuffled(folded(accepted.select(FOLDED)))
            described = _described(events, rejected)
        task = TaskContext.get()
        number = pa.repeat(0 if task is None else task.partitionId(), described.num_rows).cast(pa.int64())
        yield from _shuffled(described.append_column("user_hash", number))

    return work


def write_records(validated: pa.Table, batch_id: str, events: TableFiles, rejected: TableFiles) -> pa.Table:
    """Write each of the ``validated`` records to the one table it belongs to; returns the events."""
    place = validated.column_names.index("ingest_id")
    rows = validated.set_column(place, "ingest_id", pa.repeat(batch_id, validated.num_rows))
    is_event = rows["reason"].is_null()
    accepted = rows.filter(is_event).select(EVENTS.columns)
    events.write(accepted)
    rejected.write(rows.filter(pc.invert(is_event)).select(REJECTED_EVENTS.columns))
    return accepted


def behind_the_shuffle(
    locations: Locations,
    rules: SessionRules,
    models: Broadcast[Models] | None,
    stamped: Stamp,
    lending: Lending | None,
) -> Work:
    """Takes :data:`SHUFFLED` in order of users, gives :data:`DESCRIBED`; without ``models`` nothing is scored."""

    def work(batches: Batches) -> Batches:
        passing: list[pa.RecordBatch] = []
        said = Scored()
        with ExitStack() as stack:
            tiles, features, scores, shadow = _files(stack, locations, TILES, FEATURE_TABLE, SCORES, SHADOW_SCORES)
            for users in whole_users(_tiles_in(batches, passing)):
                rows = write_users(users, rules, lending, stamped, tiles, features)
                if models is None or said.trouble is not None:
                    continue
                try:
                    said.add(score_rows(rows, models.value, stamped, scores, shadow))
                except Exception as error:  # noqa: BLE001 - whatever a model raises, events and features are kept
                    said.trouble = f"{type(error).__name__}: {error}"
            described = _described(tiles, features, scores, shadow)
        yield from passing
        yield from described.to_batches()
        yield from said.described().to_batches()

    return work


def write_users(
    users: pa.Table,
    rules: SessionRules,
    lending: Lending | None,
    stamped: Stamp,
    tiles: TableFiles,
    features: TableFiles,
) -> pa.Table:
    """Write the fresh tiles of whole ``users``, and the feature rows that they change, which are returned."""
    parts = merged(users)
    tiles.write(stamped(parts.fresh()))
    rows = feature_rows(parts, rules, lending)
    features.write(stamped(rows))
    return rows


def score_rows(rows: pa.Table, models: Models, stamped: Stamp, scores: TableFiles, shadow: TableFiles) -> pa.Table:
    """Write the scores of feature ``rows``, and what the challenger, if there is one, says of them; returns them."""
    scored = models.champion.scores(rows, datetime.now(UTC))
    scores.write(stamped(scored))
    if models.challenger is not None:
        shadow.write(stamped(models.challenger.beside(rows, scored)))
    return scored


def stamp(time: datetime, batch_id: str) -> Stamp:
    """What adds the columns that say which micro-batch wrote a row."""

    def stamped(rows: pa.Table) -> pa.Table:
        times = pa.repeat(pa.scalar(time, INSTANT), rows.num_rows)
        return rows.append_column("batch_time", times).append_column("batch_id", constant(batch_id, rows.num_rows))

    return stamped


def _tiles_in(batches: Batches, passing: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The tiles among rows of :data:`SHUFFLED`; descriptions go to ``passing``."""
    for batch in batches:
        is_tile = batch["table"].is_null()
        if batch["table"].null_count < batch.num_rows:
            passing.append(batch.filter(pc.invert(is_tile)).select(DESCRIBED.names))
            batch = batch.filter(is_tile)  # noqa: PLW2901
        if batch.num_rows:
            yield batch.select(LEAN.names)


def _shuffled(rows: pa.Table) -> Batches:
    """Rows of :data:`SHUFFLED` with the columns that there are, the others null."""
    columns = [
        rows[field.name] if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type)
        for field in SHUFFLED
    ]
    yield from pa.table(columns, schema=SHUFFLED).to_batches()


def _files(stack: ExitStack, locations: Locations, *tables: Table) -> list[TableFiles]:
    return [stack.enter_context(TableFiles(locations[table], table)) for table in tables]


def _described(*files: TableFiles) -> pa.Table:
    adds = [{"table": one.table.name, "file": add} for one in files for add in one.finish()]
    return pa.Table.from_pylist(adds, DESCRIBED)
