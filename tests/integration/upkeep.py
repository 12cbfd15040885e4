"""A lake of one test whose events are appended as ingest does, without a broker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.revisions import latest
from features.tables import EVENTS, FEATURE_TABLE, IDENTITIES, PARITY_REPORTS, REJECTED_EVENTS, TILES, Table
from jobs import build_features, check_parity
from lake.spark_tables import Lake
from settings import Settings, load_settings
from tests.unit.features.plain_features import Act as PlainAct

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
INGEST = "11111111-2222"
KEY = "a key of at least sixteen bytes"

Act = tuple[str, float, str]
"""User, minutes after noon, page."""


@dataclass
class Platform:
    spark: SparkSession
    lake: Lake
    settings: Settings
    arrivals: int = field(default=0)

    def arrive(self, acts: Iterable[Act]) -> None:
        """One micro-batch of ingest."""
        number, self.arrivals = self.arrivals, self.arrivals + 1
        rows = [_event(act, number, offset) for offset, act in enumerate(acts)]
        frame = self.spark.createDataFrame(rows, EVENTS.schema).coalesce(1)
        self.lake.append(frame, EVENTS, batch_id=f"{INGEST}:{number}")

    def arrive_acts(self, acts: Iterable[tuple[str, PlainAct]]) -> None:
        """One micro-batch of ingest: events of users, as :mod:`tests.unit.features.plain_features` knows them."""
        number, self.arrivals = self.arrivals, self.arrivals + 1
        rows = []
        for offset, (user, act) in enumerate(acts):
            row = dict(zip(EVENTS.columns, _event((user, 0, act.page), number, offset), strict=True))
            row |= {
                "action": act.action,
                "session_id": act.session,
                "timestamp": datetime.fromtimestamp(act.second, UTC),
            }
            rows.append([row[name] for name in EVENTS.columns])
        frame = self.spark.createDataFrame(rows, EVENTS.schema).coalesce(1)
        self.lake.append(frame, EVENTS, batch_id=f"{INGEST}:{number}")

    def reject(self, raw: bytes | None, key: bytes | None) -> None:
        number, self.arrivals = self.arrivals, self.arrivals + 1
        row = {
            **_coordinates(number, 0),
            "raw": raw,
            "kafka_key": key,
            "reason": "not_json",
            "field": None,
            "detail": None,
        }
        values = [row.get(name) for name in REJECTED_EVENTS.columns]
        frame = self.spark.createDataFrame([values], REJECTED_EVENTS.schema)
        self.lake.append(frame, REJECTED_EVENTS, batch_id=f"{INGEST}:{number}")

    def build(self) -> None:
        build_features.start(self.spark, self.lake, self.settings, once=True).awaitTermination()

    def parity(self, *, repair: bool = False, hours: int | None = None) -> tuple[int, int, int]:
        """Missing, extra, different rows."""
        found = check_parity.check(self.spark, self.lake, self.settings, hours, repair=repair)
        assert found is not None
        return found.rows.missing, found.rows.extra, found.rows.different

    def newest(self) -> DataFrame:
        return latest(self.read(FEATURE_TABLE), FEATURE_TABLE)

    def read(self, table: Table) -> DataFrame:
        return self.lake.read(table)

    def spoil(self, condition: str, **values: object) -> None:
        """Append wrong revisions of the newest rows that meet ``condition``."""
        wrong = self.newest().where(condition).withColumns({name: F.lit(value) for name, value in values.items()})
        later = wrong.withColumn("batch_time", F.expr("batch_time + interval 1 microsecond")).select(
            FEATURE_TABLE.columns
        )
        self.lake.append(later, FEATURE_TABLE, batch_id=f"spoil:{condition}")

    def forget_last_commit(self, query: str) -> None:
        """As if the process had been killed between its last write and noting that it was done."""
        commits = Path(self.settings.storage.checkpoints, query, "commits")
        newest = max((file for file in commits.iterdir() if file.name.isdigit()), key=lambda file: int(file.name))
        newest.unlink()
        commits.joinpath(f".{newest.name}.crc").unlink(missing_ok=True)


NEEDED = (EVENTS, TILES, FEATURE_TABLE, IDENTITIES, PARITY_REPORTS)


def small_platform(spark: SparkSession, folder: Path, *more: str, tables: tuple[Table, ...] = NEEDED) -> Platform:
    places = [f"storage.root={folder}/lake", f"storage.checkpoints={folder}/checkpoints"]
    short = ["features.session_gap_minutes=3", "features.session_max_minutes=10", "features.own_past_minutes=25"]
    settings = load_settings("local", [*places, *short, "maintenance.erase_wait_seconds=0", *more])
    lake = Lake(spark, settings.storage.root)
    lake.create(*tables)
    return Platform(spark, lake, settings)


def _coordinates(number: int, offset: int) -> dict[str, Any]:
    return {
        "headers": None, "topic": "t", "partition": number, "offset": offset, "received_at": NOON,
        "ingested_at": NOON + timedelta(days=1, seconds=number), "ingest_id": f"{INGEST}:{number}",
    }  # fmt: skip


def _event(act: Act, number: int, offset: int) -> list[Any]:
    user, minutes, page = act
    row = {
        "user_id": user, "action": "view", "page": page, "timestamp": NOON + timedelta(minutes=minutes),
        "raw": f'{{"user_id":"{user}"}}'.encode(), "kafka_key": user.encode(), **_coordinates(number, offset),
    }  # fmt: skip
    return [row.get(name) for name in EVENTS.columns]
